"""openleadr's VTN on the clock of the market: the library parses, validates and writes, the events are ours.

The library reads the machine's clock to say whether an event is far or over and then forgets it; here the market's clock says
so. It asks for polls every few *real* seconds, so the interval it tells grows with the speed of market time, and when the speed
changes it asks its VENs to register again. One VTN per process: the library keeps state in classes.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import openleadr.errors
import openleadr.utils
from openleadr.server import OpenADRServer

from gateway.domain.errors import InvalidInput, NotFound
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.grid_events import DrEvent

PATH = "/OpenADR2/Simple/2.0b"
_POWER = "RealPower"
"""What openleadr calls the measurement of a data point in watts."""
_SPEED_CHANGE = 0.01
_log = logging.getLogger("sandbox.grid")


@dataclass(frozen=True, kw_only=True, slots=True)
class VtnOptions:
    """Who the utility is and what it wants to know; the defaults are those of the demo."""

    vtn_id: str = "VTN-GRID-DEMO"
    ven_names: tuple[str, ...] = ("voltbridge-demo",)
    """VENs that may register."""
    poll_seconds: float = 5.0
    """Real seconds between two polls."""
    sampling: timedelta = timedelta(minutes=15)
    """Granularity of the usage reports it asks for, market time."""
    report_back: timedelta = timedelta(minutes=15)


@dataclass(kw_only=True, slots=True)
class VtnLog:
    """What the VENs said, for whoever wants to check; entries are plain JSON."""

    registrations: list[dict[str, object]] = field(default_factory=list)
    opts: list[dict[str, object]] = field(default_factory=list)
    readings: list[dict[str, object]] = field(default_factory=list)


class UtilityVtn:
    """A utility with a book of events, seen by VENs through openleadr's server."""

    def __init__(self, options: VtnOptions, clock: SandboxClock) -> None:
        self._options = options
        self._clock = clock
        self._events: dict[str, DrEvent] = {}
        self._answered: dict[tuple[str, str], int] = {}
        self._speeds: dict[str, float] = {}
        self.log = VtnLog()
        openleadr.utils.determine_event_status = functools.partial(_status_by, clock)
        self.server = OpenADRServer(
            vtn_id=options.vtn_id, requested_poll_freq=self._poll_interval(), ven_lookup=self._look_up
        )
        self.server.add_handler("on_poll", self._next_message)
        self.server.add_handler("on_request_event", self._list_events)
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_cancel_party_registration", self._deregister)
        self.server.add_handler("on_register_report", self._want_report)
        self.server.services["event_service"].handlers["oadrCreatedEvent"] = self._take_answers

    @property
    def events(self) -> list[DrEvent]:
        """All events in the book, cancelled and past ones too."""
        return list(self._events.values())

    def publish(self, event: DrEvent) -> DrEvent:
        """Put an event into the book, or a modification of the one with its id; return it as told to VENs."""
        known = self._events.get(event.event_id)
        kept = event if known is None else replace(event, modification=known.modification + 1)
        self._events[event.event_id] = kept
        _log.info("event %s, modification %d, from %s", kept.event_id, kept.modification, kept.start.isoformat())
        return kept

    def cancel(self, event_id: str) -> DrEvent:
        """Cancel an event.

        Raises:
            NotFound: There is none with the id.
        """
        known = self._events.get(event_id)
        if known is None:
            raise NotFound("event", event_id)
        if not known.cancelled:
            self._events[event_id] = replace(known, cancelled=True, modification=known.modification + 1)
            _log.info("event %s cancelled", event_id)
        return self._events[event_id]

    def _poll_interval(self) -> timedelta:
        return timedelta(seconds=max(1, round(self._options.poll_seconds * self._clock.speed)))

    def _look_up(self, ven_id: str) -> dict[str, str] | None:
        """Tell openleadr who a VEN is; None makes it ask the VEN to register again."""
        speed = self._speeds.get(ven_id)
        if speed is None or abs(self._clock.speed / speed - 1.0) > _SPEED_CHANGE:
            return None
        return {"ven_id": ven_id, "ven_name": ven_id, "registration_id": _registration_id(ven_id), "fingerprint": ""}

    def _register(self, registration: Mapping[str, Any]) -> tuple[str, str] | bool:
        name = str(registration.get("ven_name"))
        if name not in self._options.ven_names:
            _log.warning("a VEN with an unknown name wants to register")
            return False
        ven_id = f"ven-{name}"
        said = registration.get("registration_id")
        if said is not None and said != _registration_id(ven_id):
            raise openleadr.errors.InvalidIdError
        self._speeds[ven_id] = self._clock.speed
        self.server.services["registration_service"].poll_freq = self._poll_interval()
        self.log.registrations.append({"at": self._stamp(), "ven_id": ven_id, "again": said is not None})
        _log.info("%s registered", ven_id)
        return ven_id, _registration_id(ven_id)

    def _deregister(self, message: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
        ven_id = str(message.get("ven_id"))
        self._speeds.pop(ven_id, None)
        return "oadrCanceledPartyRegistration", {"registration_id": message.get("registration_id"), "ven_id": ven_id}

    def _next_message(self, ven_id: str) -> tuple[str, dict[str, object]] | None:
        """Answer a poll: every event while one of them is unanswered, otherwise nothing."""
        listed = self._listed(ven_id)
        if all(self._answered.get((ven_id, event.event_id)) == event.modification for event in listed):
            return None
        self._answered.update(
            {(ven_id, event.event_id): event.modification for event in listed if not event.response_required}
        )
        return "oadrDistributeEvent", {"events": self._as_openleadr(listed, ven_id)}

    def _list_events(self, ven_id: str) -> list[dict[str, Any]]:
        return self._as_openleadr(self._listed(ven_id), ven_id)

    def _as_openleadr(self, events: Sequence[DrEvent], ven_id: str) -> list[dict[str, Any]]:
        now = self._clock.now()
        return [event.as_openleadr(ven_id, now) for event in events]

    def _listed(self, ven_id: str) -> list[DrEvent]:
        """Return what a VEN is told: what is published and not over; a cancelled event until the VEN has confirmed it."""
        now = self._clock.now()
        return [
            event
            for event in self._events.values()
            if (event.publish_at is None or event.publish_at <= now)
            and (event.end is None or now < event.end)
            and not (event.cancelled and self._answered.get((ven_id, event.event_id)) == event.modification)
        ]

    async def _take_answers(self, message: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
        ven_id = str(message.get("ven_id"))
        for answer in message.get("event_responses") or []:
            event_id, modification = str(answer["event_id"]), int(answer["modification_number"])
            self._answered[ven_id, event_id] = modification
            self.log.opts.append(
                {
                    "at": self._stamp(),
                    "ven_id": ven_id,
                    "event_id": event_id,
                    "modification": modification,
                    "opt": str(answer["opt_type"]),
                    "code": int(answer["response_code"]),
                    "description": str(answer.get("response_description") or ""),
                }
            )
            _log.info("%s answered %s to %s", ven_id, answer["opt_type"], event_id)
        return "oadrResponse", {}

    def _want_report(  # noqa: PLR0913, PLR0917  # openleadr looks for exactly these names
        self,
        ven_id: str,
        resource_id: str,
        measurement: str,
        unit: str,
        scale: str,
        min_sampling_interval: timedelta,
        max_sampling_interval: timedelta,
    ) -> tuple[object, timedelta, timedelta] | None:
        """Ask for power wherever it is offered, as finely as we like and the VEN can; energy follows from it."""
        if measurement != _POWER:
            return None
        sampling = min(max(self._options.sampling, min_sampling_interval), max_sampling_interval)
        _log.info("%s offers %s of %s in %s%s", ven_id, measurement, resource_id, scale, unit)
        take = functools.partial(self._take_values, str(ven_id), str(resource_id), f"{scale}{unit}")
        return take, sampling, max(self._options.report_back, sampling)

    def _take_values(self, ven_id: str, resource_id: str, unit: str, values: Sequence[tuple[datetime, float]]) -> None:
        self.log.readings += [
            {
                "at": self._stamp(),
                "ven_id": ven_id,
                "resource_id": resource_id,
                "start": start.isoformat(),
                "value": float(value),
                "unit": unit,
            }
            for start, value in values
        ]

    def _stamp(self) -> str:
        return self._clock.now().isoformat()


def _registration_id(ven_id: str) -> str:
    return f"reg-{ven_id}"


def _status_by(clock: SandboxClock, active_period: object) -> str:
    """Say where an active period is by the market's clock; replaces openleadr's function, which reads the machine's."""
    start: datetime = openleadr.utils.getmember(active_period, "dtstart")
    duration: timedelta = openleadr.utils.getmember(active_period, "duration")
    now = clock.now()
    if duration and now >= start + duration:
        return "completed"
    return "active" if now >= start else "far"


def check_unique(events: Sequence[DrEvent]) -> None:
    """Reject a script with two events of one id.

    Raises:
        InvalidInput: An id comes twice.
    """
    ids = [event.event_id for event in events]
    if len(set(ids)) != len(ids):
        raise InvalidInput("events", "two events have the same event_id")
