"""Stored messages of OpenADR 2.0b read again: what they would mean now, without any effect."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.app.peers import rereader_of
from gateway.domain.errors import InvalidInput
from gateway.domain.signals import RawSignal, VenRegistration
from gateway.openadr.rereading import SignalRereading
from gateway.openadr.v20b.rereading import Rereader
from gateway.openadr.v20b.settings import VenSettings
from tests.fakes.store import MemoryStore
from tests.openadr.v20b import messages
from tests.web.partners_scene import PARTNER, vtn

NOW = datetime(2025, 10, 15, 8, tzinfo=UTC)
SETTINGS = VenSettings(
    authority="vtn:a",
    tenant="t",
    vtn_url="https://vtn.example",
    ven_name="depot",
    market_contexts=(messages.CONTEXT,),
    own_nodes=("vpp",),
    nodes={"depot-1": "site-1"},
    fingerprints=frozenset({"AA:BB:CC:DD:EE:FF:00:11:22:33"}),
)


def raw(body: bytes, authority: str = "vtn:a") -> RawSignal:
    return RawSignal(
        id="r", tenant="t", authority=authority, protocol="openadr-2.0b", received_at=NOW, sha256="", body=body
    )


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    await store.seed(
        "t",
        VenRegistration(
            id="vtn:a",
            tenant="t",
            vtn_id=messages.VTN_ID,
            ven_id=messages.VEN_ID,
            registration_id="reg",
            poll_interval=timedelta(seconds=10),
            registered_at=NOW,
            active=True,
        ),
    )
    return store


async def test_each_event_is_judged_on_its_own_with_the_settings_of_now(store: MemoryStore) -> None:
    body = messages.distribute_event(
        messages.event("good", modification=3, targets=messages.target("resourceID", "depot-1")),
        messages.event("ours", targets=messages.target("venID", messages.VEN_ID)),
        messages.event("theirs", targets=messages.target("venID", "somebody else")),
        messages.event("late", start_after="PT10M"),
    )
    before = len(store.applied)
    found = {one.event_id: one for one in await Rereader(SETTINGS, store).read_again(raw(body))}
    good, ours = found["good"].event, found["ours"].event
    assert good is not None
    assert ours is not None
    assert (good.nodes, found["good"].modification) == (("site-1",), 3)
    assert ours.nodes == ("vpp",)
    assert (found["theirs"].event, found["theirs"].problem[:4]) == (None, "462:")
    late = found["late"].event
    assert late is not None
    assert late.start_offset == timedelta(0)
    assert len(store.applied) == before


@pytest.mark.parametrize(
    "body", [b"", b"<x/>", b"<!DOCTYPE x><x/>", messages.oadr_response()], ids=["empty", "xml", "doctype", "no events"]
)
async def test_what_holds_no_events_is_refused(store: MemoryStore, body: bytes) -> None:
    with pytest.raises(InvalidInput):
        await Rereader(SETTINGS, store).read_again(raw(body))


async def test_the_partner_decides_who_reads(store: MemoryStore) -> None:
    reading = SignalRereading({("t", "vtn:a"): Rereader(SETTINGS, store)})
    assert len(await reading.read_again(raw(messages.distribute_event(messages.event())))) == 1
    with pytest.raises(InvalidInput, match="vtn:gone"):
        await reading.read_again(raw(b"", "vtn:gone"))


@pytest.mark.parametrize("profile", ["", "us-ca-prices-1.0"])
async def test_a_profile_holds_when_a_message_is_read_again(profile: str) -> None:
    settings = vtn().model_copy(update={"profile": profile})
    store, tenant = MemoryStore(), settings.tenant
    message = RawSignal(
        id="r",
        tenant=tenant,
        authority=PARTNER,
        protocol="openadr-2.0b",
        received_at=NOW,
        sha256="",
        body=messages.distribute_event(messages.event("limit")),
    )
    [found] = await rereader_of(settings, store).read_again(message)
    assert (found.event is None) == bool(profile)
    assert found.problem[:29] == ("459: breaks us-ca-prices-1.0:" if profile else "")
    assert not store.applied
