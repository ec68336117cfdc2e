"""What was agreed with grid partners and switched by people, in memory; rebuilt from rows."""

from collections.abc import Iterable
from datetime import UTC, datetime

from gateway.domain.programs import Enrolment, ProgramState
from gateway.domain.signals import GridEvent

_NEVER = datetime.min.replace(tzinfo=UTC)


class Agreements:
    """The enrolments and switches of one tenant."""

    def __init__(self, enrolments: Iterable[Enrolment] = (), states: Iterable[ProgramState] = ()) -> None:
        """Take over rows."""
        self.enrolments = {one.id: one for one in enrolments}
        self.states = {one.id: one for one in states}

    def is_dry_run(self, authority: str, program: str) -> bool:
        """Tell whether a program's events change no limit: by its own switch, else by that of all its authority's programs."""
        own = self.states.get(state_id(authority, program)) or self.states.get(state_id(authority, ""))
        return own is not None and own.is_dry_run

    def enrolled(self, event: GridEvent, instant: datetime) -> tuple[str, ...]:
        """Return which of an event's nodes it may call at an instant."""
        return tuple(node for node in event.nodes if self._consents(event, node, instant))

    def consent_end(self, event: GridEvent, node: str, now: datetime) -> datetime | None:
        """Return until when an event may call a node, judged at its start or now if that is later.

        None is without end; without any consent it is an instant before everything.
        """
        instant = max(event.active.start, now)
        ends = [
            min((end for end in (one.valid.end, one.withdrawn_at) if end is not None), default=None)
            for one in self._consents(event, node, instant)
        ]
        if not ends:
            return _NEVER
        return None if None in ends else max(end for end in ends if end is not None)

    def _consents(self, event: GridEvent, node: str, instant: datetime) -> list[Enrolment]:
        return [
            one
            for one in self.enrolments.values()
            if one.authority == event.authority
            and one.program in {"", event.market_context}
            and one.node == node
            and one.holds(instant)
        ]


def state_id(authority: str, program: str) -> str:
    """Return the id of a program's switches."""
    return f"{authority}:{program}"
