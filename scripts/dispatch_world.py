"""The world outside of the dispatcher in a campaign: a clock that can be set, chargers that obey, and platforms that fail.

Chargers obey instantly, so that what they draw is what they were told; what they report lags and is noisy. Platforms keep leases as
durations, on a clock of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import VoltbridgeError
from gateway.domain.fleet import TelemetryBatch
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Limit
from gateway.domain.programs import OptDecision
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.topology import Charger, ConnectionPoint, EnforcementClass, Node, NodeKind
from gateway.services.plan_dispatch import Dispatcher, DispatchLink
from gateway.services.track_fleet import FleetTracker

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TENANT = "soak"
BEGIN = datetime(2026, 3, 28, 12, tzinfo=UTC)
"""Half a day before a change to summer time, which must not matter."""
MIN_KW = 4.14
NOISE = 0.01
LAG_SHARE = 0.03
"""Share of reports that still tell the power before."""
WIRED_SHARE = 0.3
"""Share of trees whose phases are known and fused."""
FUSES_A = (40.0, 63.0, 80.0)
ONE_PHASE_KW = 7.36


class SetClock:
    """Elapsed time that is moved, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.ahead_s = 0.0

    def now(self) -> datetime:
        """Return what the clock shows."""
        return BEGIN + timedelta(seconds=self.elapsed_s + self.ahead_s)

    def monotonic(self) -> float:
        """Return elapsed seconds."""
        return self.elapsed_s

    async def sleep_until(self, when: datetime) -> None:
        """Refuse to sleep."""
        raise AssertionError("nothing sleeps in a campaign: it is driven step by step")

    async def sleep(self, duration: timedelta) -> None:
        """Refuse to sleep."""
        raise AssertionError("nothing sleeps in a campaign: it is driven step by step")


class DrawnIds:
    """Numbers in order, and chance from the case's generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._count = 0

    def new(self, prefix: str) -> str:
        """Return the next id."""
        self._count += 1
        return f"{prefix}-{self._count}"

    def uniform(self, low: float, high: float) -> float:
        """Draw a number."""
        return float(self._rng.uniform(low, high))


def agree(event: GridEvent, limits: Sequence[Limit], now: datetime) -> OptDecision:
    """Opt in to everything."""
    del event, limits, now
    return OptDecision(opt=OptType.OPT_IN, reason="")


def draw_tree(rng: np.random.Generator) -> list[Node | Charger | ConnectionPoint]:
    """Return a portfolio of one to three sites with one or two circuits each and two to seven chargers on each of them.

    In some trees chargers say on which phases they are, some of them have one phase, and circuits have fuses.
    """
    is_wired = bool(rng.random() < WIRED_SHARE)
    rows: list[Node | Charger | ConnectionPoint] = [_node("all", None, NodeKind.PORTFOLIO, rng, 300.0)]
    for s in range(int(rng.integers(1, 4))):
        rows.append(_node(f"s{s}", "all", NodeKind.SITE, rng, 120.0))
        rows.append(
            ConnectionPoint(
                id=f"p{s}",
                tenant=TENANT,
                site=f"s{s}",
                bidding_zone="BE",
                time_zone="Europe/Brussels",
                dso="dso",
                brp=None,
            )
        )
        for c in range(int(rng.integers(1, 3))):
            circuit = _node(f"s{s}c{c}", f"s{s}", NodeKind.CIRCUIT, rng, 60.0)
            rows.append(replace(circuit, phase_rating_a=float(rng.choice(FUSES_A))) if is_wired else circuit)
            chargers = [_charger(f"s{s}c{c}x{x}", f"s{s}c{c}", rng) for x in range(int(rng.integers(2, 8)))]
            rows += [_wired(charger, rng) for charger in chargers] if is_wired else chargers
    return rows


def _node(node_id: str, parent: str | None, kind: NodeKind, rng: np.random.Generator, rating_kw: float) -> Node:
    return Node(
        id=node_id,
        tenant=TENANT,
        parent=parent,
        kind=kind,
        name=node_id,
        max_import_kw=rating_kw,
        fail_safe_import_kw=float(rng.choice([0.0, 0.25, 1.0])) * rating_kw,
    )


def _charger(charger_id: str, parent: str, rng: np.random.Generator) -> Charger:
    return Charger(
        id=charger_id,
        tenant=TENANT,
        csms=str(rng.choice(["csms-a", "csms-b"])),
        parent=parent,
        max_import_kw=float(rng.choice([11.0, 22.0])),
        min_import_kw=MIN_KW,
        phases=3,
        fallback_kw=float(rng.choice([0.0, MIN_KW, MIN_KW, 6.0])),
        enforcement=EnforcementClass(rng.choice(["A", "B", "B", "C"])),
    )


def _wired(charger: Charger, rng: np.random.Generator) -> Charger:
    phase_map = str(rng.choice(["123", "231", "312", "1", "2"]))
    if len(phase_map) > 1:
        return replace(charger, phase_map=phase_map)
    return replace(
        charger,
        phase_map=phase_map,
        phases=1,
        max_import_kw=ONE_PHASE_KW,
        min_import_kw=MIN_KW / 3.0,
        fallback_kw=min(charger.fallback_kw, MIN_KW),
    )


def below(nodes: Sequence[Node], chargers: Sequence[Charger]) -> FloatArray:
    """Return 1 where a charger hangs below a node, at any depth, shape (N, C)."""
    parent = {node.id: node.parent for node in nodes}
    above: list[set[str]] = []
    for charger in chargers:
        names = [charger.parent]
        while (name := parent[names[-1]]) is not None:
            names.append(name)
        above.append(set(names))
    return np.array([[float(node.id in names) for names in above] for node in nodes])


def phase_share(chargers: Sequence[Charger]) -> FloatArray:
    """Return which part of its power each charger draws from each phase, shape (C, 3); without a map from all alike."""
    share = np.full((len(chargers), 3), 1.0 / 3.0)
    for i, charger in enumerate(chargers):
        if charger.phase_map:
            share[i] = [float(phase in charger.phase_map) / len(charger.phase_map) for phase in "123"]
    return share


@dataclass
class Hands:
    """What every charger was told and does, in the order of the tree; arrays of shape (C,)."""

    chargers: list[Charger]
    rng: np.random.Generator
    car_kw: FloatArray = field(init=False)
    """What the car would draw; 0 without one."""
    car_since_s: FloatArray = field(init=False)
    """When the last car came."""
    limit_kw: FloatArray = field(init=False)
    lease_end_s: FloatArray = field(init=False)
    """Elapsed seconds at which the lease ends on the platform's own clock."""
    wild_since_s: FloatArray = field(init=False)
    """Since when it draws what it likes; infinite when it obeys."""
    was_wild_s: FloatArray = field(init=False)
    """When it last drew what it likes."""
    over_since_s: FloatArray = field(init=False)
    """Since when it draws more than it may; infinite while it does not."""
    is_alone: BoolArray = field(init=False)
    """Its platform has no stream."""
    refuses: BoolArray = field(init=False)
    is_silent: BoolArray = field(init=False)
    last_kw: FloatArray = field(init=False)
    register_kwh: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Begin without cars and commands."""
        count = len(self.chargers)
        self.max_kw = np.array([c.max_import_kw for c in self.chargers])
        self.min_kw = np.array([c.min_import_kw for c in self.chargers])
        self.fallback_kw = np.array([c.fallback_kw for c in self.chargers])
        self.is_c = np.array([c.enforcement is EnforcementClass.C for c in self.chargers])
        self.car_kw, self.limit_kw, self.last_kw, self.register_kwh = (np.zeros(count) for _ in range(4))
        self.lease_end_s, self.was_wild_s, self.car_since_s = (np.full(count, -np.inf) for _ in range(3))
        self.wild_since_s, self.over_since_s = np.full(count, np.inf), np.full(count, np.inf)
        self.refuses, self.is_silent, self.is_alone = (np.zeros(count, dtype=bool) for _ in range(3))

    def allowed_kw(self, now_s: float) -> FloatArray:
        """Return what each may draw: its limit while the lease runs, else its fallback, or its maximum where nobody enforces it.

        Class C is never counted on: as soon as its platform has no stream, such a charger does as it likes.
        """
        lapsed_kw = np.where(self.is_c, self.max_kw, self.fallback_kw)
        holds = (now_s < self.lease_end_s) & ~(self.is_c & self.is_alone)
        return np.where(holds, self.limit_kw, lapsed_kw)

    def power_kw(self, now_s: float) -> FloatArray:
        """Return what each draws."""
        allowed = self.allowed_kw(now_s)
        obeying = np.where(allowed >= self.min_kw - 1e-9, np.minimum(self.car_kw, allowed), 0.0)
        return np.where(now_s >= self.wild_since_s, self.car_kw, obeying)

    def reported_kw(self, now_s: float) -> FloatArray:
        """Return what meters say: a little wrong, and now and then the power before."""
        power = self.power_kw(now_s)
        noisy = np.maximum(power * (1.0 + NOISE * self.rng.standard_normal(len(power))), 0.0)
        told = np.where(self.rng.random(len(power)) < LAG_SHARE, self.last_kw, noisy)
        self.last_kw = noisy
        return told


class Platform:
    """A charging platform with a stream that breaks."""

    def __init__(self, name: str, hands: Hands, clock: SetClock) -> None:
        self.name = name
        self.principal = Principal(tenant=TENANT, actor=name, roles=frozenset({Role.CSMS}), csms=name)
        self.places = np.array([i for i, c in enumerate(hands.chargers) if c.csms == name], dtype=np.int64)
        self.charger_ids = tuple(hands.chargers[i].id for i in self.places.tolist())
        self.link: DispatchLink | None = None
        self.is_deaf = False
        """It does not read what it is sent."""
        self.is_mute = False
        """It applies what it reads and does not say so."""
        self.left_s = 0.0
        """When its stream last ended, in elapsed seconds."""
        self.came_s = 0.0
        """When it last began."""
        self.longest_lease_s = 0.0
        """Of all commands that it was given."""
        self.disorder: list[str] = []
        """Sequences that did not grow."""
        self._token = ""
        self._applied = 0
        self._is_written = True
        self._hands = hands
        self._clock = clock

    async def connect(self, dispatcher: Dispatcher) -> None:
        """Open a stream with the resume token that it has."""
        self.came_s = self._clock.elapsed_s
        self._hands.is_alone[self.places] = False
        self.link = await dispatcher.connect(self.principal, self.charger_ids, self._token)

    async def disconnect(self) -> None:
        """End the stream."""
        link = self.lose()
        if link is not None:
            link.close()

    def lose(self) -> DispatchLink | None:
        """Have no stream any more, and return the one that there was."""
        link, self.link = self.link, None
        self._hands.is_alone[self.places] = True
        if link is not None:
            self.left_s = self._clock.elapsed_s
        return link

    def forget(self, *, keeps_count: bool) -> None:
        """Lose the resume token, as a platform that is set up anew; it may still know the last sequence and take no smaller one.

        What went out from memory while the store failed is known by its token only, to a gateway that was killed before it was written.
        """
        self._token, self._applied = "", self._applied if keeps_count and self._is_written else 0

    async def read(self, *, is_written: bool) -> bool:
        """Apply and answer what waits; return whether there was anything.

        Args:
            is_written: The store works now, so that what is read was written.
        """
        link, hands = self.link, self._hands
        if link is None or self.is_deaf or not link.has_pending:
            return False
        batch = await link.next()
        if batch.sequence <= self._applied:
            self.disorder.append(f"{self.name} is sent sequence {batch.sequence} after {self._applied}")
        self._applied, self._token, self._is_written = batch.sequence, batch.resume_token, is_written
        at = self.places[batch.charger_index]
        takes = ~hands.refuses[at]
        hands.limit_kw[at[takes]] = batch.limit_kw[takes]
        lease_s = (batch.lease_until - self._clock.now()).total_seconds()
        self.longest_lease_s = max(self.longest_lease_s, lease_s)
        hands.lease_end_s[at[takes]] = self._clock.elapsed_s + lease_s
        if not self.is_mute:
            refused = batch.charger_index[~takes]
            link.ack(batch.sequence, refused, ["no"] * len(refused))
        return True

    def report(self, tracker: FleetTracker, reported_kw: FloatArray) -> None:
        """Send measurements of the chargers that are not silent, as long as it is connected."""
        here = (
            np.flatnonzero(~self._hands.is_silent[self.places])
            if self.link is not None
            else np.zeros(0, dtype=np.int64)
        )
        if not here.size:
            return
        at = self.places[here]
        batch = TelemetryBatch(
            charger_ids=self.charger_ids,
            connection_point_ids=(),
            measure_time=self._clock.now(),
            charger_index=here.astype(np.int32),
            power_kw=reported_kw[at],
            energy_register_kwh=self._hands.register_kwh[at],
            meter_register_kwh=np.zeros(0),
        )
        try:
            tracker.take_telemetry(self.principal, batch)
        except VoltbridgeError:
            return  # a clock that was set back: the platform is told and goes on
