"""Settings about OSCP partners: every key has an example, mistakes are named, and what they become."""

import tomllib
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gateway.app.capacity_partners import peer_settings
from gateway.app.services import signal_settings
from gateway.domain.errors import InvalidInput
from gateway.oscp.names import PeerRole
from gateway.oscp_settings import OscpDoorSettings, OscpSettings
from gateway.settings import Settings, load_settings
from tests.app.example_keys import CONFIG, keys_by_table

PLAIN = "[web]\nallow_plain_on_loopback = true\n[rpc]\nallow_plain_on_loopback = true\n"
DOOR = '[oscp_door]\npublic_url = "https://vpp.example/oscp"\nseal_key_file = "seal"\n'
PARTNER = '[[oscp]]\nname = "{name}"\ntenant = "default"\ntoken_file = "token"\n'


def told(folder: Path, *parts: str) -> Settings:
    path = folder / "gateway.toml"
    path.write_text(PLAIN + "".join(parts))
    return load_settings(path)


def secret(folder: Path, content: str) -> Path:
    path = folder / "token"
    path.write_text(content)
    path.chmod(0o600)
    return path


def test_every_key_is_in_the_example() -> None:
    shown = keys_by_table("oscp.toml")
    assert set(OscpDoorSettings.model_fields) == shown["oscp_door"]
    assert set(OscpSettings.model_fields) == shown["oscp"]


def test_the_example_is_valid(tmp_path: Path) -> None:
    settings = told(tmp_path, (CONFIG / "oscp.toml").read_text())
    assert [one.authority for one in settings.oscp] == ["oscp:dso-1"]
    assert (
        tomllib.loads((CONFIG / "oscp.toml").read_text())["oscp"][0]["heartbeat"]
        == OscpSettings.model_fields["heartbeat"].default
    )


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        pytest.param((PARTNER.format(name="a"),), "oscp_door", id="no-door"),
        pytest.param((DOOR.replace("/oscp", "/oscp/"),), "oscp_door.public_url", id="slash"),
        pytest.param((DOOR, PARTNER.format(name="a"), PARTNER.format(name="a")), "oscp[1].name", id="twice"),
        pytest.param((DOOR, PARTNER.format(name="a b")), "oscp[0].name", id="name"),
        pytest.param((DOOR, PARTNER.format(name="a").replace("default", "x")), "oscp[0].tenant", id="tenant"),
        pytest.param(
            (DOOR, PARTNER.format(name="a"), 'naive_time_zone = "Mars/Olympus"\n'), "oscp[0].naive_time_zone", id="zone"
        ),
        pytest.param((DOOR, PARTNER.format(name="a"), 'role = "dso"\n'), "oscp[0].role", id="role"),
        pytest.param((DOOR, PARTNER.format(name="a"), "heartbeat = 0\n"), "oscp[0].heartbeat", id="heartbeat"),
    ],
)
def test_a_mistake_is_named_as_in_the_file(tmp_path: Path, parts: tuple[str, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        told(tmp_path, *parts)
    assert caught.value.field == field


def test_what_a_partner_becomes(tmp_path: Path) -> None:
    path = secret(tmp_path, "a" * 43)
    entry = OscpSettings(
        name="dso", tenant="default", token_file=path, naive_time_zone="Europe/Brussels", acknowledgment=True
    )
    adviser = OscpSettings(name="co", tenant="default", token_file=path, role="capacity-optimizer")
    other = OscpSettings(name="co-2", tenant="other", token_file=path, role="capacity-optimizer")
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=path)
    partner = peer_settings("oscp[0]", entry, door, (entry, adviser, other))
    assert (partner.authority, partner.role, partner.sends_handshake) == ("oscp:dso", PeerRole.CAPACITY_PROVIDER, False)
    assert partner.own_url == "https://vpp.example/oscp/fp/2.0"
    assert partner.ack_path == "handshake_acknowledgment"
    assert partner.naive_zone == ZoneInfo("Europe/Brussels")
    assert partner.optimisers == ("oscp:co",)
    assert peer_settings("oscp[1]", adviser, door).sends_handshake
    assert "a" * 43 not in repr(partner)


@pytest.mark.parametrize("url", ["http://dso.example/cp", "https://127.0.0.1/cp", "/cp"])
def test_an_address_of_ours_to_begin_with_is_checked_too(tmp_path: Path, url: str) -> None:
    path = secret(tmp_path, "a" * 43)
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=path)
    with pytest.raises(InvalidInput) as caught:
        peer_settings("oscp[3]", OscpSettings(name="dso", tenant="default", token_file=path, url=url), door)
    assert caught.value.field == "oscp[3].url"


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = secret(tmp_path, "a" * 43)
    path.chmod(0o644)
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=path)
    with pytest.raises(InvalidInput) as caught:
        peer_settings("oscp[0]", OscpSettings(name="dso", tenant="default", token_file=path), door)
    assert caught.value.field == "oscp[0].token_file"


def test_only_providers_leave_a_fallback_when_they_are_gone(tmp_path: Path) -> None:
    adviser = PARTNER.format(name="co") + 'role = "capacity-optimizer"\n'
    rules = signal_settings(told(tmp_path, DOOR, PARTNER.format(name="dso"), adviser))
    provider, optimiser = rules.stated_rules("oscp:dso"), rules.stated_rules("oscp:co")
    assert provider is not None
    assert optimiser is not None
    assert (provider.is_unconditional, provider.is_forecast) == (True, True)
    assert (optimiser.is_unconditional, optimiser.is_forecast) == (False, False)
