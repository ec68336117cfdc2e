"""Nobody calls a source that asked to be left alone: not another source behind the door, not after a restart."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.errors import PeerUnavailable
from gateway.domain.market_asking import Admission, SourceBan, next_ban
from gateway.market_data.turnstile import Pace, Turnstile
from gateway.services.gather_market_data import SourceBans
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore


def bans_of(store: MemoryStore, clock: HandClock) -> SourceBans:
    return SourceBans(store=store, clock=clock, ids=CountingIds(), tenant="demo")


def turnstile(store: MemoryStore, clock: HandClock) -> Turnstile:
    pace = Pace(per_minute=60, bans=bans_of(store, clock))
    return Turnstile(peer="ENTSO-E", key="entsoe", pace=pace, clock=clock)


async def test_m13_after_429_no_worker_calls_for_ten_minutes_then_one_probes() -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    first, other = turnstile(store, clock), turnstile(store, clock)
    await first.enter()
    assert await first.refused() == timedelta(minutes=10)
    restarted = turnstile(store, clock)
    clock.move(minutes=9, seconds=59)
    for one in (first, other, restarted):
        with pytest.raises(PeerUnavailable, match="asked to wait"):
            await one.enter()
    clock.move(seconds=1)
    await other.enter()
    restarted = turnstile(store, clock)
    for one in (first, other, restarted):
        with pytest.raises(PeerUnavailable, match="asked to wait"):
            await one.enter()
    await other.answered()
    for one in (first, other, restarted):
        await one.enter()


@pytest.mark.parametrize("is_kept", [True, False], ids=["rows", "memory"])
async def test_m13_of_many_who_wait_for_the_end_of_a_ban_exactly_one_asks(*, is_kept: bool) -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    door = turnstile(store, clock) if is_kept else Turnstile(peer="p", key="p", pace=Pace(per_minute=999), clock=clock)
    await door.refused()
    clock.move(minutes=10)

    async def many() -> int:
        found = await asyncio.gather(*(door.enter() for _ in range(40)), return_exceptions=True)
        assert all(one is None or isinstance(one, PeerUnavailable) for one in found)
        return sum(one is None for one in found)

    assert await many() == 1
    assert await many() == 0
    clock.move(minutes=1, seconds=59)
    assert await many() == 0, "nobody knows yet what becomes of the first"
    clock.move(seconds=1)
    assert await many() == 1, "it was never answered: another one probes"
    await door.answered()
    assert await many() == 40


async def test_m13_two_programs_send_one_probe_between_them() -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    await turnstile(store, clock).refused()
    clock.move(minutes=10)
    doors = [turnstile(store, clock) for _ in range(6)]
    found = await asyncio.gather(*(door.enter() for door in doors for _ in range(3)), return_exceptions=True)
    assert sum(one is None for one in found) == 1


async def test_m13_a_probe_that_is_refused_bans_for_longer() -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    door = turnstile(store, clock)
    await door.refused()
    clock.move(minutes=10)
    await door.enter()
    assert await door.refused() == timedelta(minutes=20)
    await door.answered()
    with pytest.raises(PeerUnavailable, match="asked to wait"):
        await door.enter()
    clock.move(minutes=20)
    await turnstile(store, clock).enter()


async def test_m13_a_lifted_ban_is_audited_and_told_once() -> None:
    clock = HandClock()
    store = MemoryStore(clock)
    bans = bans_of(store, clock)
    await bans.ban("entsoe")
    clock.move(minutes=10)
    assert await bans.admit("entsoe") == Admission(is_probe=True)
    for _ in range(2):
        await bans.lift("entsoe")
    assert await bans.admit("entsoe") == Admission()
    actions = [one.entry.action for one in await store.audit_entries()]
    assert actions == ["source.ban", "source.ban-lifted"]


async def test_bans_double_up_to_two_hours_and_are_forgotten_after_a_quiet_time() -> None:
    clock = HandClock()
    bans = bans_of(MemoryStore(clock), clock)
    minutes = []
    for _ in range(6):
        duration = await bans.ban("entsoe")
        minutes.append(duration.total_seconds() / 60)
        clock.move(seconds=duration.total_seconds() + 60)
        assert (await bans.admit("entsoe")).is_probe
    assert minutes == [10, 20, 40, 80, 120, 120]
    assert await bans.admit("smard") == Admission()
    clock.move(hours=2)
    assert await bans.ban("entsoe") == timedelta(minutes=10)


def test_a_ban_that_is_running_is_doubled_too() -> None:
    now = HandClock().now()
    last = SourceBan(id="x", tenant="t", banned_at=now, until=now + timedelta(minutes=10))
    assert next_ban(last, now + timedelta(minutes=5)) == timedelta(minutes=20)
