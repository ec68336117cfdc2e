"""`voltbridge market` in another currency: by an imported rate that is named, and not at all without one (case 11)."""

import asyncio
import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.commands import app
from gateway.clock import SystemClock
from gateway.domain.errors import PeerUnavailable, RateMissing
from gateway.domain.evidence import AuditEntry
from gateway.storage.store import SqlStore
from tests.app.test_offline_market import TODAY, Run, config, keep, run, series, status  # noqa: F401  # fixtures
from tests.fakes.scripted_peer import scripted_peer

DAY = TODAY.day.isoformat()
LABEL = f"converted from EUR to GBP by EUR/GBP 0.8 of {DAY} by ecb"


def rate_file(tmp_path: Path, rate: str = "0.8") -> Path:
    path = tmp_path / "eurofxref-hist.csv"
    path.write_text(f"Date,GBP,SEK,\n{DAY},{rate},11,\n")
    return path


@pytest.fixture
def known(tmp_path: Path) -> None:
    held = series(TODAY, gaps=1)
    keep(tmp_path, held, status(TODAY, held))


@pytest.mark.usefixtures("known")
def test_m11_nothing_is_converted_without_a_rate(run: Run, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "out.csv"
    for command in (("show", DAY), ("export", DAY, DAY, str(out))):
        failed = run(*command, "--currency", "GBP")
        assert isinstance(failed.exception, RateMissing)
        assert failed.exception.field == "series.currency"
    assert not out.exists()


@pytest.mark.usefixtures("known")
def test_m11_shown_and_exported_prices_name_their_rate(run: Run, tmp_path: Path) -> None:  # noqa: F811
    file = rate_file(tmp_path)
    assert "would keep 2 new" in run("rates", "import", str(file), "--dry-run").output
    assert run("rates", "show", DAY).exit_code == 1
    assert "kept 2 new and 0 revised rates, 0 are the same" in run("rates", "import", str(file)).output
    assert f"EUR/GBP 0.8 of {DAY} by ecb" in run("rates", "show", DAY).output
    lines = run("show", DAY, "--currency", "GBP").output.splitlines()
    assert lines[0].endswith("in GBP per MWh")
    assert LABEL in lines[2]
    assert lines[3].split()[1] == "gap"
    assert lines[5].split()[1] == "0.400000"
    out = tmp_path / "out.csv"
    assert run("export", DAY, DAY, str(out), "--currency", "GBP").exit_code == 0
    with out.open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert table[2]["price_per_mwh"] == "0.400000"
    told = {table[2][name] for name in ("currency", "converted_from", "exchange_rate", "exchange_rate_source")}
    assert told == {"GBP", "EUR", "0.8", "ecb"}
    assert table[2]["exchange_rate_day"] == DAY
    assert run("export", DAY, DAY, str(out)).exit_code == 0
    with out.open(newline="") as stream:
        assert {row["currency"] + row["converted_from"] for row in csv.DictReader(stream)} == {"EUR"}


def test_m11_a_revised_rate_is_told_and_audited(run: Run, tmp_path: Path) -> None:  # noqa: F811
    run("rates", "import", str(rate_file(tmp_path)))
    said = run("rates", "import", str(rate_file(tmp_path, "0.9"))).output
    assert "kept 0 new and 1 revised rates, 1 are the same" in said
    assert f"revised: EUR/GBP 0.9 of {DAY} by ecb instead of 0.8" in said
    assert (
        "kept 0 new and 0 revised rates, 1 are the same"
        in run("rates", "import", str(rate_file(tmp_path, "0.9")), "--only", "SEK", "--since", DAY).output
    )

    async def audited() -> list[AuditEntry]:
        async with SqlStore.open(f"sqlite:///{tmp_path / 'rows.sqlite'}", SystemClock(), read_only=True) as store:
            return [one.entry for one in await store.audit_entries()]

    entries = [one for one in asyncio.run(audited()) if one.action == "exchange-rates.keep"]
    assert [one.detail["revised_count"] for one in entries] == ["0", "1"]
    assert "instead of 0.8" in entries[1].detail["revised"]


async def test_m11_the_bank_is_asked_without_a_key(config: Path) -> None:  # noqa: F811
    page = (
        '<gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" '
        'xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"><Cube>'
        f"<Cube time='{DAY}'><Cube currency='GBP' rate='0.8'/></Cube></Cube></gesmes:Envelope>"
    )
    async with scripted_peer() as peer:
        peer.reply(page.encode())
        peer.reply(b"gone", status=503)

        def fetch() -> tuple[str, BaseException | None]:
            done = CliRunner().invoke(app, ["market", "rates", "fetch", "--url", peer.url, "--config", str(config)])
            return done.output, done.exception

        said, _ = await asyncio.to_thread(fetch)
        _, failed = await asyncio.to_thread(fetch)
    assert "kept 1 new" in said
    assert isinstance(failed, PeerUnavailable)
