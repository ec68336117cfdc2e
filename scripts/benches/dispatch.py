"""How long a grid limit takes to become set points: the clip that answers at once, the full allocation, the whole step.

A tree of four levels with ten chargers a panel, ten panels a feeder, ten feeders a site; every node binds. The step is the control
loop of one tenant from a limit in memory to commands in the mailbox, on a store in memory: what is measured is our computation. All
times are CPU seconds of one thread. The floor is what numpy needs for one pass over the chargers per level of the tree.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import numpy as np
import numpy.typing as npt

from gateway.domain.allocation import Demand, TreeLevels, allocate, clip
from gateway.domain.fleet import FleetView
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node, NodeKind, SiteTree
from gateway.ports import Batch, Change, Store
from gateway.services.follow_dispatch import Follower
from gateway.services.plan_dispatch import Dispatcher, DispatchSettings, DispatchSources
from scripts.measuring import Report, Value, at_most, cpu_seconds

NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)
TENANT, CSMS = "bench", "csms-bench"
MIN_KW = 4.14
MUST_RUN_SHARE = 0.05
SILENT_SHARE = 0.02


def run() -> Report:
    """Measure fleets of 10 000 and 100 000 chargers."""
    rows = [_measure(10_000), _measure(100_000)]
    small, large = rows
    goals = [
        at_most("clip of 100 000 chargers to 97 %, CPU ms", 10.0, _number(large["clip_scaling_ms"])),
        at_most("clip of 100 000 chargers to 60 %, CPU ms", 20.0, _number(large["clip_pausing_ms"])),
        at_most("allocation of 100 000 chargers, CPU ms", 60.0, _number(large["allocate_ms"])),
        at_most(
            "allocation, 100 000 over 10 000 chargers",
            15.0,
            _number(large["allocate_ms"]) / _number(small["allocate_ms"]),
        ),
        at_most("worst excess over any cap, kW", 1e-6, max(_number(row["worst_excess_kw"]) for row in rows)),
    ]
    return {"results": rows, "goals": goals}


def _measure(count: int) -> dict[str, Value]:
    fleet = _Fleet.of(count)
    setpoints = allocate(fleet.levels, fleet.caps_kw, fleet.demand)

    def lower(share: float) -> npt.NDArray[np.float64]:
        return clip(
            fleet.levels,
            fleet.caps_kw * share,
            setpoints,
            min_kw=fleet.demand.min_kw,
            priority=fleet.demand.priority,
        )

    excess = max(
        float((fleet.levels.totals(setpoints) - fleet.caps_kw).max()),
        float((fleet.levels.totals(lower(0.6)) - 0.6 * fleet.caps_kw).max()),
    )
    return {
        "chargers": count,
        "floor_ms": 1e3 * cpu_seconds(lambda: fleet.levels.totals(setpoints)),
        "clip_scaling_ms": 1e3 * cpu_seconds(lambda: lower(0.97)),
        "clip_pausing_ms": 1e3 * cpu_seconds(lambda: lower(0.6)),
        "clip_us_per_charger": 1e6 * cpu_seconds(lambda: lower(0.6)) / count,
        "allocate_ms": 1e3 * cpu_seconds(lambda: allocate(fleet.levels, fleet.caps_kw, fleet.demand)),
        "step_ms": 1e3 * asyncio.run(_reduction_step(fleet)),
        "worst_excess_kw": excess,
    }


@dataclass(frozen=True, kw_only=True)
class _Fleet:
    """A fleet with a car at seven of ten chargers and caps that bind everywhere."""

    tree: SiteTree
    levels: TreeLevels
    caps_kw: npt.NDArray[np.float64]
    demand: Demand

    @classmethod
    def of(cls, count: int) -> "_Fleet":
        generator = np.random.default_rng(7)
        tree = _tree(count)
        levels = TreeLevels.of(tree)
        wanted = generator.choice([0.0, 11.0, 22.0], size=count, p=[0.3, 0.35, 0.35])
        below = levels.totals(np.ones(count))
        caps = 2.76 * below * generator.uniform(0.9, 2.0, len(below))
        demand = Demand(
            wanted_kw=wanted,
            min_kw=np.full(count, MIN_KW),
            priority=generator.random(count),
            weight=generator.choice([1.0, 2.0, 4.0], size=count),
            must_run=generator.random(count) < MUST_RUN_SHARE,
            reserved_kw=np.where(generator.random(count) < SILENT_SHARE, 3.0, 0.0),
        )
        room = levels.totals(demand.reserved_kw)
        return cls(tree=tree, levels=levels, caps_kw=np.maximum(caps, room), demand=demand)


def _tree(count: int) -> SiteTree:
    panels, feeders, sites = count // 10, count // 100, count // 1000
    parent = np.concatenate(
        [[-1], np.zeros(sites), 1 + np.arange(feeders) // 10, 1 + sites + np.arange(panels) // 10]
    ).astype(np.int32)
    level = np.repeat([0, 1, 2, 3], [1, sites, feeders, panels]).astype(np.int32)
    return SiteTree(
        node_ids=tuple(f"n{i}" for i in range(len(parent))),
        parent=parent,
        level=level,
        rating_kw=np.full(len(parent), 1e9),
        charger_ids=tuple(f"c{i}" for i in range(count)),
        charger_node=(1 + sites + feeders + np.arange(count) // 10).astype(np.int32),
    )


# ---------------------------------------------------------------- the whole step


class _Clock:
    """Time that stands where it is put."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - NOW).total_seconds()

    async def sleep_until(self, when: datetime) -> None:
        self.at = max(self.at, when)

    async def sleep(self, duration: timedelta) -> None:
        self.at += duration


class _Ids:
    """Numbers in order."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}"

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2.0


class _NoStore:
    """Forgets everything at once: durability is measured elsewhere."""

    async def apply(self, batch: Batch) -> None:
        del batch

    async def find(self, *_args: object, **_options: object) -> list[object]:
        return []

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[Change]]:
        async def nothing() -> AsyncIterator[Change]:
            return
            yield

        yield nothing()


async def _reduction_step(fleet: _Fleet) -> float:
    """Return CPU seconds from a limit of 60 % at the root to commands in the mailbox, clip and allocation included."""
    clock, ids, limits = _Clock(), _Ids(), cast("dict[str, list[Limit]]", {})
    store = cast("Store", _NoStore())
    view = _view(fleet)
    follower = Follower(store=store, clock=clock, ids=ids, fleet=lambda _tenant: view)
    dispatcher = Dispatcher(
        store=store,
        clock=clock,
        ids=ids,
        tenants=[TENANT],
        desk=follower,
        sources=DispatchSources(
            fleet=lambda _tenant: view,
            limits=lambda _tenant: limits,
            lost=lambda _tenant: {},
            believe_departure=lambda _site_class, _arrival, now: now + timedelta(hours=4),
        ),
        settings=replace(DispatchSettings(), inline_charger_count=10**9),
    )
    platform = Principal(tenant=TENANT, actor="bench", roles=frozenset({Role.CSMS}), csms=CSMS)
    link = await dispatcher.connect(platform, fleet.tree.charger_ids, "")
    await dispatcher.step(TENANT)
    batch = await link.next()
    await link.ack(batch.sequence, np.zeros(0, dtype=np.int32), ())
    clock.at += timedelta(seconds=5)
    total = float(follower.book(TENANT).limit_kw.sum())
    limits["n0"] = [_limit(0.6 * total)]
    started = time.thread_time()
    await dispatcher.step(TENANT)
    await link.next()
    return time.thread_time() - started


def _limit(max_kw: float) -> Limit:
    return Limit(
        id="limit",
        tenant=TENANT,
        authority="vtn:bench",
        node="n0",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=max_kw,
        interval=Interval(start=NOW, end=NOW + timedelta(hours=1)),
        cause="event:bench",
        known_at=NOW,
    )


def _view(fleet: _Fleet) -> FleetView:
    count = len(fleet.tree.charger_ids)
    has_car = fleet.demand.wanted_kw > 0.0
    unknown, zeros = np.full(count, np.nan), np.zeros(count, dtype=np.int32)
    nodes = {node_id: _node(node_id) for node_id in fleet.tree.node_ids}
    return FleetView(
        tree=replace(fleet.tree, rating_kw=fleet.caps_kw),
        nodes=nodes,
        levels=fleet.levels,
        power_kw=unknown,
        power_at=unknown,
        max_kw=np.full(count, 22.0),
        min_kw=fleet.demand.min_kw,
        fallback_kw=np.zeros(count),
        lapsed_kw=np.zeros(count),
        phases=zeros + 3,
        csms_ids=(CSMS,),
        csms_index=zeros,
        site_index=zeros,
        site_class=("public",) * count,
        session_ids=[f"s{i}" if has_car[i] else None for i in range(count)],
        has_session=has_car,
        session_max_kw=fleet.demand.wanted_kw,
        energy_needed_kwh=np.where(has_car, 30.0, np.nan),
        delivered_kwh=np.zeros(count),
        expected_departure=np.where(has_car, NOW.timestamp() + 8 * 3600.0, np.nan),
        arrival=np.where(has_car, NOW.timestamp() - 60.0, np.nan),
    )


def _node(node_id: str) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=None,
        kind=NodeKind.PORTFOLIO,
        name=node_id,
        max_import_kw=1e9,
        fail_safe_import_kw=0.0,
    )


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
