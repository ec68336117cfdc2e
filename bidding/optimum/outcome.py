"""What an optimisation came to, as a value: proved optimal, feasible with a gap, infeasible with the conflict, timed out.

Orders and schedules are made from the first two only. An infeasible outcome explains itself: in these slots these sessions
must draw so much, the limit allows so much.
"""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from bidding.optimum.recheck import Violation
from gateway.domain.errors import VoltbridgeError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Certified:
    """A usable schedule's cost, and a bound that no schedule can undercut."""

    objective_eur: float
    lower_bound_eur: float
    """No schedule costs less; computed from the duals by an exact price response, not taken from the solver."""

    @property
    def gap_eur(self) -> float:
        """Certified distance to the optimum: what a better schedule could save at most."""
        return max(0.0, self.objective_eur - self.lower_bound_eur)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proved(_Certified):
    """Optimal within the tolerance asked for."""

    kind: ClassVar[str] = "proved"


@dataclass(frozen=True, kw_only=True, slots=True)
class Feasible(_Certified):
    """Usable, but the search ended before optimality was proved."""

    kind: ClassVar[str] = "feasible"


@dataclass(frozen=True, kw_only=True, slots=True)
class DepartureSlack:
    """What one session leaves without, where needs had to give way to limits."""

    session: str
    """Id (or `#row`) of the session."""
    row: int
    missing_kwh: float
    """Needed energy that the plan does not deliver, above 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLimit:
    """What one node of a site tree contributes to a conflict."""

    node: str
    slots: tuple[int, ...]
    allowed_kwh: float
    """What its limit allows in these slots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """Why no schedule exists: in `slots` more must flow than may.

    By the max-flow theorem for polymatroids the least total violation of a limit equals the largest `must_flow - allowed`
    over all sets of slots; this is the set where it is reached.
    """

    slots: tuple[int, ...]
    """The set A of slots, in order."""
    must_flow_kwh: float
    """p(A): what the sessions must draw in A even when they draw all they can elsewhere."""
    allowed_kwh: float
    """What the limit allows in A."""
    sessions: tuple[str, ...]
    """Ids (or `#row`) of the sessions that must draw in A."""
    limits: tuple[NodeLimit, ...] = ()
    """The limits concerned, in a tree of nodes: together they allow `allowed_kwh`; empty for the only limit there is."""

    @property
    def missing_kwh(self) -> float:
        """Energy that cannot be delivered whatever the schedule."""
        return self.must_flow_kwh - self.allowed_kwh


@dataclass(frozen=True, kw_only=True, slots=True)
class Infeasible:
    """No schedule meets every need inside the limits."""

    kind: ClassVar[str] = "infeasible"

    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedOut:
    """The iteration budget ended before any usable schedule was found; says nothing about whether one exists."""

    kind: ClassVar[str] = "timed-out"

    iteration_count: int


Outcome = Proved | Feasible | Infeasible | TimedOut


class SolutionRejected(VoltbridgeError):
    """The independent check found a solution wrong: a fault of a solver or of this package, never of the input."""

    reason = "SOLUTION_REJECTED"

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(str(violation) for violation in violations))
        self.violations = violations

    @override
    def __reduce__(self) -> tuple[type, tuple[tuple[Violation, ...]]]:
        """Survive the pipe of a worker process, which pickles exceptions."""
        return (type(self), (self.violations,))
