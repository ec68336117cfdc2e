"""How market time passes in the demo: slow while people decide, fast through quiet hours, steady on the delivery day."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from gateway.demo.settings import demo_settings
from gateway.domain.timegrid import DeliveryDay

OPENING = time(11, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """Market seconds per real second in each part of the demo."""

    deciding: float
    """From the opening until the order has left or the gate has closed."""
    quiet: float
    """From the nominations until the delivery day begins."""
    delivery: float
    """On the delivery day and until it is settled."""

    @property
    def fastest(self) -> float:
        """The highest of them, for which leases must still be long enough."""
        return max(self.deciding, self.quiet, self.delivery)


def pace_for(speed: float | None, *, is_autopilot: bool) -> Pace:
    """Return the pace of a run: a day in about ten minutes for people, everything in five for the autopilot.

    Args:
        speed: Wish for the delivery day; None takes the default.
        is_autopilot: Nobody watches.
    """
    choice = demo_settings().pace
    pace = choice.autopilot if is_autopilot else choice.people
    delivery = pace.delivery if speed is None else speed
    return Pace(deciding=pace.deciding, quiet=max(pace.quiet, delivery), delivery=delivery)


def at_least_real(duration: timedelta, fastest: float) -> timedelta:
    """Return a market duration, lengthened so that it lasts long enough in real time at the fastest pace."""
    return max(duration, timedelta(seconds=demo_settings().shortest_real_seconds * fastest))


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The instants of one run, aware UTC."""

    delivery: DeliveryDay
    opening: datetime
    award_look: datetime
    """Just before the auction's result is expected."""
    quiet_from: datetime
    """From when nothing is decided any more until the delivery day."""
    delivery_start: datetime
    delivery_end: datetime


def timeline_of(delivery: DeliveryDay) -> Timeline:
    """Return the instants of the run for a delivery day: it opens at 11:00 local the day before."""
    return Timeline(
        delivery=delivery,
        opening=delivery.next(-1).at(OPENING),
        award_look=delivery.next(-1).at(time(12, 44)),
        quiet_from=delivery.next(-1).at(time(14, 30)),
        delivery_start=delivery.at(time(0)),
        delivery_end=delivery.next().at(time(0)),
    )
