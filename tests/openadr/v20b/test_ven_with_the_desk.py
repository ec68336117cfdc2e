"""From bytes of a VTN to limits in force: the VEN with the real signal desk, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.limits import Limit
from gateway.domain.programs import OptDecision
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.topology import Node, NodeKind
from gateway.openadr.v20b.ven import Ven
from gateway.services.gather_signals import SignalGatherer, SignalSettings, SignalSources
from tests.openadr.desk_of_usage import DeskOfUsage
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import Bench, settings, virtually
from tests.openadr.virtual_life import AUTHORITY, START, TENANT

OTHER = "http://grid.example/tou"
NODES = {
    node_id: Node(
        id=node_id,
        tenant=TENANT,
        parent=None,
        kind=NodeKind.PORTFOLIO,
        name=node_id,
        max_import_kw=rating,
        fail_safe_import_kw=10.0,
    )
    for node_id, rating in (("vpp-be", 200.0), ("site-01", 80.0))
}
ASKS = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
NINE = START + timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Site:
    """A bench whose desk is the real one."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.desk = SignalGatherer(
            store=bench.store,
            clock=bench.clock,
            ids=bench.ids,
            tenants=[TENANT],
            sources=SignalSources(
                find_node=lambda tenant, node: NODES.get(node) if tenant == TENANT else None,
                decide=lambda event, limits, now: OptDecision(opt=OptType.OPT_IN, reason="as agreed"),
                baseline_kw=lambda tenant, node, at: 100.0,
            ),
            settings=SignalSettings(),
        )
        bench.desk = self.desk  # type: ignore[assignment]  # it is one, too
        bench.ven = bench.build()

    def says(self, *events: str) -> None:
        self.bench.vtn.queue.append(messages.distribute_event(*events))

    async def kw(self, at: datetime, node: str = "vpp-be") -> float:
        """Return what may be drawn at an instant that has not come yet."""
        return (await self.desk.resolve(ASKS, node, at)).kw

    async def event(self, event_id: str = "E1") -> GridEvent:
        row = await self.bench.store.get(GridEvent, TENANT, f"{AUTHORITY}:{event_id}")
        assert row is not None
        return row.record


def with_desk(scenario: Callable[[Site], Awaitable[None]], **changes: Any) -> Bench:
    async def play(bench: Bench) -> None:
        site = Site(bench)
        await site.desk.load()
        await scenario(site)

    return virtually(play, market_contexts=(messages.CONTEXT, OTHER), **changes)


def event(event_id: str, kw: float, **changes: Any) -> str:
    return messages.event(event_id, signals=[messages.setpoint(kw)], **changes)


@pytest.mark.parametrize(
    ("first", "second", "in_force"),
    [((2, 40), (1, 60), 60.0), ((2, 60), (0, 40), 60.0), ((1, 60), (1, 40), 40.0), ((0, 60), (0, 40), 40.0)],
    ids=["1-beats-2", "2-beats-none", "equal", "none-at-all"],
)
def test_a21_hostile_a23_priority_decides_between_two_programmes_that_overlap(
    first: tuple[int, float], second: tuple[int, float], in_force: float
) -> None:
    async def scenario(site: Site) -> None:
        one = event("E1", first[1], priority=first[0])
        other = event("E2", second[1], priority=second[0], context=OTHER)
        await site.bench.play((5, lambda: site.says(one, other)), seconds=15)
        assert await site.kw(NINE + 30 * MINUTE) == in_force
        assert await site.kw(NINE - MINUTE) == 200.0

    assert {opt for *_, opt in with_desk(scenario).vtn.opts()} == {"optIn"}


def test_a21_the_one_that_started_first_wins_among_equals() -> None:
    async def scenario(site: Site) -> None:
        late = event("E2", 40, context=OTHER, start="2025-10-15T09:30:00Z")
        await site.bench.play((5, lambda: site.says(event("E1", 60), late)), seconds=15)
        assert await site.kw(NINE + 29 * MINUTE) == 60.0
        assert await site.kw(NINE + 45 * MINUTE) == 60.0
        assert await site.kw(NINE + 75 * MINUTE) == 40.0

    with_desk(scenario)


def test_a22_the_limit_changes_at_each_boundary() -> None:
    steps = [messages.interval("PT15M", value, uid=str(uid)) for uid, value in enumerate((90, 60, "30.5", 0))]
    rows = [messages.signal(steps, unit=messages.power_unit("k"))]

    async def scenario(site: Site) -> None:
        said = messages.event("E1", signals=rows)
        await site.bench.play((5, lambda: site.says(said)), seconds=15)
        second = timedelta(seconds=1)
        for number, (before, after) in enumerate(
            [(200.0, 90.0), (90.0, 60.0), (60.0, 30.5), (30.5, 0.0), (0.0, 200.0)]
        ):
            boundary = NINE + number * 15 * MINUTE
            assert (await site.kw(boundary - second), await site.kw(boundary)) == (before, after)

    with_desk(scenario)


def test_a23_a_randomised_event_that_is_called_completed_runs_to_its_end() -> None:
    async def scenario(site: Site) -> None:
        said = event("E1", 60, start_after="PT5M")
        done = event("E1", 60, start_after="PT5M", status="completed", modification=1)
        await site.bench.play((5, lambda: site.says(said)), (4_500, lambda: site.says(done)), seconds=4_520)
        running = await site.event()
        assert running.active.end is not None
        assert await site.kw(running.active.end - MINUTE) == 60.0
        assert await site.kw(running.active.end) == 200.0

    with_desk(scenario)


def test_a19_a_running_event_that_is_missing_ends_at_random_and_one_to_come_at_once() -> None:
    async def scenario(site: Site) -> None:
        running = event("E1", 60, start_after="PT5M")
        to_come = event("E2", 30, start_after="PT5M", start="2025-10-15T12:00:00Z")
        await site.bench.play((5, lambda: site.says(running, to_come)), (4_500, site.says), seconds=4_520)
        now = site.bench.clock.now()
        gone, never = await site.event("E1"), await site.event("E2")
        assert gone.cancelled_at is not None
        assert now - timedelta(seconds=30) < gone.cancelled_at <= now + 5 * MINUTE
        assert await site.kw(gone.cancelled_at + MINUTE) == 200.0
        assert never.cancelled_at is not None
        assert never.cancelled_at <= now

    with_desk(scenario)


def test_a20_an_open_ended_event_binds_until_it_is_cancelled() -> None:
    rows = [messages.signal([messages.interval("PT0S", 50)], unit=messages.power_unit())]

    async def scenario(site: Site) -> None:
        said = messages.event("E1", duration="PT0S", signals=rows)
        gone = messages.event("E1", duration="PT0S", signals=rows, status="cancelled", modification=1)
        await site.bench.play((5, lambda: site.says(said)), seconds=15)
        assert await site.kw(START + timedelta(days=30)) == 50.0
        await site.bench.play((5, lambda: site.says(gone)), seconds=15)
        assert await site.kw(START + timedelta(days=30)) == 200.0

    with_desk(scenario)


def test_a_set_point_below_zero_draws_nothing() -> None:
    async def scenario(site: Site) -> None:
        await site.bench.play((5, lambda: site.says(event("E1", -50))), seconds=15)
        assert await site.kw(NINE + MINUTE) == 0.0

    with_desk(scenario)


def test_prices_bids_and_charge_states_bind_nothing() -> None:
    def row(name: str, kind: str, value: object, unit: str = "") -> str:
        return messages.signal([messages.interval("PT1H", value)], name=name, kind=kind, unit=unit, signal_id=name)

    rows = [
        row("ELECTRICITY_PRICE", "price", 0.2, messages.price_unit()),
        row("DEMAND_CHARGE", "price", 9, messages.price_unit(name="currencyPerKW")),
        row("BID_LOAD", "setpoint", 1, messages.power_unit()),
        row("CHARGE_STATE", "multiplier", 0.8),
    ]

    async def scenario(site: Site) -> None:
        said = messages.event("E1", signals=rows)
        await site.bench.play((5, lambda: site.says(said)), seconds=15)
        assert await site.kw(NINE + MINUTE) == 200.0

    assert with_desk(scenario).vtn.opts() == [("E1", 0, "200", "optIn")]


def test_a36_polls_go_on_while_a_dispatch_takes_long() -> None:
    async def scenario(site: Site) -> None:
        woken, done = asyncio.Event(), list[datetime]()
        site.desk.on_change.append(lambda _: woken.set())

        async def dispatch() -> None:
            while True:
                await woken.wait()
                woken.clear()
                await site.bench.clock.sleep(timedelta(seconds=30))
                done.append(site.bench.clock.now())

        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(dispatch())
            await site.bench.play((5, lambda: site.says(event("E1", 60))), seconds=65)
            slow.cancel()
        assert done

    bench = with_desk(scenario)
    assert [round((said.at - START).total_seconds()) for said in bench.vtn.all("Poll")] == [10, 10, 20, 30, 40, 50, 60]


def test_one_vtn_in_trouble_does_not_concern_another() -> None:
    async def scenario(site: Site) -> None:
        calm, bench = Bench(clock=site.bench.clock, ids=site.bench.ids), site.bench
        other = Ven(
            settings(authority="vtn:calm", report_points=()),
            bench.store,
            site.desk,
            DeskOfUsage(bench.clock.now),
            bench.clock,
            bench.ids,
            system_principal(TENANT, "openadr"),
            transport=calm.vtn,
        )
        bench.vtn.script["Poll"] = lambda _: b"<html>"
        site.bench.vtn.events = [event("E1", 60)]
        calm.vtn.queue.append(messages.distribute_event(event("E1", 50)))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(other.run())
            await bench.play(seconds=65)
            running.cancel()
        assert [round((said.at - START).total_seconds()) for said in calm.vtn.all("Poll")] == [
            10,
            10,
            20,
            30,
            40,
            50,
            60,
        ]
        assert calm.vtn.opts() == [("E1", 0, "200", "optIn")]
        assert await site.kw(NINE + MINUTE) == 50.0, "across authorities the minimum binds"
        limits: list[Limit] = bench.store.all(Limit, TENANT)
        assert sorted((limit.authority, limit.max_kw) for limit in limits) == [("vtn:calm", 50.0), (AUTHORITY, 60.0)]

    with_desk(scenario)
