"""What we agreed with grid partners: enrolment, schedules of availability, dry runs; and what a partner's messages break.

A program is what a partner calls it: the market context in OpenADR 2.0b, the program id in 3.x. Nobody is called without an
enrolment that is in force; a partner that breaks its program's profile is told so here, by rule, and its message changes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import OptType
from gateway.domain.timegrid import Interval, require_utc


@dataclass(frozen=True, kw_only=True, slots=True)
class Enrolment:
    """Who may be called by which program, for what and until when."""

    id: str
    tenant: str
    authority: str
    """Name of the grid partner as configured."""
    program: str
    """Market context or program id; empty for every program of the authority."""
    node: str
    """Node of the site tree that may be called."""
    resource: str
    """Name under which the partner knows the node."""
    owner: str
    """Who is responsible for this consent: an actor or an organisation, never a driver."""
    purpose: str
    """What the node may be called for, in words."""
    valid: Interval
    consented_at: datetime
    withdrawn_at: datetime | None = None
    """From when the consent no longer holds; None while it does."""

    def __post_init__(self) -> None:
        """Reject empty names: a consent without owner or purpose is none."""
        for name in ("authority", "node", "resource", "owner", "purpose"):
            if not getattr(self, name):
                raise InvalidInput(f"enrolment.{name}", "must not be empty")
        require_utc("enrolment.consented_at", self.consented_at)

    def holds(self, instant: datetime) -> bool:
        """Tell whether the node may be called at an instant."""
        return self.valid.contains(instant) and (self.withdrawn_at is None or instant < self.withdrawn_at)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptDecision:
    """Our policy's answer to an event."""

    opt: OptType
    reason: str
    """Why, in one sentence; the same text for the partner, over gRPC and on the page."""
    deadline: datetime | None = None
    """Until when a person may decide otherwise, where the program asks one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramState:
    """Switches of one program that people set at run time."""

    id: str
    """`{authority}:{program}`."""
    tenant: str
    authority: str
    program: str
    is_dry_run: bool
    """Events are taken in, answered and shown, and change no limit."""
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OptSchedule:
    """Times in which we are (or are not) available to a partner, or our later word on one event (OpenADR 2.0b EiOpt)."""

    id: str
    """`{authority}:{opt_id}`."""
    tenant: str
    authority: str
    opt_id: str
    opt: OptType
    reason: str
    """One of the optReason values of the specification."""
    market_context: str
    """Empty for every one."""
    windows: tuple[Interval, ...]
    """Half-open and bounded; empty for a word on one event."""
    resources: tuple[str, ...]
    """The partner's names; empty for the whole VEN."""
    created_by: str
    created_at: datetime
    event_id: str = ""
    """The event a word is about; empty for a schedule."""
    modification: int = 0
    cancelled_at: datetime | None = None
    told_at: datetime | None = None
    """When the partner took the schedule or, after a cancellation, the cancellation."""
    refusal: str = ""
    """Why the partner is not told any more: it refused, or all was over before; empty otherwise."""

    def __post_init__(self) -> None:
        """Reject a schedule without windows and windows without an end."""
        if not self.opt_id:
            raise InvalidInput("opt.opt_id", "must not be empty")
        if not self.event_id and not self.windows:
            raise InvalidInput("opt.windows", "a schedule needs at least one window")
        if any(window.end is None for window in self.windows):
            raise InvalidInput("opt.windows", "must have an end each")

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to tell the partner."""
        return self.told_at is not None or bool(self.refusal)

    def closed_window(self, span: Interval, now: datetime) -> Interval | None:
        """Return the first window that is not over in which we said not to be available, and that shares time with a span.

        Returns:
            None when there is none, and always for a schedule of availability or one that was withdrawn.
        """
        if self.opt is OptType.OPT_IN or self.cancelled_at is not None:
            return None
        left = (window for window in self.windows if window.end is not None and window.end > now)
        return next((window for window in left if window.overlaps(span)), None)

    def cancel(self, now: datetime) -> "OptSchedule":
        """Return it withdrawn: the partner is to be told."""
        return replace(self, cancelled_at=now, told_at=None, refusal="")


REFUSED_RULE = "refused"
"""Rule of a `NonCompliance` that says that an event was refused, and why, whichever rule it broke."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NonCompliance:
    """A rule of a program's profile that a partner's object breaks."""

    id: str
    tenant: str
    authority: str
    profile: str
    """Name and version of the profile, for example `gac-2.2`."""
    rule: str
    """Short name of the broken rule."""
    object_kind: str
    """`program`, `event`, `ven`, `resource` or `report`."""
    object_id: str
    problem: str
    """What is wrong, naming the field, in one sentence."""
    is_applied: bool
    """Whether the object was used all the same, as configured."""
    raw_signal: str
    """Id of the `RawSignal` it came in; empty when it was only checked."""
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldObject:
    """An object of a 3.x VTN as last seen, so that a change is recognised across restarts.

    3.x has no modification number: an object is another one when its `modificationDateTime` or its content is another.
    """

    id: str
    """`{authority}:{kind}:{object_id}`."""
    tenant: str
    authority: str
    kind: str
    """`program`, `event`, `ven`, `resource` or `subscription`."""
    object_id: str
    program_id: str
    modified_at: str
    """`modificationDateTime`, as sent."""
    content_sha256: str
    """Of the canonical JSON text without the object's metadata."""
    version: int
    """0 when first seen, then one more with each change: our modification number."""
    seen_at: datetime
    gone_at: datetime | None = None
    """When it was deleted, or no longer listed."""
    content: str = ""
    """Of a program the object as JSON text: what its events mean while the VTN cannot be asked. Of an event the ven and the targets
    that it was shown to us through, as JSON text. Empty for other kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportDuty:
    """A report that an event's report descriptor of a 3.x VTN asks for, and where its delivery stands."""

    id: str
    """`{authority}:{event_id}:{index}`."""
    tenant: str
    authority: str
    event_id: str
    """The partner's id of the event."""
    version: int
    """Which version of the event asked for it (`HeldObject.version`)."""
    index: int
    """Place of the descriptor in the event."""
    descriptor: str
    """The descriptor as JSON text, defaults filled in."""
    sent_count: int = 0
    """Reports made up so far, and the number of the next one: each is a `PendingReport` until it is acknowledged."""
    reported_until: datetime | None = None
    """End of the last interval that was reported; None before the first."""
    report_id: str = ""
    """The VTN's id of our report; empty until the first was created."""
    is_finished: bool = False
    last_content: str = ""
    """What a report told last whose moment is ours to choose, so that only a change is told; empty before the first."""
    problem: str = ""
    """Why nothing is reported, in one sentence; empty where something is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingReport:
    """A report that is made up and not yet acknowledged: sent again after outages, once."""

    id: str
    """Stable id of this very report, so that a repetition is recognised."""
    tenant: str
    authority: str
    request: str
    """Id of the `ReportRequest` or `ReportDuty` it answers."""
    body: str
    """The report's content as text, in the words of its dialect."""
    made_at: datetime
    sent_at: datetime | None = None
    """When the partner acknowledged it; None before."""
    dropped_at: datetime | None = None
    """When it was given up: the partner wants it no longer, or refused it again and again; None otherwise."""

    @property
    def is_open(self) -> bool:
        """Whether it still has to reach the partner: only what was sent or given up may be forgotten."""
        return self.sent_at is None and self.dropped_at is None
