"""The acceptance cases of OpenADR: A1 to A38 for 2.0b, B1 to B20 for 3.x."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.domain.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One acceptance case: what is done to the VEN and what must be seen."""

    number: str
    """`A7`, `B12`."""
    what: str
    """What must hold, in one line."""


def _cases(letter: str, lines: Sequence[str]) -> tuple[Case, ...]:
    return tuple(Case(number=f"{letter}{index}", what=what) for index, what in enumerate(lines, start=1))


CASES_20B = _cases(
    "A",
    (
        "VTN down at start: registered within one backoff step once it is up",
        "registration answered 463: tried again with growing pauses, the process lives",
        "killed after registration and event: same ids, same random offset, no second dispatch",
        "re-registration request with a new poll frequency: answered, same registrationID, polls no more often",
        "poll answered 463: registers again",
        "VTN cancels: wrong id is answered 452, right id 200 and no more polls; later registered again, reports run",
        "odd event ids are echoed byte for byte",
        "vtnID of digits or lower case is handled",
        "event missing from the next message is released",
        "empty oadrDistributeEvent releases all",
        "lower modification number is refused, the higher one stays in force",
        "unknown event already cancelled: optIn, nothing dispatched",
        "cancelled event sent again and again beside a new one: optIn each time",
        "one event fails: the others are accepted, it is tried again",
        "targets: another VEN is refused with 462, none or one known of several is accepted",
        "unknown context, unknown signal, wrong SIMPLE level, wrong sum of durations: 4xx each, others unaffected",
        "response never required: no oadrCreatedEvent, still dispatched",
        "test event: answered, never dispatched",
        "startafter: start inside the window, stable over redelivery and modification",
        "duration zero: active until cancelled",
        "overlapping contexts: the higher priority wins, 0 is last, equal is first started",
        "several intervals of LOAD_DISPATCH in kW: the limit changes at each boundary",
        "completed too early with startafter: runs on",
        "dtstart without Z: taken as UTC or answered 454",
        "DOCTYPE, entity bomb, external entity, 20 MB: refused, next poll normal",
        "moved, forged, replayed or unsigned messages are refused",
        "two report requests in one message: each report holds its own points",
        "TELEMETRY_STATUS one-shot: online and manual override, after oadrCreatedReport",
        "TELEMETRY_USAGE 1 min, back 2 min, for 10 min: 5 updates of 2 intervals, then none",
        "granularity 90 s: samples 90 s apart",
        "HISTORY_USAGE of the last 30 min: exactly those points",
        "updates lost or answered with an empty body: all arrive later, none twice",
        "cancel with report to follow: one more update, then none; also inside oadrUpdatedReport",
        "one point fails: the others are reported, it is marked bad or left out",
        "queue of 5 messages: drained in one poll cycle",
        "slow dispatch: polls go on",
        "EiOpt with two windows: valid, cancel works, both survive a restart",
        "names with & and < in reports: well-formed and valid",
    ),
)

CASES_3 = _cases(
    "B",
    (
        "token found by discovery; revoked: one refresh, no lost poll; 503 with Retry-After is waited for",
        "61 events are all read",
        "targeted event is found with the VEN's own targets, a foreign one is not",
        "start 0001-01-01 with P9999Y: active now, without an end",
        "duration P9999Y over 24 hourly prices: the hour of the cycle",
        "three prices in PT3H: three hourly prices",
        "odd payloads beside good events: the good ones are used",
        "IMPORT_CAPACITY_LIMIT in KW, W and MW; an unknown unit is refused",
        "priority 0 wins against 5 and null",
        "PUT shortens, DELETE releases, start 0001-01-01 with PT0S cancels",
        "event read late: the interval of the hour is in force",
        "randomizeStart: one offset inside plus or minus 5 min for all intervals",
        "limits exhausted while the VTN is away: the subscription applies",
        "webhook: echo answered, wrong bearer refused, lost notification found by polling, twice is once",
        "MQTT: subscribed again after the broker came back, foreign targets ignored",
        "report timing: one after the last interval by default, frequency 2 repeat 3 gives three",
        "POST /reports answered 409 becomes PUT; outage: sent later, once",
        "GAC 2.2: the right event is applied, the wrong ones are not",
        "objectType VEN and BL_VEN_REQUEST are both read; no nulls are sent",
        "plain http is refused unless allowed",
    ),
)
CASES = (*CASES_20B, *CASES_3)
"""All 58."""


def chosen(numbers: Sequence[str]) -> tuple[Case, ...]:
    """Return the cases with these numbers, all without one.

    Raises:
        InvalidInput: There is no such case.
    """
    if not numbers:
        return CASES
    known = {case.number: case for case in CASES}
    for number in numbers:
        if number.upper() not in known:
            raise InvalidInput("case", f"{number} is none of A1 to A{len(CASES_20B)} and B1 to B{len(CASES_3)}")
    return tuple(known[number] for number in dict.fromkeys(each.upper() for each in numbers))
