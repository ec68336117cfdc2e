"""Hunts for an instant at which `resolve` opens a limit: drawn limit stacks against a minute-by-minute table.

The table knows nothing of intervals or sorting: for every limit it holds one row of minutes in which the limit applies, and
reduces the rows with numpy. Compared are the value in force, in total and per phase, its authority, the promised next change, the
fold over the whole time, and that losing an authority, expecting a word of it, or gaining a limit, never raises the value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gateway.domain.limits import Binding, Direction, Limit, LimitKind, Resolution, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.timeline import Silence, timeline
from gateway.domain.topology import Node, NodeKind
from scripts.soak_runner import Outcome

BEGIN = datetime(2025, 10, 25, 22, tzinfo=UTC)
"""Near the end of summer time in Europe, which must not matter."""
MINUTES = 240
AUTHORITIES = ("oscp:dso", "openadr:utility", "manual:operator")
SELDOM = 0.25
"""Share of limits without end, of withdrawn ones, and of authorities out of contact."""
VOLTAGE_V = 230.0
PHASES = range(3)
Table = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is folded: a node, limits of any node, who is out of contact and who must have a word for every instant."""

    node: Node
    limits: list[Limit]
    lost: frozenset[str]
    steady: frozenset[str]


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Draw and check stacks until told to stop; the case number with the seed draws a case again."""
    failures: list[str] = []
    case_count = instant_count = 0
    while not until():
        rng = np.random.default_rng([seed, case_count])
        case = draw_case(rng)
        minutes = instants_of_interest(case.limits, rng)
        failures += [f"seed {seed}, case {case_count}: {text}" for text in check_case(case, minutes)]
        case_count += 1
        instant_count += len(minutes)
    return Outcome(case_count=case_count, failures=tuple(failures), measured={"instant_count": instant_count})


def draw_case(rng: np.random.Generator) -> Case:
    """Return a node, up to twelve limits of several authorities, nodes and directions, and whose silence counts."""
    rating_kw = float(rng.choice([0.0, 22.0, 100.0]))
    node = Node(
        id="node",
        tenant="tenant",
        parent="portfolio",
        kind=NodeKind.SITE,
        name="Site",
        max_import_kw=rating_kw,
        max_export_kw=rating_kw / 2,
        fail_safe_import_kw=float(rng.choice([0.0, 0.3, 1.0])) * rating_kw,
        phase_rating_a=None if rng.random() < SELDOM else float(rng.choice([16.0, 63.0])),
        voltage_v=VOLTAGE_V,
    )
    limits = [draw_limit(rng, number) for number in range(int(rng.integers(0, 13)))]
    lost, steady = (frozenset(name for name in AUTHORITIES if rng.random() < SELDOM) for _ in range(2))
    return Case(node=node, limits=limits, lost=lost, steady=steady)


def draw_limit(rng: np.random.Generator, number: int) -> Limit:
    """Return one limit; powers repeat often, so that ties occur, and zero is among them."""
    authority = str(rng.choice(AUTHORITIES))
    start = int(rng.integers(0, MINUTES - 1))
    is_open = rng.random() < SELDOM and not authority.startswith("manual:")
    end = None if is_open else BEGIN + timedelta(minutes=int(rng.integers(start + 1, MINUTES + 1)))
    withdrawn = BEGIN + timedelta(minutes=int(rng.integers(0, MINUTES))) if rng.random() < SELDOM else None
    return Limit(
        id=f"limit-{number}",
        tenant="tenant",
        authority=authority,
        node=str(rng.choice(["node", "node", "node", "other"])),
        direction=Direction(rng.choice(["import", "import", "export"])),
        kind=LimitKind(rng.choice(["limit", "limit", "fallback", "optimum"])),
        binding=Binding(rng.choice(["mandatory", "committed", "voluntary"])),
        max_kw=float(rng.choice([0.0, 5.0, 11.0, 50.0, 200.0])),
        interval=Interval(start=BEGIN + timedelta(minutes=start), end=end),
        cause="signal",
        known_at=BEGIN,
        withdrawn_at=withdrawn,
        guaranteed_kw=float(rng.choice([0.0, 0.0, 4.2])),
        phase_max_kw=draw_phases(rng) if rng.random() < SELDOM else None,
    )


def draw_phases(rng: np.random.Generator) -> tuple[float | None, float | None, float | None]:
    """Return bounds of the phases; some have none of their own."""
    one, two, three = (None if rng.random() < SELDOM else float(rng.choice([0.0, 2.3, 9.2])) for _ in PHASES)
    return one, two, three


def instants_of_interest(limits: list[Limit], rng: np.random.Generator) -> list[int]:
    """Return minutes to look at: every border, the minute before it, and a few others."""
    borders = [
        int((border - BEGIN).total_seconds() // 60)
        for limit in limits
        for border in (limit.interval.start, limit.interval.end, limit.withdrawn_at)
        if border is not None
    ]
    drawn = [int(minute) for minute in rng.integers(0, MINUTES, 5)]
    return sorted({minute for each in [*borders, *drawn] for minute in (each - 1, each) if 0 <= minute < MINUTES})


def value_table(case: Case, direction: Direction) -> tuple[Table, Table]:
    """Return the power in force in kW for every minute, in total and per phase (3 rows), from first principles."""
    node, is_import = case.node, direction is Direction.IMPORT
    value = np.full(MINUTES, node.max_import_kw if is_import else node.max_export_kw)
    fuse_a = node.phase_rating_a if is_import and node.phase_rating_a is not None else np.inf
    phases = np.full((len(PHASES), MINUTES), fuse_a * VOLTAGE_V / 1000.0)
    fail_safe_kw = node.fail_safe_import_kw if is_import else 0.0
    for authority in AUTHORITIES:
        theirs = [limit for limit in case.limits if limit.authority == authority and limit.direction is direction]
        block, fallback = (lowest(theirs, kind) for kind in (LimitKind.LIMIT, LimitKind.FALLBACK))
        falls_back = authority in case.lost & case.steady
        uses_fallback = np.full(MINUTES, True) if falls_back else ~np.isfinite(block)
        ordered = np.where(uses_fallback, np.minimum(block, fallback), block)
        if authority in case.lost | case.steady:
            has_word = np.isfinite(fallback if falls_back else ordered)
            ordered = np.where(has_word, ordered, np.minimum(ordered, fail_safe_kw))
        value = np.minimum(value, ordered)
        for phase in PHASES:
            bounds = [lowest(theirs, kind, phase) for kind in (LimitKind.LIMIT, LimitKind.FALLBACK)]
            phases[phase] = np.minimum(phases[phase], bounds[0])
            phases[phase] = np.where(uses_fallback, np.minimum(phases[phase], bounds[1]), phases[phase])
    return value, phases


def lowest(limits: list[Limit], kind: LimitKind, phase: int | None = None) -> Table:
    """Return the smallest power of the limits of one kind for every minute, or that of a phase; infinite where none applies."""
    table = np.full(MINUTES, np.inf)
    for limit in limits:
        if limit.node != "node" or limit.kind is not kind or limit.binding is Binding.VOLUNTARY:
            continue
        ends = [each for each in (limit.interval.end, limit.withdrawn_at) if each is not None]
        first = int((limit.interval.start - BEGIN).total_seconds() // 60)
        last = min([MINUTES, *(int((end - BEGIN).total_seconds() // 60) for end in ends)])
        power_kw = (
            max(limit.max_kw, limit.guaranteed_kw) if phase is None else (limit.phase_max_kw or (None,) * 3)[phase]
        )
        table[first:last] = np.minimum(table[first:last], np.inf if power_kw is None else power_kw)
    return table


def check_case(case: Case, minutes: list[int]) -> list[str]:
    """Return one text for each way in which the fold and the table differ."""
    failures = []
    for direction in Direction:
        table, phases = value_table(case, direction)
        failures += [f"{direction}: {text}" for text in check_timeline(case, direction, table, phases)]
        for minute in minutes:
            failures += [
                f"{direction} at minute {minute}: {t}" for t in check_minute(case, direction, minute, table, phases)
            ]
    return failures


def check_minute(case: Case, direction: Direction, minute: int, table: Table, phases: Table) -> list[str]:
    """Return one text for each way in which the fold of one minute is wrong."""
    now = BEGIN + timedelta(minutes=minute)

    def fold(limits: list[Limit], lost: frozenset[str], steady: frozenset[str]) -> Resolution:
        return resolve(case.node, limits, now, direction=direction, lost=lost, steady=steady)

    found = fold(case.limits, case.lost, case.steady)
    failures = check_instant(found, table, minute)
    if not np.array_equal(found.phase_kw or (np.inf,) * len(PHASES), phases[:, minute]):
        failures.append(f"{found.phase_kw} kW in force on the phases, expected {phases[:, minute].tolist()}")
    fewer = fold(case.limits[:-1], case.lost, case.steady)
    if found.kw > fewer.kw and not may_replace_fallback(case.limits):
        failures.append(f"one more limit opened {fewer.kw} to {found.kw} kW")
    everyone = fold(case.limits, frozenset(AUTHORITIES), case.steady)
    if everyone.kw > found.kw:
        failures.append(f"losing contact opened {found.kw} to {everyone.kw} kW")
    expected = fold(case.limits, case.lost, frozenset(AUTHORITIES))
    if expected.kw > found.kw:
        failures.append(f"expecting a word of everybody opened {found.kw} to {expected.kw} kW")
    return failures


def check_timeline(case: Case, direction: Direction, table: Table, phases: Table) -> list[str]:
    """Return one text for each stretch of the fold over time that differs from the table."""
    span = Interval(start=BEGIN, end=BEGIN + timedelta(minutes=MINUTES))
    silence = Silence(lost={"node": case.lost}, steady={"node": case.steady})
    failures, reached = [], 0
    for stretch in timeline([case.node], case.limits, span, direction=direction, silence=silence).of("node"):
        first, end = int((stretch.interval.start - BEGIN).total_seconds() // 60), stretch.interval.end or BEGIN
        last = int((end - BEGIN).total_seconds() // 60)
        is_right = np.all(table[first:last] == stretch.kw)
        are_right = np.all(phases[:, first:last] == np.array(stretch.phase_kw)[:, None])
        if first != reached or not is_right or not are_right:
            failures.append(f"minutes {first} to {last} are folded to {stretch.kw} and {stretch.phase_kw} kW")
        reached = last
    return failures if reached == MINUTES else [*failures, f"the fold over time ends at minute {reached}"]


def may_replace_fallback(limits: list[Limit]) -> bool:
    """Return whether the last limit may rightly raise the value: a forecast block, or a fallback instead of the fail-safe."""
    if not limits or limits[-1].node != "node" or limits[-1].binding is Binding.VOLUNTARY:
        return False
    return limits[-1].kind is not LimitKind.OPTIMUM


def check_instant(found: Resolution, table: Table, minute: int) -> list[str]:
    """Return one text for each way in which a resolution differs from the table."""
    failures = []
    if found.kw != table[minute]:
        failures.append(f"{found.kw} kW in force, expected {table[minute]}")
    if found.binding is not None and (found.binding.bound_kw != found.kw or found.binding.authority != found.authority):
        failures.append(f"{found.binding.id} is said to bind at {found.binding.bound_kw} kW by {found.authority}")
    change = MINUTES if found.until is None else int((found.until - BEGIN).total_seconds() // 60)
    if not minute < change or np.any(table[minute:change] != table[minute]):
        failures.append(f"the next change is said to be minute {change}")
    if any(shadowed.bound_kw < found.kw for shadowed in found.shadowed):
        failures.append("a shadowed limit is below the value in force")
    return failures
