"""What was drawn, how far an event was followed, and the way from any euro back to the signal."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime, time, timedelta

import numpy as np
import pytest

from bidding.delivery.baselines import BaselineRule
from gateway.domain.bids import Nomination, Residual
from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import InvalidInput, NotFound, PermissionRefused, PreconditionFailed
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.settlement import EventPerformance, MeteredPeriod, Settlement
from gateway.domain.signals import EventInterval, GridEvent, Instruction, OptType, RawSignal
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import Node
from gateway.services.report_delivery import DeliveryReporter, ReportSettings
from gateway.services.report_delivery.tracing import MOST_STEPS, period_id
from gateway.services.report_delivery.usage import readings_from_samples
from tests.services.market_scene import (
    AUDITOR,
    DAY,
    PORTFOLIO,
    STRANGER,
    SYSTEM,
    TENANT,
    TRADER,
    MarketScene,
    site_rows,
)

POINT = "541448820000000000"
EVENT = "vtn:grid-demo:ev-1"
BEGIN = DAY.at(time(18))
END = DAY.at(time(19))


class Samples:
    """Samples of every node, as the fleet tracker keeps them."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[list[datetime], list[float]]] = {}

    def put(self, node: str, start: datetime, power_kw: Sequence[float], *, every_s: float = 30.0) -> None:
        times = [start + timedelta(seconds=every_s * i) for i in range(len(power_kw))]
        self.of[node] = (times, list(power_kw))

    def __call__(self, tenant: str, node: str, since: datetime) -> tuple[list[datetime], np.ndarray]:
        if node not in self.of:
            raise NotFound("node", node)
        times, power = self.of[node]
        kept = [i for i, at in enumerate(times) if at >= since]
        return [times[i] for i in kept], np.array([power[i] for i in kept])


class Reporting(MarketScene):
    """A portfolio with an event on its first site."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = Samples()
        self.reporter = DeliveryReporter(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            node_power=self.samples,
            settings=ReportSettings(tenants=(TENANT,), rule=BaselineRule(looked_at=3, counted=2)),
        )

    async def with_event(
        self, *, max_kw: float = 40.0, nodes: tuple[str, ...] = ("site-01",), begin: datetime = BEGIN
    ) -> None:
        end = begin + timedelta(hours=1)
        if not self.store.all(Node, TENANT):
            await self.store.seed(TENANT, *site_rows())
        event = GridEvent(
            id=EVENT,
            tenant=TENANT,
            authority="vtn:grid-demo",
            event_id="ev-1",
            modification=0,
            cancelled=False,
            cancelled_at=None,
            market_context="http://grid-demo.example/dr",
            priority=1,
            test_event=False,
            response_required=True,
            active=Interval(start=begin, end=end),
            start_offset=timedelta(0),
            start_after=timedelta(0),
            notification=timedelta(hours=1),
            intervals=(
                EventInterval(
                    start=begin, end=end, instruction=Instruction.IMPORT_LIMIT_KW, value=max_kw, signal_id="s"
                ),
            ),
            nodes=nodes,
            opt=OptType.OPT_IN,
            opt_reason="",
            raw_signal="raw-1",
            received_at=begin - timedelta(hours=1),
        )
        raw = RawSignal(
            id="raw-1",
            tenant=TENANT,
            authority="vtn:grid-demo",
            protocol="openadr-2.0b",
            received_at=begin - timedelta(hours=1),
            body=b"<xml/>",
            sha256="ab" * 32,
        )
        limits = [
            Limit(
                id=f"{EVENT}:{node}",
                tenant=TENANT,
                authority="vtn:grid-demo",
                node=node,
                direction=Direction.IMPORT,
                kind=LimitKind.LIMIT,
                binding=Binding.COMMITTED,
                max_kw=max_kw,
                interval=Interval(start=begin, end=end),
                cause=f"event:{EVENT}",
                known_at=begin - timedelta(hours=1),
            )
            for node in nodes
        ]
        await self.store.seed(TENANT, event, raw, *limits)

    async def past(self, days_back: int, kw: float, *, point: str = POINT) -> None:
        """Let a point have drawn so much on an earlier day from 17:00 to 20:00."""
        start = DAY.next(-days_back).at(time(17))
        await self.store.seed(TENANT, *metered(point, start, [kw] * 12))


def metered(point: str, start: datetime, power_kw: Sequence[float]) -> list[MeteredPeriod]:
    quarter = timedelta(minutes=15)
    return [
        MeteredPeriod(
            id=f"{point}:{(start + quarter * i).isoformat()}",
            tenant=TENANT,
            connection_point=point,
            start=start + quarter * i,
            end=start + quarter * (i + 1),
            energy_kwh=kw / 4.0 + 1.0,
            chargers_kwh=kw / 4.0,
            coverage=1.0,
        )
        for i, kw in enumerate(power_kw)
    ]


# ---------------------------------------------------------------- usage


async def test_usage_is_the_mean_of_samples_and_unknown_is_not_zero() -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    scene.clock.set(END)
    scene.samples.put("site-01", BEGIN, [10.0, 20.0, 30.0, 30.0])
    grid = TimeGrid(start=BEGIN, step=timedelta(minutes=1), count=5)
    readings = await scene.reporter.usage(SYSTEM, "site-01", grid)
    # A sample holds for two minutes at most.
    assert [r.power_kw for r in readings] == [15.0, 30.0, 30.0, 30.0, None]
    assert [r.coverage for r in readings] == [1.0, 1.0, 1.0, 0.5, 0.0]


async def test_old_slots_come_from_stored_periods_of_all_points_below_the_node() -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    scene.clock.set(END)
    for i, point in enumerate((POINT, "541448820000000001", "541448820000000002")):
        await scene.store.seed(TENANT, *metered(point, BEGIN, [10.0 * (i + 1), 40.0]))
    half = TimeGrid(start=BEGIN, step=timedelta(minutes=5), count=9)
    readings = await scene.reporter.usage(SYSTEM, PORTFOLIO, half)
    assert [r.power_kw for r in readings] == pytest.approx([60.0] * 3 + [120.0] * 3 + [None] * 3)
    hours = TimeGrid(start=BEGIN, step=timedelta(minutes=30), count=1)
    assert (await scene.reporter.usage(SYSTEM, "site-01", hours))[0].power_kw == pytest.approx(25.0)


async def test_sum_is_unknown_when_one_point_is() -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    await scene.store.seed(TENANT, *metered(POINT, BEGIN, [10.0]))
    grid = TimeGrid(start=BEGIN, count=1)
    assert (await scene.reporter.usage(SYSTEM, PORTFOLIO, grid))[0].power_kw is None


async def test_usage_is_bounded_and_guarded() -> None:
    scene = Reporting()
    await scene.store.seed(TENANT, *site_rows())
    grid = TimeGrid(start=BEGIN, count=1)
    with pytest.raises(NotFound):
        await scene.reporter.usage(SYSTEM, "site-99", grid)
    with pytest.raises(NotFound):
        await scene.reporter.usage(STRANGER, "site-01", grid)
    with pytest.raises(InvalidInput):
        await scene.reporter.usage(SYSTEM, "site-01", TimeGrid(start=BEGIN, count=3001))
    nobody = Principal(tenant=TENANT, actor="n", roles=frozenset())
    with pytest.raises(PermissionRefused):
        await scene.reporter.usage(nobody, "site-01", grid)


def test_samples_of_unknown_power_leave_a_hole() -> None:
    times = [BEGIN + timedelta(seconds=30 * i) for i in range(4)]
    grid = TimeGrid(start=BEGIN, step=timedelta(minutes=2), count=1)
    [reading] = readings_from_samples(
        times, np.array([10.0, np.nan, 20.0, 20.0]), grid, now=END, longest_hold=timedelta(minutes=2)
    )
    assert reading.coverage == 0.75
    assert reading.power_kw == pytest.approx(50.0 / 3.0)


# ---------------------------------------------------------------- performance


async def test_performance_compares_with_the_request_and_the_high_days() -> None:
    scene = Reporting()
    await scene.with_event(max_kw=40.0)
    for back, kw in ((1, 80.0), (2, 100.0), (5, 90.0)):
        await scene.past(back, kw)
    scene.samples.put("site-01", BEGIN, [60.0] * 12 + [38.0] * 108)
    scene.clock.set(END + timedelta(minutes=1))
    found = await scene.reporter.event_performance(AUDITOR, EVENT)
    assert (found.requested_kw, found.node) == (40.0, "site-01")
    assert found.compliance == pytest.approx(0.9)
    assert found.mean_power_kw == pytest.approx(0.1 * 60.0 + 0.9 * 38.0)
    assert found.baseline_kw == pytest.approx(95.0)
    assert found.baseline_method == "high 2 of 3 (2025-10-13, 2025-10-10)"


async def test_baseline_skips_weekends_event_days_and_days_without_readings() -> None:
    scene = Reporting()
    await scene.with_event()
    for back, kw in ((1, 80.0), (2, 500.0), (3, 900.0), (4, 900.0)):
        await scene.past(back, kw)
    other = dataclasses.replace(
        (await scene.store.get(GridEvent, TENANT, EVENT)).record,  # type: ignore[union-attr]
        id="older",
        active=Interval(start=DAY.next(-2).at(time(12)), end=DAY.next(-2).at(time(13))),
    )
    await scene.store.seed(TENANT, other)
    scene.samples.put("site-01", BEGIN, [30.0] * 120)
    scene.clock.set(END)
    found = await scene.reporter.event_performance(AUDITOR, EVENT)
    assert found.baseline_kw is None
    assert found.baseline_method == "high 2 of 3: only 1 comparable days with meter readings"


async def test_event_on_two_sites_is_judged_by_the_sum() -> None:
    scene = Reporting()
    await scene.with_event(max_kw=40.0, nodes=("site-01", "site-02"))
    scene.samples.put("site-01", BEGIN, [50.0] * 120)
    scene.samples.put("site-02", BEGIN, [20.0] * 120)
    scene.clock.set(END)
    found = await scene.reporter.event_performance(AUDITOR, EVENT)
    assert (found.requested_kw, found.mean_power_kw, found.compliance) == (80.0, 70.0, 1.0)


async def test_event_that_has_not_begun_was_not_measured_or_is_unknown() -> None:
    scene = Reporting()
    await scene.with_event()
    with pytest.raises(PreconditionFailed, match="not begun"):
        await scene.reporter.event_performance(AUDITOR, EVENT)
    scene.clock.set(END)
    with pytest.raises(PreconditionFailed, match="nothing was measured"):
        await scene.reporter.event_performance(AUDITOR, EVENT)
    with pytest.raises(NotFound):
        await scene.reporter.event_performance(AUDITOR, "vtn:grid-demo:ev-2")
    with pytest.raises(NotFound):
        await scene.reporter.event_performance(STRANGER, EVENT)


async def test_cancelled_event_counts_until_its_cancellation() -> None:
    scene = Reporting()
    await scene.with_event()
    row = await scene.store.get(GridEvent, TENANT, EVENT)
    assert row is not None
    middle = BEGIN + timedelta(minutes=30)
    await scene.store.seed(TENANT, dataclasses.replace(row.record, cancelled=True, cancelled_at=middle))
    for limit in scene.store.all(Limit, TENANT):
        await scene.store.seed(TENANT, dataclasses.replace(limit, withdrawn_at=middle))
    scene.samples.put("site-01", BEGIN, [30.0] * 60 + [90.0] * 60)
    scene.clock.set(END)
    assert (await scene.reporter.event_performance(AUDITOR, EVENT)).compliance == 1.0


@pytest.mark.parametrize(
    "changes",
    [{"test_event": True}, {"is_dry_run": True}, {"opt": OptType.OPT_OUT}, {"instruction": Instruction.PRICE}],
    ids=["test", "dry-run", "not-followed", "price"],
)
async def test_an_event_that_moved_no_load_is_not_judged_and_makes_no_day_unlike(changes: dict[str, object]) -> None:
    scene = Reporting()
    await scene.with_event()
    await scene.past(1, 60.0)
    await scene.past(2, 60.0)
    row = await scene.store.get(GridEvent, TENANT, EVENT)
    assert row is not None
    instruction = Instruction(str(changes.get("instruction", Instruction.IMPORT_LIMIT_KW.value)))
    others = {name: value for name, value in changes.items() if name != "instruction"}
    day_before = Interval(start=BEGIN - timedelta(days=1), end=END - timedelta(days=1))
    [interval] = row.record.intervals
    idle = dataclasses.replace(
        row.record,
        id="idle",
        active=day_before,
        intervals=(dataclasses.replace(interval, instruction=instruction),),
        **others,  # type: ignore[arg-type]
    )
    await scene.store.seed(TENANT, idle)
    scene.samples.put("site-01", BEGIN, [30.0] * 120)
    scene.clock.set(END + timedelta(minutes=30))
    await scene.reporter._keep_finished(TENANT)
    [kept] = scene.store.all(EventPerformance, TENANT)
    assert (kept.event, kept.baseline_kw) == (EVENT, 60.0)


async def test_loop_keeps_the_performance_of_finished_events_once() -> None:
    scene = Reporting()
    await scene.with_event()
    scene.samples.put("site-01", BEGIN, [30.0] * 120)
    scene.clock.set(END + timedelta(minutes=19))
    await scene.reporter._keep_finished(TENANT)
    assert not scene.store.all(EventPerformance, TENANT)
    scene.clock.move(minutes=1)
    await scene.reporter._keep_finished(TENANT)
    await scene.reporter._keep_finished(TENANT)
    [kept] = scene.store.all(EventPerformance, TENANT)
    scene.samples.of.clear()
    assert await scene.reporter.event_performance(AUDITOR, EVENT) == kept
    assert [c.entry.action for c in await scene.store.audit_of(TENANT, "event", EVENT)] == ["event.judge"]


# ---------------------------------------------------------------- trace


async def settled_scene() -> tuple[Reporting, Settlement, datetime]:
    """Return a settled day with an event on the first site in the period with its largest position, and that period."""
    scene = Reporting()
    await scene.with_past()
    await scene.awarded()
    [mine] = [n for n in scene.store.all(Nomination, TENANT) if n.connection_point == POINT]
    begin = max(mine.periods, key=lambda period: period.volume_mw).start
    await scene.with_event(max_kw=1.0, begin=begin)
    [limit] = scene.store.all(Limit, TENANT)
    await scene.settler.find_residuals(limit)
    batch = DispatchBatch(
        id="dispatch-7",
        tenant=TENANT,
        csms="csms-demo",
        sequence=7,
        issued_at=begin + timedelta(seconds=2),
        lease_until=begin + timedelta(minutes=2),
        charger_ids=("site-01/ev001",),
        limit_kw=(0.0,),
        fallback_kw=(4.14,),
        cause=f"limit:{limit.id}",
    )
    elsewhere = dataclasses.replace(batch, id="dispatch-8", sequence=8, charger_ids=("site-02/ev001",))
    await scene.store.seed(TENANT, batch, elsewhere)
    await scene.deliver()
    settled = await scene.settler.settle(SYSTEM, PORTFOLIO, scene.iso)
    return scene, next(one for one in settled if one.connection_point == POINT), begin


async def test_euro_is_traced_to_meter_nomination_award_order_bid_plan_and_prices() -> None:
    scene, settlement, start = await settled_scene()
    steps = await scene.reporter.trace(AUDITOR, "settled-period", period_id(settlement.id, start))
    kinds = [step.kind for step in steps]
    assert kinds[0] == "settled-period"
    for kind in ("metered", "nomination", "award", "order", "bid", "plan", "series"):
        assert kind in kinds, kind
    assert kinds.index("metered") < kinds.index("nomination") < kinds.index("bid")
    assert kinds.count("metered") == 1
    assert len({(step.kind, step.id) for step in steps}) == len(steps)
    bid = next(step for step in steps if step.kind == "bid")
    assert "proposed by tara, approved by ann" in bid.summary


async def test_period_under_an_event_is_traced_to_dispatch_limit_event_and_signal() -> None:
    scene, settlement, start = await settled_scene()
    steps = await scene.reporter.trace(AUDITOR, "settled-period", period_id(settlement.id, start))
    chain = [(step.kind, step.id) for step in steps]
    for link in (
        ("dispatch", "dispatch-7"),
        ("limit", f"{EVENT}:site-01"),
        ("event", EVENT),
        ("signal", "raw-1"),
    ):
        assert link in chain, link
    assert ("dispatch", "dispatch-8") not in chain


async def test_residual_is_traced_to_its_limit_and_award() -> None:
    scene, _, _ = await settled_scene()
    [residual] = scene.store.all(Residual, TENANT)
    kinds = [step.kind for step in await scene.reporter.trace(AUDITOR, "residual", residual.id)]
    assert kinds[:2] == ["residual", "limit"]
    assert {"award", "event", "signal"} <= set(kinds)


async def test_trace_is_bounded_guarded_and_knows_its_tenant() -> None:
    scene, settlement, _ = await settled_scene()
    steps = await scene.reporter.trace(AUDITOR, "settlement", settlement.id)
    assert 100 < len(steps) <= MOST_STEPS
    assert steps[0].id == settlement.id
    with pytest.raises(NotFound):
        await scene.reporter.trace(STRANGER, "settlement", settlement.id)
    with pytest.raises(NotFound):
        await scene.reporter.trace(AUDITOR, "settled-period", f"{settlement.id}@2025-10-15T00:07Z")
    with pytest.raises(NotFound):
        await scene.reporter.trace(AUDITOR, "unicorn", "1")
    nobody = Principal(tenant=TENANT, actor="n", roles=frozenset({Role.CSMS}))
    with pytest.raises(PermissionRefused):
        await scene.reporter.trace(nobody, "settlement", settlement.id)


async def test_thing_that_only_the_audit_knows_is_told_from_it() -> None:
    scene, _, _ = await settled_scene()
    status_id = f"BE:day-ahead-sdac:{scene.iso}"
    steps = await scene.reporter.trace(AUDITOR, "market-day", status_id)
    assert steps[0].kind == "market-day"
    assert steps[1].kind == "series"


async def test_trader_may_trace_too() -> None:
    scene = Reporting()
    await scene.with_past()
    bid = await scene.drafted()
    steps = await scene.reporter.trace(TRADER, "bid", bid.id)
    assert [step.kind for step in steps][:2] == ["bid", "plan"]
