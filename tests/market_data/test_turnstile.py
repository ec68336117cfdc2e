"""Nobody calls a source that asked to be left alone: not another source behind the door, not after a restart."""

from datetime import timedelta

import pytest

from gateway.domain.errors import PeerUnavailable
from gateway.domain.market_asking import SourceBan, next_ban
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
    for one in (first, other, restarted):
        await one.enter()


async def test_bans_double_up_to_two_hours_and_are_forgotten_after_a_quiet_time() -> None:
    clock = HandClock()
    bans = bans_of(MemoryStore(clock), clock)
    minutes = []
    for _ in range(6):
        duration = await bans.ban("entsoe")
        minutes.append(duration.total_seconds() / 60)
        clock.move(seconds=duration.total_seconds() + 60)
        assert await bans.banned_until("entsoe") is None
    assert minutes == [10, 20, 40, 80, 120, 120]
    assert await bans.banned_until("smard") is None
    clock.move(hours=2)
    assert await bans.ban("entsoe") == timedelta(minutes=10)


def test_a_ban_that_is_running_is_doubled_too() -> None:
    now = HandClock().now()
    last = SourceBan(id="x", tenant="t", banned_at=now, until=now + timedelta(minutes=10))
    assert next_ban(last, now + timedelta(minutes=5)) == timedelta(minutes=20)
