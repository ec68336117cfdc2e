"""Settings about charging platforms: every key is in the example, and what no door can do is refused by its key."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app.doors import DoorWorld, best_classes, door_jobs
from gateway.app.services import _track_settings
from gateway.csms.standing import DoorBook
from gateway.csms_settings import (
    CitrineSection,
    CsmsListenerSettings,
    CsmsSettings,
    OcpiSection,
    WebhookSection,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.topology import EnforcementClass
from gateway.settings import Settings, load_settings
from tests.app.example_keys import CONFIG, keys_by_table
from tests.fakes.wired import wired

PLAIN = "[web]\nallow_plain_on_loopback = true\n[rpc]\nallow_plain_on_loopback = true\n"
LISTENER = '[csms_listener]\nport = 0\npublic_url = "https://vpp.example/callbacks"\n'


def told(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN + text)
    return load_settings(path)


def platform(more: str = "", **changes: str) -> str:
    said = {
        "name": "cpo",
        "tenant": "default",
        "kind": "ocpi-2.2.1",
        "url": "https://cpo.example/versions",
        "secret_file": "token",
    } | changes
    lines = [f'{key} = "{value}"' for key, value in said.items() if value]
    return "\n".join(["[[csms]]", *lines, more, ""])


SEALED = '[csms.ocpi]\nseal_key_file = "seal"\n'


def test_every_key_is_in_the_example() -> None:
    shown = keys_by_table("csms.toml")
    assert set(CsmsSettings.model_fields) == shown["csms"]
    assert set(OcpiSection.model_fields) == shown["csms.ocpi"]
    assert set(CitrineSection.model_fields) == shown["csms.citrineos"]
    assert set(WebhookSection.model_fields) == shown["csms.webhook"]
    assert set(CsmsListenerSettings.model_fields) == shown["csms_listener"]


def test_the_example_is_read(tmp_path: Path) -> None:
    settings = told(tmp_path, (CONFIG / "csms.toml").read_text())
    assert [(one.kind, one.best_class) for one in settings.csms] == [
        ("ocpi-2.2.1", "C"),
        ("citrineos", "A"),
        ("webhook", "B"),
    ]
    assert settings.csms[0].known_hosts == {"cpo.example", "ocpi.cpo.example"}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (platform(SEALED), "csms_listener"),
        (LISTENER + platform(SEALED) + platform(SEALED), "csms[1].name"),
        (LISTENER + platform(SEALED, tenant="nobody"), "csms[0].tenant"),
        (LISTENER + platform(SEALED, enforcement="A"), "csms[0].enforcement"),
        (LISTENER + platform("", kind="webhook", enforcement="A"), "csms[0].enforcement"),
        (LISTENER + platform(), "csms[0].ocpi.seal_key_file"),
        (LISTENER + platform(SEALED, secret_file=""), "csms[0].secret_file"),
        (LISTENER + platform("", kind="webhook", url=""), "csms[0].url"),
        (LISTENER + platform(SEALED, kind="webhook"), "csms[0].ocpi"),
        (LISTENER + platform(SEALED + "[csms.webhook]\n"), "csms[0].webhook"),
        (
            LISTENER + platform("[csms.citrineos]\nstack_levels = [2, 1, 3]\n", kind="citrineos"),
            "csms[0].citrineos.stack_levels",
        ),
        (LISTENER + platform(SEALED, kind="ocpi-2.1.1"), "csms[0].kind"),
    ],
)
def test_what_no_door_can_do_is_refused(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        told(tmp_path, text)
    assert caught.value.field == field


def secret(tmp_path: Path, name: str, content: str = "s" * 40) -> Path:
    path = tmp_path / name
    path.write_text(content)
    path.chmod(0o600)
    return path


def every_kind(tmp_path: Path) -> Settings:
    """One platform of each kind, all of the first tenant of the wired gateway."""
    common: dict[str, Any] = {"tenant": "demo", "allow_plain_on_loopback": True}
    key, seal = secret(tmp_path, "key"), secret(tmp_path, "seal")
    return Settings(
        tenants=("demo",),
        csms_listener=CsmsListenerSettings(port=0, public_url="http://127.0.0.1:8093", allow_plain_on_loopback=True),
        csms=(
            CsmsSettings(
                name="cpo", kind="ocpi-2.3.0", secret_file=key, ocpi=OcpiSection(seal_key_file=seal), **common
            ),
            CsmsSettings(
                name="citrine",
                kind="citrineos",
                url="http://127.0.0.1:9",
                chargers={"CP1/2": "a", "CP2": "b"},
                **common,
            ),
            CsmsSettings(
                name="hook",
                kind="webhook",
                url="http://127.0.0.1:9/limits",
                secret_file=key,
                webhook=WebhookSection(older_key_file=key),
                **common,
            ),
        ),
    )


async def test_every_kind_has_a_supervised_job_and_a_standing(tmp_path: Path) -> None:
    house, book = await wired(), DoorBook()
    settings = every_kind(tmp_path)
    world = DoorWorld(
        store=house.world.store,
        clock=house.world.clock,
        ids=house.world.ids,
        dispatcher=house.services.dispatcher,
        fleet=house.services.fleet,
        book=book,
    )
    jobs = door_jobs(settings, world)
    assert [job.name for job in jobs] == ["csms listener", "csms cpo", "csms citrine", "csms hook"]
    assert not any(job.is_essential for job in jobs)
    assert [(s.csms, s.kind, s.enforcement, s.is_connected) for s in book.standings("demo")] == [
        ("cpo", "ocpi-2.3.0", "C", False),
        ("citrine", "citrineos", "A", False),
        ("hook", "webhook", "B", False),
    ]
    assert book.standings("other") == []
    assert door_jobs(settings.model_copy(update={"csms": (), "csms_listener": None}), world) == []


@pytest.mark.parametrize(
    ("place", "changes", "field"),
    [
        (0, {"secret_file": Path("none")}, "csms[0].secret_file"),
        (0, {"ocpi": OcpiSection(seal_key_file=Path("none"))}, "csms[0].ocpi.seal_key_file"),
        (0, {"ca": Path("none")}, "csms[0].ca"),
        (1, {"url": "http://10.0.0.1/"}, "csms[1].url"),
        (2, {"webhook": WebhookSection(older_key_file=Path("none"))}, "csms[2].webhook.older_key_file"),
    ],
)
async def test_a_gateway_with_a_wrong_door_does_not_start_and_says_which_key(
    tmp_path: Path, place: int, changes: dict[str, object], field: str
) -> None:
    house, settings = await wired(), every_kind(tmp_path)
    doors = [one.model_copy(update=changes) if i == place else one for i, one in enumerate(settings.csms)]
    world = DoorWorld(
        store=house.world.store,
        clock=house.world.clock,
        ids=house.world.ids,
        dispatcher=house.services.dispatcher,
        fleet=house.services.fleet,
        book=DoorBook(),
    )
    with pytest.raises(InvalidInput) as caught:
        door_jobs(settings.model_copy(update={"csms": tuple(doors)}), world)
    assert caught.value.field == field


async def test_targets_count_as_no_better_than_their_door(tmp_path: Path) -> None:
    settings = every_kind(tmp_path)
    assert (
        _track_settings(settings).best_class
        == best_classes(settings)
        == {
            ("demo", "cpo"): EnforcementClass.C,
            ("demo", "citrine"): EnforcementClass.A,
            ("demo", "hook"): EnforcementClass.B,
        }
    )
