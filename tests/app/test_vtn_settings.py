"""What a deployment says about a 2.0b VTN reaches its VEN."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.app.peers import push_server_of, ven_settings_of
from gateway.domain.errors import InvalidInput
from gateway.grid_settings import VtnPushSettings, VtnSettings
from gateway.openadr.v20b.settings import LaterWord
from gateway.settings import load_settings
from tests.openadr.v20b.bench import virtually

VTN = """
tenants = ["demo"]
[web]
allow_plain_on_loopback = true
[rpc]
allow_plain_on_loopback = true
[[vtn]]
authority = "vtn:demo"
tenant = "demo"
url = "http://127.0.0.1:1/OpenADR2/Simple/2.0b"
ven_name = "voltbridge"
market_contexts = ["http://grid.example/dr", "http://grid.example/tou"]
portfolio_node = "vpp"
signature = "off"
allow_plain_on_loopback = true
"""


def vtn_of(folder: Path, more: str = "") -> VtnSettings:
    path = folder / "gateway.toml"
    path.write_text(VTN + more)
    return load_settings(path).vtn[0]


def test_a_vtn_is_polled_unless_told_otherwise(tmp_path: Path) -> None:
    vtn = vtn_of(tmp_path)
    told = ven_settings_of(vtn)
    assert (told.push, told.later_word, told.cancel_at_stop) == (None, LaterWord.CREATED_EVENT, False)
    assert told.market_contexts == ("http://grid.example/dr", "http://grid.example/tou")
    assert told.device_classes == {"EVSE", "Electric_Vehicle"}
    assert told.poll_interval == timedelta(seconds=10)
    virtually(lambda bench: _no_door(vtn, bench))


async def _no_door(vtn: VtnSettings, bench: object) -> None:
    assert push_server_of(vtn, bench.ven) is None  # type: ignore[attr-defined]


def test_a_door_for_pushes_and_the_ways_to_leave(tmp_path: Path) -> None:
    door = """
later_word = "opt"
cancel_at_stop = true
device_classes = ["EVSE", "Storage"]
[vtn.push]
port = 0
public_url = "http://127.0.0.1:8443"
with_polls = false
"""
    vtn = vtn_of(tmp_path, door)
    told = ven_settings_of(vtn)
    assert (told.later_word, told.cancel_at_stop, told.device_classes) == (
        LaterWord.OPT,
        True,
        frozenset({"EVSE", "Storage"}),
    )
    assert told.push is not None
    assert (told.push.public_url, told.push.is_polling) == ("http://127.0.0.1:8443", False)
    virtually(lambda bench: _a_door(vtn, bench))


async def _a_door(vtn: VtnSettings, bench: object) -> None:
    assert push_server_of(vtn, bench.ven) is not None  # type: ignore[attr-defined]


def test_a_door_that_anybody_could_use_is_refused(tmp_path: Path) -> None:
    door = '[vtn.push]\nport = 8443\nhost = "0.0.0.0"\npublic_url = "https://ven.example:8443"\n'
    with pytest.raises(InvalidInput, match="cert_file"):
        ven_settings_of(vtn_of(tmp_path, door))


def test_the_example_says_every_key_that_is_about_2_0b() -> None:
    path = Path(__file__).resolve().parents[2] / "config" / "vtn_20b.toml"
    vtn = load_settings(path).vtn[0]
    told = ven_settings_of(vtn)
    assert told.push is not None
    assert told.push.checks_caller
    assert told.signature == "required"
    words = path.read_text()
    assert {name for name in ("ven_id", "later_word", "cancel_at_stop", "device_classes") if name not in words} == set()
    assert {name for name in VtnPushSettings.model_fields if name not in words} == set()
