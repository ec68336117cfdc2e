"""An event's measurement as CSV: every meter row of the event and of the days that its baseline looked at.

Whoever has the file can compute the baseline again, with the columns `row`, `day`, `slot`, `start_utc`, `end_utc`, `connection_point`,
`chargers_kwh`, `is_comparable`, `looked_at`, `counted` and `adjustment_kw`:

1. Of the lines with `row` = `baseline-day` and `is_comparable` = `yes`, the power of a day in a slot is the sum over its connection
   points of `chargers_kwh` divided by the hours from `start_utc` to `end_utc`.
2. Take the `looked_at` latest days; of these the `counted` days with the highest mean power over their slots. Of equal days the
   later one counts.
3. `baseline_kw` is the mean over these days and all slots plus `adjustment_kw`.

`judged_*` is what the event's page says: made from samples of every minute where there are any, so that it may differ from the
quarter-hours of the file; of an event that is over it stays as it was judged then.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.domain.settlement import MeteredPeriod
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from gateway.services.report_delivery import EventMeasurement, PointMeters
from gateway.web.spreadsheet import local_cell, text_cell

COLUMNS = (
    "event",
    "authority",
    "node",
    "row",
    "day",
    "slot",
    "start_utc",
    "end_utc",
    "start_local",
    "end_local",
    "connection_point",
    "chargers_kwh",
    "at_the_meter_kwh",
    "coverage",
    "origin",
    "is_comparable",
    "is_counted",
    "method",
    "looked_at",
    "counted",
    "adjustment",
    "adjustment_kw",
    "basis",
    "baseline_kw",
    "judged_baseline_kw",
    "judged_baseline",
    "judged_requested_kw",
    "judged_mean_power_kw",
    "judged_compliance",
)
_Cells = tuple[str, ...]
_YES_NO = {True: "yes", False: "no"}


def measurement_csv(found: EventMeasurement) -> Iterator[_Cells]:
    """Return a header, then one line per connection point and delivery period: those of the event, then day by day its past."""
    yield COLUMNS
    zone = ZoneInfo(found.time_zone)
    head = (text_cell(found.event.event_id), text_cell(found.event.authority), text_cell(found.performance.node))
    tail = _method_cells(found)
    if found.evidence is None:
        return
    for cells in _slots(found.points, found.meters, list(found.evidence.grid.starts()), zone):
        yield (*head, "event", *cells, "", "", *tail)
    for day in found.evidence.days:
        is_counted = day.metered.day in found.evidence.counted
        marks = (_YES_NO[day.metered.is_comparable], _YES_NO[is_counted])
        for cells in _slots(found.points, day.meters, day.starts, zone):
            yield (*head, "baseline-day", *cells, *marks, *tail)


def _slots(points: Sequence[str], meters: PointMeters, starts: Sequence[datetime], zone: ZoneInfo) -> Iterator[_Cells]:
    for slot, start in enumerate(starts, start=1):
        day = DeliveryDay.containing(start, zone.key).day.isoformat()
        end = start + QUARTER_HOUR
        times = (start.isoformat(), end.isoformat(), local_cell(start, zone), local_cell(end, zone))
        for point in points:
            yield (day, str(slot), *times, text_cell(point), *_reading_cells(meters[point].get(start)))


def _reading_cells(period: MeteredPeriod | None) -> _Cells:
    """Return energy of the chargers and at the meter, coverage and origin; what was not read is empty."""
    if period is None:
        return "", "", "", "missing"
    origin = "modelled" if period.is_modelled else "measured"
    return repr(period.chargers_kwh), repr(period.energy_kwh), repr(period.coverage), origin


def _method_cells(found: EventMeasurement) -> _Cells:
    """Return what is the same on every line: the method by name, its numbers, and what was judged."""
    judged, evidence = found.performance, found.evidence
    rule = None if evidence is None else evidence.rule
    adjustment_kw = None if evidence is None or evidence.baseline is None else evidence.baseline.shift_kw
    return (
        "" if rule is None else rule.name,
        "" if rule is None else str(rule.looked_at),
        "" if rule is None else str(rule.counted),
        "none" if rule is None or rule.adjustment is None else "same-day",
        _number(adjustment_kw),
        "chargers only",
        _number(None if evidence is None else evidence.mean_kw),
        _number(judged.baseline_kw),
        text_cell(judged.baseline_method),
        _number(judged.requested_kw),
        _number(judged.mean_power_kw),
        _number(judged.compliance),
    )


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
