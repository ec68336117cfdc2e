"""Subscriptions at the VTN, in virtual time; and notifications over a real socket that make the VEN look."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.subscriptions import SubscriptionKeeper, SubscriptionTimes
from gateway.openadr.v3.webhook import Callback, WebhookReceiver, WebhookSettings
from gateway.openadr.v3.wire import Target
from tests.fakes.clock import START as HAND_START
from tests.fakes.clock import HandClock
from tests.openadr.v3.bench import Bench, settings, virtually
from tests.openadr.v3.memory_vtn import Json, limit_event

BOTH = pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
URL = "https://vpp.example/openadr/1"


class Kept:
    """A bench whose VEN subscribes; every run ends as a stop does."""

    def __init__(self, bench: Bench, **times: timedelta) -> None:
        self.bench = bench
        self.vtn = bench.vtn
        self.times = SubscriptionTimes(**times)
        self.callback = Callback(URL, bench.ven.interest, bench.ven.wake, bench.clock)
        self.keeper = self.fresh()

    def fresh(self) -> SubscriptionKeeper:
        bench = self.bench
        return SubscriptionKeeper(bench.ven, bench.settings, self.callback, bench.clock, bench.ids, times=self.times)

    async def run(self, *steps: tuple[float, Callable[[], Any]], seconds: float) -> None:
        """Let VEN and keeper live for so long, then stop the keeper and kill the VEN."""
        self.keeper = self.fresh()
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self.keeper.run())
            tasks.create_task(self._stop(keeping, seconds - 1))
            await self.bench.run(*steps, seconds=seconds)

    async def _stop(self, task: asyncio.Task[None], seconds: float) -> None:
        await self.bench.clock.sleep(timedelta(seconds=seconds))
        self.before_stop = dict(self.vtn.subscriptions)
        task.cancel()


def keeping(
    *steps: tuple[float, Callable[[Bench], Any]],
    seconds: float = 120,
    prepare: Callable[[Bench], Any] | None = None,
    **changes: Any,
) -> Kept:
    box: list[Kept] = []
    times = {name: changes.pop(name) for name in ("look_every", "renew_every") if name in changes}

    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.program("p2")
        if prepare is not None:
            prepare(bench)
        box.append(Kept(bench, **times))
        await box[0].run(*((at, lambda step=step: step(bench)) for at, step in steps), seconds=seconds)

    virtually(scenario, **changes)
    return box[0]


def wishes(kept: Kept) -> list[tuple[str, list[Any]]]:
    return sorted((one.get("programID", ""), one.get("targets", [])) for one in kept.before_stop.values())


@BOTH
def test_a_subscription_says_what_where_and_with_which_token(dialect: Dialect) -> None:
    kept = keeping(dialect=dialect, programs=("p1",))
    [subscription] = kept.before_stop.values()
    [operations] = subscription["objectOperations"]
    assert operations["operations"] == ["CREATE", "UPDATE", "DELETE"]
    assert operations["objects"] == ["EVENT", "PROGRAM", "RESOURCE", "VEN"]
    assert operations["callbackUrl"] == URL
    assert kept.callback.admits(f"Bearer {operations['bearerToken']}")
    assert (subscription["clientName"], subscription["programID"]) == ("Depot A&B", "p1")


def test_301_wants_one_for_each_program_and_310_takes_one_for_all() -> None:
    assert wishes(keeping(dialect=Dialect.V301)) == [("p1", []), ("p2", [])]
    assert wishes(keeping(dialect=Dialect.V310)) == [("", [])]


def test_what_is_targeted_at_us_has_a_subscription_of_its_own() -> None:
    kept = keeping(
        (20, lambda bench: bench.vtn.grant(["group-2", "group-1"])), seconds=400, survey_interval=timedelta(minutes=1)
    )
    assert wishes(kept) == [("", []), ("", ["group-1", "group-2"])]


def test_a_stop_ends_them() -> None:
    kept = keeping()
    assert kept.before_stop
    assert not kept.vtn.subscriptions


def test_what_an_earlier_run_left_is_taken_over_and_what_is_too_many_deleted() -> None:
    def left(bench: Bench) -> None:
        def row(**changes: Any) -> Json:
            operations = [{"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": URL, "bearerToken": "old"}]
            stamp = {"createdDateTime": "x", "modificationDateTime": "x", "objectType": "SUBSCRIPTION"}
            return {"clientName": "Depot A&B", "objectOperations": operations, **stamp, **changes}

        elsewhere = [{"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": "https://else.example"}]
        bench.vtn.subscriptions |= {
            "s-1": row(id="s-1"),
            "s-2": row(id="s-2"),
            "s-3": row(id="s-3", programID="gone"),
            "s-4": row(id="s-4", objectOperations=elsewhere),
        }

    kept = keeping(prepare=left)
    assert sorted(kept.before_stop) == ["s-1", "s-4"]
    [operations] = kept.before_stop["s-1"]["objectOperations"]
    assert kept.callback.admits(f"Bearer {operations['bearerToken']}")
    assert not kept.callback.admits("Bearer old")
    assert sorted(kept.vtn.subscriptions) == ["s-4"], "what leads elsewhere is not ours"


def test_a_renewal_changes_the_token_and_nothing_else() -> None:
    kept = keeping(seconds=400, renew_every=timedelta(minutes=2))
    assert len(kept.before_stop) == 1
    tokens = [
        one.content["objectOperations"][0]["bearerToken"]
        for one in kept.vtn.heard
        if one.method in {"POST", "PUT"} and one.path.startswith("/subscriptions")
    ]
    assert len(set(tokens)) == len(tokens) >= 3
    assert [kept.callback.admits(f"Bearer {token}") for token in tokens[-3:]] == [False, True, True]


def test_a_vtn_that_refuses_is_asked_again() -> None:
    def refusing(bench: Bench) -> None:
        bench.vtn.once("POST /subscriptions", 400, {"status": 400, "detail": "the echo failed"})
        bench.vtn.once("POST /subscriptions", 503, {"status": 503}, retry_after="60")

    kept = keeping(prepare=refusing, seconds=300)
    assert wishes(kept) == [("", [])]
    assert kept.keeper.health.failures == 0
    first, second, third = kept.vtn.asked("POST /subscriptions")
    assert third.at - second.at >= timedelta(seconds=60)
    assert second.at > first.at


@BOTH
def test_a_vtn_of_301_that_wants_operations_in_words_of_http_gets_them(dialect: Dialect) -> None:
    def refusing(bench: Bench) -> None:
        bench.vtn.once(
            "POST /subscriptions", 400, {"status": 400, "detail": "operations must be GET, POST, PUT, DELETE"}
        )

    kept = keeping(prepare=refusing, seconds=300, dialect=dialect, programs=("p1",))
    [subscription] = kept.before_stop.values()
    wanted = ["POST", "PUT", "DELETE"] if dialect is Dialect.V301 else ["CREATE", "UPDATE", "DELETE"]
    assert subscription["objectOperations"][0]["operations"] == wanted


def test_a_vtn_that_is_gone_at_the_stop_does_not_hold_it_up() -> None:
    kept = keeping((60, lambda bench: setattr(bench.vtn, "is_down", True)), seconds=120)
    assert len(kept.vtn.subscriptions) == 1


def test_targets_in_301_are_written_as_they_are_there() -> None:
    kept = keeping(dialect=Dialect.V301, programs=("p1",), targets=(Target("GROUP", "g-1"),))
    assert ("p1", [{"type": "GROUP", "values": ["g-1"]}]) in [
        (one["programID"], one.get("targets", [])) for one in kept.before_stop.values()
    ]


# ---------------------------------------------------------------- from the socket to the desk


class Live:
    """A VEN with a clock moved by hand, and a listener on a real socket that wakes it."""

    def __init__(
        self, bench: Bench, clock: HandClock, receiver: WebhookReceiver, session: aiohttp.ClientSession
    ) -> None:
        self.bench = bench
        self.clock = clock
        self.session = session
        self.callback = receiver.add("vtn:test", bench.ven.interest, bench.ven.wake)
        self.url = f"http://127.0.0.1:{receiver.port}/{self.callback.url.rpartition('/')[2]}"
        self.token = self.callback.renew_token()

    async def notify(self, token: str | None = None) -> int:
        body = {"objectType": "EVENT", "operation": "CREATE", "object": {"id": "e1", "programID": "p1"}}
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.session.post(self.url, data=json.dumps(body), headers=headers) as answer:
            return answer.status

    async def settle(self, **moved: float) -> None:
        """Move time and let everything that is due happen."""
        self.clock.move(**moved)
        for _ in range(200):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    @property
    def polls(self) -> int:
        return len(self.bench.vtn.asked("GET /events"))


@asynccontextmanager
async def live() -> AsyncIterator[Live]:
    clock = HandClock()
    bench = Bench(settings=settings(poll_interval=timedelta(hours=1), survey_interval=timedelta(days=1)), clock=clock)  # type: ignore[arg-type]  # any clock
    bench.vtn.program()
    receiver = WebhookReceiver(WebhookSettings(port=0, public_url="http://127.0.0.1", allow_plain_http=True), clock)
    async with asyncio.TaskGroup() as group, aiohttp.ClientSession() as session:
        tasks = [group.create_task(receiver.run()), group.create_task(bench.ven.run())]
        while receiver.port is None:
            await asyncio.sleep(0)
        room = Live(bench, clock, receiver, session)
        await room.settle(seconds=5)
        assert room.polls == 1
        yield room
        for task in tasks:
            task.cancel()


async def test_b14_a_notification_makes_the_ven_look_at_once() -> None:
    async with live() as room:
        room.bench.vtn.event("e1", **limit_event(HAND_START, 10.0, duration="PT4H"))
        assert await room.notify() == 200
        await room.settle(seconds=1)
        assert list(room.bench.in_force()) == ["e1"]
        assert room.polls == 2


async def test_b14_the_same_notification_twice_is_one_action() -> None:
    async with live() as room:
        room.bench.vtn.event("e1", **limit_event(HAND_START, 10.0, duration="PT4H"))
        assert [await room.notify(), await room.notify()] == [200, 200]
        await room.settle(seconds=1)
        assert await room.notify() == 200
        await room.settle(seconds=1)
        assert room.bench.desk.effects == ["receive e1/0"]


async def test_b14_a_lost_notification_is_made_good_by_the_next_poll() -> None:
    async with live() as room:
        room.bench.vtn.event("e1", **limit_event(HAND_START, 10.0, duration="PT4H"))
        await room.settle(minutes=30)
        assert not room.bench.in_force()
        await room.settle(minutes=30)
        assert list(room.bench.in_force()) == ["e1"]


async def test_b14_a_wrong_bearer_is_refused_and_nobody_looks() -> None:
    async with live() as room:
        room.bench.vtn.event("e1", **limit_event(HAND_START, 10.0, duration="PT4H"))
        assert await room.notify("wrong") == 401
        await room.settle(seconds=30)
        assert not room.bench.in_force()
        assert room.polls == 1


async def test_a_flood_of_notifications_does_not_become_a_flood_of_polls() -> None:
    async with live() as room:
        for _ in range(50):
            assert await room.notify() == 200
        await room.settle(seconds=1)
        await room.settle(seconds=1)
        assert room.polls <= 3
