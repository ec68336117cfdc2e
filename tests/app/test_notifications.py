"""How notifications of 3.x VTNs are wired from settings."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app.notifications import receiver_of
from gateway.app.vtns import VenWorld, ven3_jobs
from gateway.domain.errors import InvalidInput
from gateway.openadr.journal import ExchangeJournal
from gateway.settings import Settings, load_settings
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore

TEXT = """
tenants = ["demo"]
[rpc]
allow_plain_on_loopback = true
[web]
allow_plain_on_loopback = true
{webhook}
[[vtn]]
authority = "vtn:new"
tenant = "demo"
dialect = "3.1.0"
url = "https://vtn.example/openadr3"
ven_name = "v"
portfolio_node = "vpp-be"
[vtn.v3]
webhook = {is_notified}
mqtt = {listens}
"""
LISTENER = '[webhook]\nport = 0\npublic_url = "https://vpp.example/openadr"\n'


def told(tmp_path: Path, *, webhook: str = LISTENER, is_notified: bool = True, listens: bool = True) -> Settings:
    path = tmp_path / "gateway.toml"
    text = TEXT.format(webhook=webhook, is_notified=str(is_notified).lower(), listens=str(listens).lower())
    path.write_text(text)
    return load_settings(path)


def jobs(settings: Settings) -> list[str]:
    clock: Any = HandClock()
    nobody: Any = None
    world = VenWorld(
        store=MemoryStore(),
        signal_desk=nobody,
        usage_desk=nobody,
        status_desk=nobody,
        clock=clock,
        ids=CountingIds(),
        journal=ExchangeJournal(),
        receiver=receiver_of(settings, clock),
    )
    return [job.name for job in ven3_jobs(settings.vtn[0], world)]


def test_a_vtn_is_heard_as_its_settings_say(tmp_path: Path) -> None:
    assert jobs(told(tmp_path)) == ["vtn:new", "vtn:new mqtt", "vtn:new subscriptions"]
    assert jobs(told(tmp_path, listens=False)) == ["vtn:new", "vtn:new subscriptions"]
    assert jobs(told(tmp_path, is_notified=False, listens=False)) == ["vtn:new"]


def test_nobody_listens_where_nobody_notifies(tmp_path: Path) -> None:
    assert receiver_of(told(tmp_path, is_notified=False), HandClock()) is None


def test_a_listener_is_required_where_a_vtn_notifies(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="webhook"):
        receiver_of(told(tmp_path, webhook=""), HandClock())


def test_a_listener_in_the_clear_is_refused(tmp_path: Path) -> None:
    settings = told(tmp_path, webhook=LISTENER.replace("https", "http"))
    with pytest.raises(InvalidInput, match="webhook"):
        receiver_of(settings, HandClock())
