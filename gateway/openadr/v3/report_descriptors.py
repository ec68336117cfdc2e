"""What a report descriptor asks for: its numbers with a meaning, whether it asks for anything, and its text in the store."""

import json
from dataclasses import asdict

from gateway.domain.errors import InvalidInput
from gateway.openadr.v3.wire import ReportDescriptor, Target

LAST_OR_ALL = -1
"""Value of `startInterval`, `numIntervals` and `frequency` that means the last interval, all of them, or as many as reported."""
FOR_EVER = -1
"""Value of `repeat` that means until the last interval has passed, which may be never."""
AD_HOC = 0
"""Value of `frequency` that leaves the moment to us."""
INTERVALS = "INTERVALS"
"""A report holds the intervals of the event, under their ids (User Guide 7.5)."""
SUB_INTERVALS = "SUB_INTERVALS"
"""A report holds parts of the event's intervals, each under the id of the interval it is part of."""
OPEN_INTERVALS = "OPEN_INTERVALS"
"""A report holds whichever intervals we like, numbered by us."""
_KINDS_OF_INTERVALS = frozenset({INTERVALS, SUB_INTERVALS, OPEN_INTERVALS})


def problem_of(descriptor: ReportDescriptor) -> str | None:
    """Return why a descriptor asks for nothing that can be understood; None when it does."""
    if descriptor.start_interval < LAST_OR_ALL:
        return "startInterval must be -1 or at least 0"
    if descriptor.num_intervals < LAST_OR_ALL or descriptor.num_intervals == 0:
        return "numIntervals must be -1 or at least 1"
    if descriptor.frequency < LAST_OR_ALL:
        return "frequency must be -1, 0 or at least 1"
    if descriptor.repeat < FOR_EVER or descriptor.repeat == 0:
        return "repeat must be -1 or at least 1"
    if descriptor.report_intervals not in _KINDS_OF_INTERVALS:
        return "reportIntervals must be INTERVALS, SUB_INTERVALS or OPEN_INTERVALS"
    return None


def timing_of(descriptor: ReportDescriptor) -> tuple[object, ...]:
    """Return everything but what is measured: descriptors of an event that agree in it share their reports."""
    return (
        descriptor.targets,
        descriptor.aggregate,
        descriptor.start_interval,
        descriptor.num_intervals,
        descriptor.historical,
        descriptor.frequency,
        descriptor.repeat,
        descriptor.report_intervals,
    )


def write_descriptor(descriptor: ReportDescriptor) -> str:
    """Return a descriptor as JSON text for the store, the same text for the same descriptor."""
    return json.dumps(asdict(descriptor), sort_keys=True)


def read_descriptor(text: str) -> ReportDescriptor:
    """Return a descriptor that `write_descriptor` wrote.

    Raises:
        InvalidInput: The text is none; only an edited store has such.
    """
    try:
        content = json.loads(text)
        targets = tuple(Target(**target) for target in content.pop("targets"))
        return ReportDescriptor(**content, targets=targets)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput("report_duty.descriptor", "is no descriptor") from error
