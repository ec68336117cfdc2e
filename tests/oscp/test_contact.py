"""Handshake, heartbeats both ways, offline and back: over in-memory ports in virtual time (cases o8 to o11, o18 to o20)."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import async_solipsism
import pytest

from gateway.domain.limits import Direction
from gateway.domain.oscp import LinkState
from gateway.oscp.composing import Says, message_of
from gateway.oscp.names import COMPLIANCE_ERROR, GROUP_MEASUREMENTS
from gateway.ports import Batch, Put
from tests.fakes.clock import VirtualClock
from tests.oscp.scene import DSO, TENANT, Scene, T, block, provider_settings

Step = tuple[float, Callable[[], Awaitable[Any]]]


def live(script: Callable[[Scene], list[Step]], seconds: float, **settings: Any) -> Scene:
    """Let the room run for so many seconds of virtual time while steps happen at theirs, and return the scene."""
    scenes: list[Scene] = []

    async def life() -> None:
        scene = Scene(provider_settings(**settings), clock=VirtualClock(T))
        scenes.append(scene)
        await scene.begin()
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                tasks.create_task(scene.unit.run())
                for at, step in script(scene):
                    await scene.clock.sleep_until(T + timedelta(seconds=at))
                    await step()
        except TimeoutError:
            return

    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        runner.run(life())
    return scenes[0]


def times(scene: Scene, path: str) -> list[float]:
    found = zip(scene.http.calls, scene.http.at, strict=True)
    return [(at - T).total_seconds() for call, at in found if call.url.endswith(f"/{path}")]


def test_o8_the_handshake_is_acknowledged_and_heartbeats_follow_at_the_pace_asked_for() -> None:
    scene = live(lambda one: [(1, one.register), (10, one.handshake)], 300)
    [acknowledged] = scene.http.sent("handshake_acknowledge")
    assert acknowledged.headers["X-Correlation-ID"] == "req-2"
    assert scene.http.bodies("handshake_acknowledge") == [
        {"required_behaviour": {"heartbeat_interval": 60.0, "measurement_configuration": []}}
    ]
    beats = times(scene, "heartbeat")
    assert len(beats) == 5
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) <= 60.0
    promised = [datetime.fromisoformat(body["offline_mode_at"]) for body in scene.http.bodies("heartbeat")]
    assert promised == [T + timedelta(seconds=at + 180) for at in beats]
    assert times(scene, "handshake_acknowledge")[0] < beats[0]


@pytest.mark.parametrize("interval", [1e12, 9_460_800_000.0])
def test_o8_a_partner_that_hardly_wants_heartbeats_does_not_end_what_runs_for_it(interval: float) -> None:
    scene = live(lambda one: [(1, one.register), (5, lambda: one.handshake(interval)), (9, lambda: one.beat(60))], 300)
    assert times(scene, "heartbeat") == [6.0]
    assert scene.link.state is LinkState.OFFLINE


async def test_o9_an_empty_handshake_is_taken_and_an_interval_of_zero_is_not() -> None:
    scene = await Scene().begin()
    await scene.register()
    assert (await scene.call("handshake", {})).status == 204
    assert scene.link.beat_every_s is None
    wish = {"heartbeat_interval": 0, "measurement_configuration": []}
    reply = await scene.call("handshake", {"required_behaviour": wish})
    assert reply.status == 400
    assert "heartbeat_interval" in reply.message


async def test_o10_the_other_spelling_is_tried_once_and_remembered() -> None:
    scene = await Scene().begin()
    scene.http.answers["handshake_acknowledge"] = [404]
    await scene.register()
    await scene.handshake()
    await scene.handshake()
    assert len(scene.http.sent("handshake_acknowledge")) == 1
    assert len(scene.http.sent("handshake_acknowledgment")) == 2
    again = await Scene(after=scene).begin()
    assert again.link.ack_path == "handshake_acknowledgment"


async def test_o10_both_spellings_are_understood() -> None:
    scene = await Scene().begin()
    await scene.register()
    for name in ("handshake_acknowledge", "handshake_acknowledgment"):
        assert (await scene.call(name, {"required_behaviour": {"heartbeat_interval": 30}})).status == 204
    assert (scene.link.state, scene.link.beat_every_s) == (LinkState.HANDSHAKEN, 30.0)
    assert scene.http.sent("handshake_acknowledge") == []


async def test_o11_a_heartbeat_with_an_offset_is_kept_in_utc_and_a_naive_one_needs_the_quirk() -> None:
    scene = await Scene().begin()
    await scene.register()
    await scene.handshake()
    reply = await scene.call("heartbeat", {"offline_mode_at": "2026-11-21T11:03:00+01:00"})
    assert reply.status == 204
    assert scene.link.offline_at == T + timedelta(minutes=3)
    reply = await scene.call("heartbeat", {"offline_mode_at": "2026-11-21 10:03:00"})
    assert (reply.status, reply.message) == (400, "offline_mode_at: must have a time zone")
    quirky = await Scene(provider_settings(naive_zone=ZoneInfo("Europe/Brussels"))).begin()
    await quirky.register()
    await quirky.handshake()
    assert (await quirky.call("heartbeat", {"offline_mode_at": "2026-11-21 11:04:00"})).status == 204
    assert quirky.link.offline_at == T + timedelta(minutes=4)


def test_o11_a_partner_with_the_quirk_gets_naive_times_of_its_zone() -> None:
    script: Callable[[Scene], list[Step]] = lambda one: [(1, one.register), (10, one.handshake)]  # noqa: E731
    scene = live(script, 30, naive_zone=ZoneInfo("Europe/Brussels"))
    assert scene.http.bodies("heartbeat")[0] == {"offline_mode_at": "2026-11-21 11:03:11"}


def test_o18_a_provider_that_is_not_heard_in_time_leaves_its_fallback_within_a_second() -> None:
    seen: list[tuple[float, float]] = []

    def script(one: Scene) -> list[Step]:
        async def look() -> None:
            seen.append(((one.clock.now() - T).total_seconds(), (await one.resolved()).kw))

        return [
            (1, one.register),
            (2, one.handshake),
            (3, lambda: one.beat(60)),
            (4, lambda: one.forecast(block(50))),
            (5, lambda: one.forecast(block(20, 0, 1440), type="FALLBACK_CONSUMPTION")),
            (62, look),
            (64, look),
            (300, lambda: one.beat(60)),
            (300.5, look),
        ]

    scene = live(script, 310)
    assert seen == [(62.0, 50.0), (64.0, 20.0), (300.5, 50.0)]
    assert scene.link.state is LinkState.ONLINE


async def test_o18_back_needs_a_block_that_covers_now() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 2))
    await scene.forecast(block(20, 0, 1440), type="FALLBACK_CONSUMPTION")
    scene.clock.move(seconds=181)
    await scene.unit.watch.look()
    assert scene.link.state is LinkState.OFFLINE
    assert (await scene.beat(180)).status == 204
    assert (await scene.resolved()).kw == 20.0
    await scene.forecast(block(40, 0, 60))
    assert (await scene.resolved()).kw == 40.0


async def test_o19_without_a_fallback_the_fail_safe_applies_at_once_and_after_a_restart() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 600))
    await scene.forecast(block(20, 0, 600), type="GENERATION")
    scene.clock.move(seconds=180)
    await scene.unit.watch.look()
    assert (await scene.resolved()).kw == 7.0
    assert (await scene.resolved(direction=Direction.EXPORT)).kw == 0.0
    again = await Scene(after=scene).begin()
    assert again.link.state is LinkState.OFFLINE
    assert (await again.resolved()).kw == 7.0
    again.http.answers = scene.http.answers
    again.http.calls += scene.http.calls
    assert (await again.beat(180)).status == 204
    assert (await again.resolved()).kw == 50.0
    assert (await again.resolved(direction=Direction.EXPORT)).kw == 20.0


async def test_o19_a_gateway_that_was_down_when_the_promise_passed_wakes_up_fail_safe() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 600))
    scene.clock.move(hours=1)
    again = await Scene(after=scene).begin()
    assert again.link.state is LinkState.OFFLINE
    assert (await again.resolved()).kw == 7.0


async def test_o19_the_fail_safe_gives_way_where_a_fallback_begins_and_returns_where_it_ends() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 600))
    await scene.forecast(block(20, 60, 120), type="FALLBACK_CONSUMPTION")
    scene.clock.move(seconds=180)
    await scene.unit.watch.look()
    assert [(await scene.resolved(T + timedelta(minutes=at))).kw for at in (3, 59, 60, 119)] == [7.0, 7.0, 20.0, 20.0]
    scene.clock.set(T + timedelta(minutes=120))
    assert (await scene.resolved()).kw == 7.0


async def test_o20_a_gap_between_blocks_is_the_fallback_or_the_fail_safe() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50, 0, 10), block(40, 20, 30))
    values = [(await scene.resolved(T + timedelta(minutes=at))).kw for at in (5, 15, 25, 35)]
    assert values == [50.0, 7.0, 40.0, 7.0]
    await scene.forecast(block(12, 0, 60), type="FALLBACK_CONSUMPTION")
    values = [(await scene.resolved(T + timedelta(minutes=at))).kw for at in (5, 15, 25, 35)]
    assert values == [50.0, 12.0, 40.0, 12.0]


async def test_a_promise_that_is_past_already_means_offline() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    assert (await scene.beat(-1)).status == 204
    assert scene.link.state is LinkState.OFFLINE
    assert (await scene.resolved()).kw == 7.0


async def test_a_provider_that_never_sent_a_heartbeat_is_not_offline() -> None:
    scene = await Scene().begin()
    await scene.register()
    await scene.handshake(interval=None)
    await scene.forecast(block(50, 0, 2000))
    scene.clock.move(hours=20)
    await scene.unit.watch.look()
    assert (scene.link.state, (await scene.resolved()).kw) == (LinkState.HANDSHAKEN, 50.0)


async def test_after_a_new_handshake_a_provider_with_heartbeats_must_send_another() -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    await scene.beat(-1)
    await scene.handshake()
    assert (scene.link.state, (await scene.resolved()).kw) == (LinkState.HANDSHAKEN, 50.0)
    scene.clock.move(seconds=181)
    await scene.unit.watch.look()
    assert scene.link.state is LinkState.OFFLINE


async def test_before_a_handshake_a_forecast_is_kept_and_the_provider_is_not_there() -> None:
    scene = await Scene().begin()
    await scene.register()
    assert (await scene.forecast(block(50))).status == 204
    await scene.unit.watch.look()
    assert (await scene.resolved()).kw == 7.0
    await scene.handshake()
    assert (await scene.resolved()).kw == 50.0


@pytest.mark.parametrize("fallback_kw", [None, 20])
async def test_a_full_disk_keeps_the_old_promise_and_a_loss_acts_all_the_same(fallback_kw: float | None) -> None:
    scene = await Scene().online()
    await scene.forecast(block(50))
    if fallback_kw is not None:
        await scene.forecast(block(fallback_kw), type="FALLBACK_CONSUMPTION")
    scene.store.is_down = True
    assert (await scene.beat(600)).status == 503
    scene.clock.move(seconds=181)
    for _ in range(3):
        await scene.unit.watch.look()
        scene.clock.move(seconds=1)
    assert (await scene.resolved()).kw == (7.0 if fallback_kw is None else 20.0)
    scene.store.is_down = False
    await scene.unit.watch.look()
    assert scene.link.state is LinkState.OFFLINE


def test_a_full_disk_does_not_stop_the_watch() -> None:
    seen: list[float] = []

    def script(one: Scene) -> list[Step]:
        async def fill() -> None:
            one.store.is_down = True
            one.unit.peer.changed()

        async def look() -> None:
            seen.append((await one.resolved()).kw)

        return [
            (1, one.register),
            (2, one.handshake),
            (3, lambda: one.beat(60)),
            (4, lambda: one.forecast(block(50, 0, 600))),
            (5, lambda: one.forecast(block(20, 0, 600), type="FALLBACK_CONSUMPTION")),
            (6, lambda: one.call("handshake", {})),
            (6.5, fill),
            (62, look),
            (64, look),
        ]

    scene = live(script, 70)
    assert seen == [50.0, 20.0]
    assert scene.unit.peer.link.state is LinkState.ONLINE  # what is not on disk is not so yet


async def test_the_page_of_partners_sees_the_link_and_the_journal_what_was_said() -> None:
    scene = await Scene().online()
    [standing] = scene.room.standings(TENANT)
    assert (standing.authority, standing.state, standing.lost_since) == (DSO, "online", None)
    assert standing.heard_at == T
    said = [(one.what, one.outcome, one.is_ours) for one in scene.journal.latest(TENANT)]
    assert ("POST register", "HTTP 204", False) in said
    assert ("POST handshake_acknowledge", "HTTP 204", True) in said
    scene.clock.move(seconds=181)
    await scene.unit.watch.look()
    [standing] = scene.room.standings(TENANT)
    assert (standing.state, standing.lost_since) == ("offline", T + timedelta(seconds=181))
    assert scene.room.standings("another") == []


@pytest.mark.parametrize("silence", [30.0, 86_400.0])
def test_a_heartbeat_that_is_not_taken_is_followed_by_the_next(silence: float) -> None:
    def script(one: Scene) -> list[Step]:
        one.http.answers["heartbeat"] = [None]
        return [(1, one.register), (2, lambda: one.handshake(10.0)), (3, lambda: one.beat(silence))]

    scene = live(script, 60)
    assert len(times(scene, "heartbeat")) == 6
    assert scene.unit.standing().last_error.startswith("heartbeat: no answer")


def test_o5_a_partner_that_hangs_over_measurements_has_its_handshake_acknowledged_meanwhile() -> None:
    hangs_s = 9.0

    def script(one: Scene) -> list[Step]:
        async def hang() -> int:
            await one.clock.sleep(timedelta(seconds=hangs_s))
            return 204

        async def say() -> None:
            around = one.unit.peer.around
            words = [Says(about=f"energy:{n}", path=GROUP_MEASUREMENTS, body=f'{{"n":{n}}}') for n in range(5)]
            error = Says(about="shortfall", path=COMPLIANCE_ERROR, body="{}")
            rows = [message_of(around, says, one.clock.now()) for says in (*words, error)]
            await around.store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in rows)))
            one.unit.peer.changed()

        async def shake() -> None:
            assert (await one.call("handshake", {})).status == 204

        one.http.answers[GROUP_MEASUREMENTS] = [hang]
        return [(1, one.register), (10, say), (12, shake)]

    scene = live(script, 100)
    assert times(scene, "handshake_acknowledge") == [12.0], "not once the measurements have been taken"
    assert times(scene, COMPLIANCE_ERROR) == [10.0], "the partner learns of a shortfall before it finds out"
    assert times(scene, GROUP_MEASUREMENTS) == [10.0 + hangs_s * n for n in range(5)], "one after the other"
    assert scene.http.bodies(GROUP_MEASUREMENTS) == [{"n": n} for n in range(5)], "in their order"
