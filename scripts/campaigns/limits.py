"""Hunts for an instant at which `resolve` opens a limit: drawn limit stacks against a minute-by-minute table.

The table knows nothing of intervals or sorting: for every limit it holds one row of minutes in which the limit applies, and
reduces the rows with numpy. Compared are the value in force, its authority, the promised next change, and that losing an
authority, or gaining a limit, never raises the value.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from gateway.domain.limits import Binding, Direction, Limit, LimitKind, Resolution, resolve
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Node, NodeKind
from scripts.soak_runner import Outcome

BEGIN = datetime(2025, 10, 25, 22, tzinfo=UTC)
"""Near the end of summer time in Europe, which must not matter."""
MINUTES = 240
AUTHORITIES = ("oscp:dso", "openadr:utility", "manual:operator")
SELDOM = 0.25
"""Share of limits without end, of withdrawn ones, and of authorities out of contact."""
Table = NDArray[np.float64]


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Draw and check stacks until told to stop; the case number with the seed draws a case again."""
    failures: list[str] = []
    case_count = instant_count = 0
    while not until():
        rng = np.random.default_rng([seed, case_count])
        node, limits, lost = draw_case(rng)
        minutes = instants_of_interest(limits, rng)
        failures += [f"seed {seed}, case {case_count}: {text}" for text in check_case(node, limits, lost, minutes)]
        case_count += 1
        instant_count += len(minutes)
    return Outcome(case_count=case_count, failures=tuple(failures), measured={"instant_count": instant_count})


def draw_case(rng: np.random.Generator) -> tuple[Node, list[Limit], frozenset[str]]:
    """Return a node, up to twelve limits of several authorities, nodes and directions, and who is out of contact."""
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
    )
    limits = [draw_limit(rng, number) for number in range(int(rng.integers(0, 13)))]
    lost = frozenset(name for name in AUTHORITIES if rng.random() < SELDOM)
    return node, limits, lost


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
    )


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


def value_table(node: Node, limits: list[Limit], lost: frozenset[str], direction: Direction) -> Table:
    """Return the power in force in kW for every minute, from first principles."""
    is_import = direction is Direction.IMPORT
    value = np.full(MINUTES, node.max_import_kw if is_import else node.max_export_kw)
    fail_safe_kw = node.fail_safe_import_kw if is_import else 0.0
    for authority in AUTHORITIES:
        theirs = [limit for limit in limits if limit.authority == authority and limit.direction is direction]
        block = lowest(theirs, LimitKind.LIMIT)
        fallback = lowest(theirs, LimitKind.FALLBACK)
        ordered = np.where(np.isfinite(block), block, fallback)
        if authority in lost:
            ordered = np.where(np.isfinite(ordered), ordered, fail_safe_kw)
        value = np.minimum(value, ordered)
    return value


def lowest(limits: list[Limit], kind: LimitKind) -> Table:
    """Return the smallest power of the limits of one kind for every minute, infinite where none applies."""
    table = np.full(MINUTES, np.inf)
    for limit in limits:
        if limit.node != "node" or limit.kind is not kind or limit.binding is Binding.VOLUNTARY:
            continue
        ends = [each for each in (limit.interval.end, limit.withdrawn_at) if each is not None]
        first = int((limit.interval.start - BEGIN).total_seconds() // 60)
        last = min([MINUTES, *(int((end - BEGIN).total_seconds() // 60) for end in ends)])
        table[first:last] = np.minimum(table[first:last], limit.max_kw)
    return table


def check_case(node: Node, limits: list[Limit], lost: frozenset[str], minutes: list[int]) -> list[str]:
    """Return one text for each way in which the fold and the table differ."""
    failures = []
    for direction in Direction:
        table = value_table(node, limits, lost, direction)
        for minute in minutes:
            now = BEGIN + timedelta(minutes=minute)
            found = resolve(node, limits, now, direction=direction, lost=lost)
            failures += [f"{direction} at minute {minute}: {text}" for text in check_instant(found, table, minute)]
            fewer = resolve(node, limits[:-1], now, direction=direction, lost=lost)
            if found.kw > fewer.kw and not may_replace_fallback(limits):
                failures.append(f"{direction} at minute {minute}: one more limit opened {fewer.kw} to {found.kw} kW")
            everyone = resolve(node, limits, now, direction=direction, lost=frozenset(AUTHORITIES))
            if everyone.kw > found.kw:
                failures.append(f"{direction} at minute {minute}: losing contact opened {found.kw} to {everyone.kw} kW")
    return failures


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
    if found.binding is not None and (found.binding.max_kw != found.kw or found.binding.authority != found.authority):
        failures.append(f"{found.binding.id} is said to bind at {found.binding.max_kw} kW by {found.authority}")
    change = MINUTES if found.until is None else int((found.until - BEGIN).total_seconds() // 60)
    if not minute < change or np.any(table[minute:change] != table[minute]):
        failures.append(f"the next change is said to be minute {change}")
    if any(shadowed.max_kw < found.kw for shadowed in found.shadowed):
        failures.append("a shadowed limit is below the value in force")
    return failures
