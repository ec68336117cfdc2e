"""How signals are treated and whom the desk asks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.domain.signals import GridEvent, OptType
from gateway.domain.topology import Node
from gateway.services.gather_signals.programs import ProgramRules


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalSettings:
    """How signals are treated."""

    programs: Mapping[str, ProgramRules] = field(default_factory=dict)
    """By authority; an authority without an entry has the default rules."""
    longest_manual: timedelta = timedelta(days=7)
    """A manual limit lasts at most so long."""
    store_patience_s: float = 0.5
    """Real seconds after which a write that hangs counts as failed, so that a reduction can go out from memory."""

    def rules(self, authority: str) -> ProgramRules:
        """Return the rules of an authority's program."""
        return self.programs.get(authority, ProgramRules())


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalSources:
    """What the desk asks of others."""

    find_node: Callable[[str, str], Node | None]
    """Node of a tenant by id."""
    decide: Callable[[GridEvent, datetime], tuple[OptType, str]]
    """Our policy's answer to an event, and why."""
    baseline_kw: Callable[[str, str, datetime], float | None]
    """What a tenant's node would draw at an instant; None when there is no past to take it from."""
