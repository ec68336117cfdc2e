"""The exact capped optimum of a fleet and every car's set points, beside the same problem solved by others.

All solve the same instance in the same run: prices of one day, a limit at 60 % of the uncontrolled peak (`scripts.fleet_case`). Times
are CPU seconds of one thread. `total_s` of our own rows goes from sessions to all set points; of the others it is the call that
returns a schedule of every session: for cvxpy, writing the program and solving it. Other products run in environments of their own,
which `--peers` makes where there are none; without it nothing is said about them. HiGHS's default algorithm takes minutes at 10 000
sessions and waits for `--slow`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from scripts import peer_environment
from scripts.environment import SetupError, say
from scripts.fleet_case import CLARABEL, HIGHS_DEFAULT, HIGHS_IPM, FleetCase, LpSolver, solve_plain_lp
from scripts.fleet_chain import ChainTimes, Reached, checked_seconds, measure_chains, peak_bytes
from scripts.measuring import Goal, Report, Value, at_least, at_most
from scripts.peer_environment import EMHASS, FLEXMEASURES, Peer, PeerError

Row = dict[str, Value]
OURS = "voltbridge"
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
ROUNDS = 5
LP_SESSIONS, SLOW_SESSIONS, PEER_SESSIONS = 10_000, 1_000, 1_000
"""Up to here: the linear programs, HiGHS's default algorithm without `--slow`, the other products."""
SPEED_GOALS = (
    (1_000, FLEXMEASURES.title, 40.0),
    (1_000, EMHASS.title, 200.0),
    (10_000, HIGHS_IPM.name, 80.0),
    (10_000, HIGHS_DEFAULT.name, 2_000.0),
)
EQUAL_COST = {OURS: 1e-6, FLEXMEASURES.title: 1e-6, EMHASS.title: 1e-4}
"""Relative difference to the linear program's optimum; EMHASS's solver may stop at a gap of its own."""
SMALL, LARGE = 1_000, 1_000_000
"""Sizes of the goals that compare our own times."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this bench."""
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="numbers of sessions, for example 100,1000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each of our own times is taken")
    parser.add_argument("--peers", action="store_true", help="let FlexMeasures and EMHASS solve the smaller instances")
    parser.add_argument("--slow", action="store_true", help="let HiGHS's default algorithm solve all linear programs")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = ()
    if not sizes or sizes[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers of sessions")
    return sizes


def run(options: argparse.Namespace) -> Report:
    """Measure every size and return one row for each solver; goals cover what was measured in this run and nothing else."""
    cases = {count: FleetCase.of(count) for count in options.sizes}
    peaks = _peaks(options.sizes)
    say(f"Our own chain, {options.rounds} rounds of {len(cases)} sizes")
    chains = measure_chains(list(cases.values()), options.rounds)
    rows: list[Row] = []
    for (count, case), (times, reached) in zip(cases.items(), chains, strict=True):
        ours = _own_row(case, times, reached, peaks[count])
        others = [*_lp_rows(case, slow=options.slow), *_peer_rows(case, wanted=options.peers)]
        rows += _compared([ours, *others])
    return {"results": rows, "goals": [_told(goal) for goal in _goals(rows)]}


# ---------------------------------------------------------------- rows


def _peaks(sizes: Sequence[int]) -> dict[int, int]:
    """Return the peak memory in bytes for each size, measured in a process that does nothing else."""
    say(f"Memory of {len(sizes)} sizes")
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as worker:
        return dict(zip(sizes, worker.map(peak_bytes, sizes), strict=True))


def _own_row(case: FleetCase, times: ChainTimes, reached: Reached, peak: int) -> Row:
    return {
        "sessions": len(case.sessions),
        "solver": OURS,
        "total_s": times.chain_s,
        "objective_eur": reached.objective_eur,
        "aggregate_s": times.aggregate_s,
        "optimum_s": times.optimum_s,
        "by_block_s": times.by_block_s,
        "by_slot_s": times.by_slot_s,
        "tick_s": times.tick_s,
        "checked_s": checked_seconds(case) if len(case.sessions) <= LP_SESSIONS else None,
        "iterations": reached.iteration_count,
        "gap": reached.gap,
        "energy_missed_kwh": reached.energy_missed_kwh,
        "over_cap": reached.over_cap,
        "peak_mib": peak / 2**20,
        "peak_over_sessions": peak / case.session_bytes,
    }


def _lp_rows(case: FleetCase, *, slow: bool) -> Iterator[Row]:
    count = len(case.sessions)
    if count > LP_SESSIONS:
        return
    for solver in (HIGHS_IPM, HIGHS_DEFAULT, CLARABEL):
        row: Row = {"sessions": count, "solver": solver.name}
        if solver is HIGHS_DEFAULT and count > SLOW_SESSIONS and not slow:
            yield {**row, "note": "not measured: takes minutes; --slow lets it run"}
            continue
        say(f"{solver.name}, {count} sessions")
        yield {**row, **_timed_lp(case, solver)}


def _timed_lp(case: FleetCase, solver: LpSolver) -> Row:
    solve_plain_lp(FleetCase.of(10), solver)  # imports and first-call costs
    started = time.process_time()
    objective_eur = solve_plain_lp(case, solver)
    return {"total_s": time.process_time() - started, "objective_eur": objective_eur}


def _peer_rows(case: FleetCase, *, wanted: bool) -> Iterator[Row]:
    count = len(case.sessions)
    if count > PEER_SESSIONS:
        return
    for peer in (FLEXMEASURES, EMHASS):
        row: Row = {"sessions": count, "solver": peer.title}
        measured = _asked(peer, case) if wanted else {"note": "not measured: --peers lets it run"}
        if "total_s" not in measured:
            say(f"{peer.title}, {count} sessions: {measured['note']}")
        yield {**row, **measured}


def _asked(peer: Peer, case: FleetCase) -> Row:
    try:
        python = peer_environment.python_of(peer)
        say(f"{peer.title}, {len(case.sessions)} sessions")
        answer = peer_environment.ask(peer, python, case)
    except (PeerError, SetupError) as error:
        return {"note": f"not measured: {error}"}
    return {"total_s": answer.cpu_s, "objective_eur": answer.objective_eur, "note": answer.versions}


def _compared(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one size, ours first, with how many times longer each took and how far it is from the LP's optimum."""
    ours_s = _number(rows[0], "total_s")
    optimum = next((_number(row, "objective_eur") for row in rows if row["solver"] == HIGHS_IPM.name), None)
    compared = []
    for row in rows:
        took, cost = _number(row, "total_s"), _number(row, "objective_eur")
        slower = took / ours_s if took is not None and ours_s is not None else None
        difference = abs(cost - optimum) / abs(optimum) if cost is not None and optimum is not None else None
        compared.append({**row, "times_ours": slower, "difference": difference})
    return compared


# ---------------------------------------------------------------- goals


def _goals(rows: Sequence[Row]) -> Iterator[Goal]:
    """Yield the goals whose numbers this run has measured."""
    for count, solver, target in SPEED_GOALS:
        times = _found(rows, count, solver, "times_ours")
        if times is not None:
            yield at_least(f"times faster than {solver}, {count} sessions", target, times)
    small = _found(rows, SMALL, OURS, "optimum_s")
    for name, column, target in (("capped optimum", "optimum_s", 1.5), ("whole chain", "total_s", 6.0)):
        large = _found(rows, LARGE, OURS, column)
        if small is not None and large is not None:
            yield at_most(f"{name} of {LARGE} over capped optimum of {SMALL} sessions", target, large / small)
    peak = _found(rows, LARGE, OURS, "peak_over_sessions")
    if peak is not None:
        yield at_most(f"peak memory over the session columns, {LARGE} sessions", 6.0, peak)
    yield at_most("certified relative gap, all sizes", 1e-6, max(_all(rows, OURS, "gap")))
    yield at_most("energy missed by any car's set points, kWh", 1e-9, max(_all(rows, OURS, "energy_missed_kwh")))
    for solver, target in EQUAL_COST.items():
        differences = _all(rows, solver, "difference")
        if differences:
            yield at_most(f"relative difference of {solver} to the LP's optimum", target, max(differences))


def _told(goal: Goal) -> Goal:
    """Return the goal, with how far it was missed where it was."""
    if goal["met"]:
        return goal
    share = abs(goal["measured"] / goal["target"] - 1.0)
    return {**goal, "goal": f"{goal['goal']} (missed by {share:.0%})"}


def _found(rows: Sequence[Row], count: int, solver: str, column: str) -> float | None:
    return next((_number(row, column) for row in rows if (row["sessions"], row["solver"]) == (count, solver)), None)


def _all(rows: Sequence[Row], solver: str, column: str) -> list[float]:
    numbers = (_number(row, column) for row in rows if row["solver"] == solver)
    return [number for number in numbers if number is not None]


def _number(row: Row, column: str) -> float | None:
    value = row.get(column)
    return float(value) if isinstance(value, int | float) else None
