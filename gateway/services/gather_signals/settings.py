"""How signals are treated and whom the desk asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.authorities import StatedRules, protocol_of
from gateway.domain.limits import Limit
from gateway.domain.programs import OptDecision
from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import TimeGrid
from gateway.domain.topology import Node
from gateway.services.gather_signals.rules import ProgramRules, find_rules

_DEFAULT = ProgramRules()
_STATED = {"oscp": StatedRules(is_forecast=True), "lpc": StatedRules(), "charger": StatedRules(is_unconditional=False)}
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalSettings:
    """How signals are treated."""

    programs: Mapping[str, ProgramRules] = field(default_factory=dict)
    """By authority, or by `{authority}:{program}` for one program of it; one without an entry has the default rules."""
    stated: Mapping[str, StatedRules] = field(default_factory=lambda: _STATED)
    """What the silence of authorities that state limits means: by authority, or by protocol for all of it."""
    time_zone: str = "UTC"
    """IANA zone whose days the prices and carbon of programs are kept by."""
    longest_manual: timedelta = timedelta(days=7)
    """A manual limit lasts at most so long."""
    store_patience_s: float = 0.5
    """Real seconds after which a write that hangs counts as failed, so that a reduction can go out from memory."""
    sweep: timedelta = timedelta(seconds=60)
    """Pause between two looks at deadlines and at prices that reach into new days."""

    def rules(self, authority: str, program: str = "") -> ProgramRules:
        """Return the rules of a program; an empty program is every one of the authority."""
        return find_rules(self.programs, authority, program) or _DEFAULT

    def stated_rules(self, authority: str) -> StatedRules | None:
        """Return what the silence of an authority that states limits means; None when nothing is said about it."""
        own = self.stated.get(authority)
        return self.stated.get(protocol_of(authority)) if own is None else own

    def rules_of(self, event: GridEvent) -> ProgramRules:
        """Return the rules of an event's program."""
        return self.rules(event.authority, event.market_context)


def nobody_knows(tenant: str, node_id: str, grid: TimeGrid) -> FloatArray | None:
    """Say that nothing is expected to be known about a node's power."""
    del tenant, node_id, grid
    return None


def no_charger(tenant: str, charger_id: str) -> Node | None:
    """Say that no charger is known."""
    del tenant, charger_id
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class SignalSources:
    """What the desk asks of others; all answer from memory."""

    find_node: Callable[[str, str], Node | None]
    """Node of a tenant by id."""
    decide: Callable[[GridEvent, Sequence[Limit], datetime], OptDecision]
    """Our policy's answer to an event with the limits it would bring."""
    baseline_kw: Callable[[str, str, datetime], float | None]
    """What a tenant's node would draw at an instant; None when there is no past to take it from."""
    expected_kw: Callable[[str, str, TimeGrid], FloatArray | None] = nobody_knows
    """What a tenant's node would draw without an event, in kW per slot; None when nobody knows."""
    find_charger: Callable[[str, str], Node | None] = no_charger
    """Charger of a tenant by id, as the node that a limit of its own binds at."""

    def find_place(self, tenant: str, name: str) -> Node | None:
        """Return what a limit can bind at: a node or a charger of a tenant; None when there is none."""
        node = self.find_node(tenant, name)
        return self.find_charger(tenant, name) if node is None else node
