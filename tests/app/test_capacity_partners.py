"""The OSCP room as the gateway wires it: the door on the page server, limits in the ledger, what partners may know of the fleet."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.app.capacity_partners import FleetFacts, oscp_jobs, oscp_room
from gateway.app.pages import page_site
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import system_principal
from gateway.domain.topology import CapacityGroup
from gateway.openadr.journal import ExchangeJournal
from gateway.oscp.room import OscpRoom
from gateway.oscp_settings import OscpDoorSettings, OscpSettings
from gateway.ports import PartnerStanding
from gateway.web.armour import LARGEST_BODY_BYTES
from gateway.web.partners_view import standing_line
from tests.fakes.wired import TENANT, Wired, wired
from tests.oscp.scene import Reply, ask

TOKEN = "t" * 43
SITE = "site-01"
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def secret(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content)
    path.chmod(0o600)
    return path


async def house_with(folder: Path) -> tuple[Wired, OscpRoom, Any]:
    """Return a gateway with a capacity provider that registers with it, and its page server's application."""
    house = await wired()
    entry = OscpSettings(
        name="dso", tenant=TENANT, token_file=secret(folder, "token", TOKEN), allow_plain_on_loopback=True
    )
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=secret(folder, "seal", "k" * 40))
    settings = house.settings.model_copy(update={"oscp": (entry,), "oscp_door": door})
    group = CapacityGroup(id="oscp:dso:g1", tenant=TENANT, authority="oscp:dso", name="g1", node=SITE)
    await house.scene.store.seed(TENANT, group)
    await house.services.load()
    journal = ExchangeJournal()
    room = oscp_room(settings, house.world, house.services, journal)
    site = page_site(settings, house.world, house.services, journal, oscp=room)
    for unit in room.units:
        await unit.peer.begin()
        unit.is_ready = True
    return house, room, site


async def post(site: Any, message: str, body: Any, number: int) -> Reply:
    headers = {"authorization": f"Token {TOKEN}", "content-type": "application/json", "x-request-id": f"r{number}"}
    return await ask(site, "POST", f"/oscp/fp/2.0/{message}", headers, [json.dumps(body).encode()])


async def test_the_door_is_on_the_page_server_and_registration_reaches_the_store(tmp_path: Path) -> None:
    _, room, site = await house_with(tmp_path)
    document = json.loads((await ask(site, "GET", "/oscp/openapi.json", {}, [b""])).body)
    assert "/fp/2.0/update_group_capacity_forecast" in document["paths"]
    said = {"token": "b" * 40, "version_url": [{"version": "2.0", "base_url": "http://127.0.0.1:9/oscp/cp/2.0"}]}
    reply = await post(site, "register", said, 1)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert room.units[0].peer.link.base_url == "http://127.0.0.1:9/oscp/cp/2.0"
    assert [job.name for job in oscp_jobs(room)] == ["oscp:dso"]


async def test_a_provider_that_was_never_heard_leaves_the_fail_safe(tmp_path: Path) -> None:
    house, _, _ = await house_with(tmp_path)
    resolution = await house.services.signals.resolve(system_principal(TENANT, "test"), SITE, None)
    assert resolution.authority == "fail-safe of oscp:dso"


async def test_a_forecast_may_be_longer_than_a_form_and_not_endless(tmp_path: Path) -> None:
    _, _, site = await house_with(tmp_path)
    long = {"token": "b" * 40, "version_url": [], "padding": "x" * LARGEST_BODY_BYTES}
    assert (await post(site, "register", long, 1)).status == 400
    endless = {**long, "padding": "x" * 1_100_000}
    assert (await post(site, "register", endless, 2)).status == 413


async def test_without_partners_there_is_no_door() -> None:
    house = await wired()
    room = oscp_room(house.settings, house.world, house.services, ExchangeJournal())
    site = page_site(house.settings, house.world, house.services, oscp=room)
    assert (await ask(site, "GET", "/oscp/openapi.json", {}, [b""])).status == 404


async def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    house = await wired()
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=tmp_path / "none")
    with pytest.raises(InvalidInput) as caught:
        oscp_room(house.settings.model_copy(update={"oscp_door": door}), house.world, house.services, ExchangeJournal())
    assert caught.value.field == "oscp_door.seal_key_file"


async def test_two_partners_with_one_token_are_refused(tmp_path: Path) -> None:
    house = await wired()
    token = secret(tmp_path, "token", TOKEN)
    entries = tuple(OscpSettings(name=name, tenant=TENANT, token_file=token) for name in ("a", "b"))
    door = OscpDoorSettings(public_url="https://vpp.example/oscp", seal_key_file=secret(tmp_path, "seal", "k" * 40))
    settings = house.settings.model_copy(update={"oscp": entries, "oscp_door": door})
    with pytest.raises(InvalidInput) as caught:
        oscp_room(settings, house.world, house.services, ExchangeJournal())
    assert caught.value.field == "oscp[1].token_file"


@pytest.mark.parametrize(
    ("state", "lost_since", "is_good"),
    [("online", None, True), ("handshaken", None, True), ("offline", NOW, False), ("unregistered", None, False)],
)
def test_the_page_says_how_a_link_stands(state: str, lost_since: datetime | None, is_good: bool) -> None:
    standing = PartnerStanding(
        authority="oscp:dso",
        state=state,
        ven_id="",
        heard_at=NOW,
        lost_since=lost_since,
        failures=0,
        last_error="",
        pending_reports=0,
    )
    assert standing_line(standing, NOW).is_good is is_good


async def test_demand_is_what_cars_could_draw_and_unmeasured_chargers_are_left_out() -> None:
    house = await wired()
    known = house.services.fleet.view(TENANT)
    here = np.flatnonzero(known.tree.below(SITE))[:4]
    there = np.flatnonzero(~known.tree.below(SITE))[:1]
    with_car, power_kw, needed_kwh = (
        np.zeros_like(known.has_session),
        np.full_like(known.power_kw, np.nan),
        np.full_like(known.power_kw, np.nan),
    )
    with_car[here[:3]] = with_car[there] = True
    needed_kwh[here[1]], needed_kwh[here[2]] = 10.0, 5.0
    power_kw[here[0]], power_kw[there] = 0.0, 7.0
    view = replace(
        known,
        has_session=with_car,
        session_max_kw=np.where(with_car, 11.0, 0.0),
        energy_needed_kwh=needed_kwh,
        delivered_kwh=np.where(needed_kwh == 5.0, 5.0, 0.0),
        power_kw=power_kw,
        power_at=np.where(np.isnan(power_kw), np.nan, 1_760_000_000.0),
    )
    facts = FleetFacts(lambda _: view)
    assert (
        facts.demand_kw(TENANT, SITE) == 22.0
    )  # one that asks for nothing special, one with 10 kWh to go, none that is full
    [reading] = facts.assets(TENANT, SITE)
    assert (reading.asset, reading.power_kw) == (view.tree.charger_ids[here[0]], 0.0)
    assert reading.at == datetime.fromtimestamp(1_760_000_000, UTC)
    assert facts.demand_kw(TENANT, "nowhere") is None
    assert facts.assets(TENANT, "nowhere") == ()
