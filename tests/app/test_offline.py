import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.app.accounts import NewAccount, read_accounts
from gateway.app.offline import add_accounts, export_audit, import_file, verify_audit
from gateway.cli.commands import app
from gateway.clock import SystemClock
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Account
from gateway.domain.programs import Enrolment
from gateway.domain.topology import Charger
from gateway.ports import Batch, Put
from gateway.settings import Settings, load_settings
from gateway.storage.store import SqlStore

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "config" / "data" / "demo_be_tree.toml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(
        f'[store]\nurl = "sqlite:///{tmp_path / "rows.sqlite"}"\n'
        "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"
    )
    return path


@pytest.fixture
def settings(config: Path) -> Settings:
    return load_settings(config)


async def charger_count(settings: Settings) -> int:
    async with SqlStore.open(settings.store.url, SystemClock()) as store:
        return len(await store.find(Charger, "demo", limit=100_000))


async def test_an_import_says_first_what_it_would_do(settings: Settings) -> None:
    counts = await import_file(settings, TREE, dry_run=True)
    assert counts.created > 3000
    assert await charger_count(settings) == 0


async def test_consents_of_the_example_are_imported(config: Path) -> None:
    example = ROOT / "config" / "vtn_20b.toml"
    here = f"sqlite:///{config.parent / 'rows.sqlite'}"
    config.write_text(example.read_text().replace("sqlite:///var/gateway.sqlite", here))
    settings = load_settings(config)
    inventory = str(ROOT / "config" / "inventory.toml")
    consents: list[Enrolment] = []
    for more, count in ((["--dry-run"], 0), ([], 2)):
        said = await asyncio.to_thread(CliRunner().invoke, app, ["import", inventory, "--config", str(config), *more])
        assert said.exit_code == 0, said.output
        async with SqlStore.open(settings.store.url, SystemClock()) as store:
            consents = [row.record for row in await store.find(Enrolment, "default")]
        assert len(consents) == count
    by_authority = {consent.authority: consent for consent in consents}
    assert by_authority["vtn:utility"].program == "http://utility.example/emergency"
    assert (by_authority["vtn:dso"].program, by_authority["vtn:dso"].valid.end) == ("", None)


async def test_an_import_twice_changes_nothing(settings: Settings) -> None:
    first = await import_file(settings, TREE, dry_run=False)
    again = await import_file(settings, TREE, dry_run=False)
    assert (again.created, again.changed, again.same) == (0, 0, first.created)


async def test_a_wrong_file_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "tree.toml"
    broken.write_text(TREE.read_text().replace("max_import_kw = 450.0", "max_import_kw = -450.0", 1))
    with pytest.raises(InvalidInput, match="max_import_kw"):
        await import_file(settings, broken, dry_run=False)
    assert await charger_count(settings) == 0


@pytest.mark.parametrize("text", ["[[", "nothing = 1\n"])
async def test_a_file_that_is_no_inventory_is_refused(settings: Settings, tmp_path: Path, text: str) -> None:
    path = tmp_path / "tree.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        await import_file(settings, path, dry_run=False)


CONSENT = """
[[enrolments]]
authority = "vtn:grid-demo"
node = "vpp-be"
resource = "fleet"
owner = "facility@carpark.example"
purpose = "reduce in emergencies"
valid_from = 2025-10-01T00:00:00Z
consented_at = {}
"""


@pytest.mark.parametrize(
    ("consented_at", "is_withdrawn"), [("2025-09-15T09:00:00Z", True), ("2025-11-01T09:00:00Z", False)]
)
async def test_a_withdrawn_consent_is_not_given_again_by_the_same_file(
    settings: Settings, tmp_path: Path, consented_at: str, is_withdrawn: bool
) -> None:
    path = tmp_path / "tree.toml"
    path.write_text(TREE.read_text() + CONSENT.format("2025-09-15T09:00:00Z"))
    await import_file(settings, path, dry_run=False)
    gone = datetime(2025, 10, 20, tzinfo=UTC)
    async with SqlStore.open(settings.store.url, SystemClock()) as store:
        [row] = await store.find(Enrolment, "demo")
        withdrawn = replace(row.record, withdrawn_at=gone)
        await store.apply(Batch(tenant="demo", puts=(Put(record=withdrawn),)))
    path.write_text(TREE.read_text() + CONSENT.format(consented_at))
    counts = await import_file(settings, path, dry_run=False)
    assert counts.changed == (0 if is_withdrawn else 1)
    async with SqlStore.open(settings.store.url, SystemClock()) as store:
        [row] = await store.find(Enrolment, "demo")
    assert row.record.withdrawn_at == (gone if is_withdrawn else None)


async def test_accounts_keep_secrets_hashed_only(settings: Settings, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret-token")
    token.chmod(0o600)
    await add_accounts(settings, [NewAccount(tenant="demo", actor="csms", roles=("csms",), token_file=token)])
    async with SqlStore.open(settings.store.url, SystemClock()) as store:
        row = await store.get(Account, "demo", "demo:csms")
    assert row is not None
    assert "s3cret" not in repr(row.record)
    await export_audit(settings, tmp_path / "audit.jsonl")
    assert "s3cret" not in (tmp_path / "audit.jsonl").read_text()


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('tenant = "demo"\n', "accounts"),
        ('tenant = "demo"\n[[accounts]]\nroles = ["trader"]\n', "accounts.0.actor"),
        ('tenant = "demo"\n[[accounts]]\nactor = "a"\nroles = []\n', "accounts.0.roles"),
        ('tenant = "demo"\n[[accounts]]\nactor = "a"\nroles = ["trader"]\npassword = "x"\n', "accounts.0.password"),
    ],
)
def test_a_wrong_account_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "accounts.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        read_accounts(path)
    assert caught.value.field == field


@pytest.mark.parametrize("role", ["system", "king"])
def test_a_role_that_nobody_may_have_is_refused(tmp_path: Path, role: str) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(0o600)
    with pytest.raises(InvalidInput, match="role"):
        NewAccount(tenant="demo", actor="a", roles=(role,), token_file=token).row()


def test_an_account_that_cannot_come_in_is_refused() -> None:
    with pytest.raises(InvalidInput, match="password, a token or a certificate"):
        NewAccount(tenant="demo", actor="a", roles=("trader",)).row()


async def test_the_chain_is_verified_and_a_flipped_letter_found(settings: Settings, tmp_path: Path) -> None:
    await import_file(settings, TREE, dry_run=False)
    verdict = await verify_audit(settings)
    assert verdict.is_intact
    assert await export_audit(settings, tmp_path / "audit.jsonl") == verdict.entry_count
    entries = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert entries[-1]["hash"] == verdict.head_hash


def test_the_commands_of_the_readme(config: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    dry = runner.invoke(app, ["import", str(TREE), "--config", str(config), "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "would be created" in dry.output
    done = runner.invoke(app, ["import", str(TREE), "--config", str(config)])
    assert "were created" in done.output
    verified = runner.invoke(app, ["audit", "verify", "--config", str(config)])
    assert verified.output.startswith("intact: ")
    exported = runner.invoke(app, ["audit", "export", str(tmp_path / "chain.jsonl"), "--config", str(config)])
    assert "entries written" in exported.output


def test_an_account_is_added_by_command(config: Path, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse battery")
    password.chmod(0o600)
    arguments = ["account", "add", "ada", "--role", "trader", "--tenant", "demo", "--config", str(config)]
    result = CliRunner().invoke(app, [*arguments, "--password-file", str(password)])
    assert result.output.strip() == "ada of demo may act as trader"

    async def stored() -> Account | None:
        async with SqlStore.open(load_settings(config).store.url, SystemClock()) as store:
            row = await store.get(Account, "demo", "demo:ada")
            return None if row is None else row.record

    account = asyncio.run(stored())
    assert account is not None
    assert account.password_hash is not None
    assert account.password_hash.startswith("$argon2id$")
