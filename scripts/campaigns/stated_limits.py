"""Hunts for time that the newest word of an authority does not win: drawn statements against a table painted minute by minute.

Each statement brings limits of one place or another and withdraws some of those before. The table remembers for every minute and
place which statement wrote last; the rows that `rows_after` returns, folded one after the other, must say the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.services.gather_signals.replacing import rows_after
from scripts.soak_runner import Outcome

BEGIN = datetime(2025, 10, 25, 22, tzinfo=UTC)
SLICE_SECONDS = 3.0
MINUTES = 120
STATEMENTS = 6
SELDOM = 0.2
PLACES = (("import", "limit", None), ("import", "fallback", None), ("import", "limit", 9.0), ("export", "limit", None))
"""Direction, kind and bound of the first phase."""
Painted = dict[tuple[int, int], set[str]]
"""By place and minute the limits of the statement that was painted there last; absent where nothing applies."""


def run(seed: int, until: Callable[[], bool]) -> Outcome:
    """Draw and check statements until told to stop; the case number with the seed draws a case again."""
    failures: list[str] = []
    case_count = statement_count = 0
    while not until():
        rng = np.random.default_rng([seed, case_count])
        failures += [f"seed {seed}, case {case_count}: {text}" for text in check_case(rng)]
        case_count += 1
        statement_count += STATEMENTS
    return Outcome(case_count=case_count, failures=tuple(failures), measured={"statement_count": statement_count})


def check_case(rng: np.random.Generator) -> list[str]:
    """Return one text for each minute of a history at which a wrong word applies."""
    rows: dict[str, Limit] = {}
    painted: Painted = {}
    minute, failures = 0, []
    for number in range(STATEMENTS):
        minute += int(rng.integers(0, MINUTES // STATEMENTS))
        now = BEGIN + timedelta(minutes=minute)
        new = [draw_limit(rng, f"{number}-{i}") for i in range(int(rng.integers(0, 4)))]
        known = sorted({name for (_, at), names in painted.items() if at >= minute for name in names})
        gone = {name for name in known if rng.random() < SELDOM}
        for key in [key for key in painted if key[1] >= minute]:
            painted[key] = painted[key] - gone
        painted |= words_of(new, minute)
        rows |= {row.id: row for row in rows_after(list(rows.values()), new, gone, now)}
        failures += [f"after statement {number}: {text}" for text in differences(rows, painted, minute)]
    return failures


def draw_limit(rng: np.random.Generator, limit_id: str) -> Limit:
    """Return a limit of a drawn place and time; some have no end."""
    direction, kind, phase_kw = PLACES[int(rng.integers(0, len(PLACES)))]
    start = int(rng.integers(0, MINUTES - 1))
    end = None if rng.random() < SELDOM else BEGIN + timedelta(minutes=int(rng.integers(start + 1, MINUTES + 1)))
    return Limit(
        id=limit_id,
        tenant="tenant",
        authority="oscp:dso",
        node="node",
        direction=Direction(direction),
        kind=LimitKind(kind),
        binding=Binding.MANDATORY,
        max_kw=10.0,
        interval=Interval(start=BEGIN + timedelta(minutes=start), end=end),
        cause="signal",
        known_at=BEGIN,
        phase_max_kw=None if phase_kw is None else (phase_kw, None, None),
    )


def place_of(limit: Limit) -> int:
    """Return the place of a limit among `PLACES`."""
    phase_kw = None if limit.phase_max_kw is None else limit.phase_max_kw[0]
    return PLACES.index((limit.direction.value, limit.kind.value, phase_kw))


def minutes_of(limit: Limit) -> range:
    """Return the minutes at which a limit applies."""
    ends = [each for each in (limit.interval.end, limit.withdrawn_at) if each is not None]
    first = (limit.interval.start - BEGIN) // timedelta(minutes=1)
    return range(max(first, 0), min([MINUTES, *((end - BEGIN) // timedelta(minutes=1) for end in ends)]))


def words_of(new: list[Limit], minute: int) -> Painted:
    """Return what one statement paints from now on; its own limits may overlap and then all of them apply."""
    words: Painted = {}
    for limit in new:
        for at in minutes_of(limit):
            if at >= minute:
                words.setdefault((place_of(limit), at), set()).add(limit.id)
    return words


def differences(rows: dict[str, Limit], painted: Painted, minute: int) -> list[str]:
    """Return one text for each minute from now on at which other limits apply than were painted."""
    applying: Painted = {}
    for row in rows.values():
        for at in minutes_of(row):
            if at >= minute:
                applying.setdefault((place_of(row), at), set()).add(row.id.partition("#")[0])
    return [
        f"place {key[0]}, minute {key[1]}: {sorted(applying.get(key, set()))} apply, {sorted(painted.get(key, set()))} were said"
        for key in sorted({*applying, *(key for key in painted if key[1] >= minute)})
        if applying.get(key, set()) != painted.get(key, set())
    ]
