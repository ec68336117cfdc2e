"""A doctor for files of market data: what is missing, repeated, contradictory or coarser than it looks, and why.

Nothing is mended. Four things that go unnoticed elsewhere are looked for on purpose: hours that vanish where clocks change, rows of
production in which nobody reported and zero stands for unknown, times written in two ways, and hourly prices of a market that
clears quarter-hours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from gateway.domain.market_findings import Finding
from gateway.domain.price_check import TOLERANCE_PER_MWH
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR
from gateway.market_data.feeds.public_prices import QUARTER_HOUR_MARKET
from gateway.market_data.file_times import FileTimes, read_times, step_of
from gateway.market_data.table_file import Table

_HOUR = timedelta(hours=1)
_QUARTERS = 4
_PRODUCTION_WORDS = ("fossil", "hydro", "nuclear", "solar", "wind", "biomass", "waste", "geothermal", "other", "marine")
_MAY_CONSUME = "pumped"
"""The one type that takes power too."""
_LEAST_PRODUCTION_COLUMNS = 3
_SHOWN_RUNS = 12
_USUAL_QUARTERS = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """What a file holds and what is wrong with it."""

    name: str
    row_count: int
    step: timedelta
    first: datetime
    last: datetime
    findings: tuple[Finding, ...]

    def told(self) -> str:
        """Return what the file holds, in one sentence."""
        minutes = int(self.step.total_seconds() // 60)
        return (
            f"{self.name}: {self.row_count} rows of {minutes} minutes from {_stamp(self.first)} to {_stamp(self.last)}, "
            f"{len(self.findings)} findings"
        )


def examine(table: Table, *, time_zone: str, against: Table | None = None) -> FileReport:
    """Look for what is wrong with a file.

    Args:
        table: The file.
        time_zone: IANA time zone of the market, for clock changes.
        against: A file of the same prices, quarter-hourly or of the same step, to compare with.

    Raises:
        InvalidInput: It has no column of times, or a value of it is no instant.
    """
    times = read_times(table)
    step = step_of(times.starts)
    numbers = {name: _numbers(values) for name, values in table.columns.items() if name != times.column}
    prices = {name: values for name, values in numbers.items() if "price" in name.lower()}
    findings = [
        *_written_twice(table, times),
        *_forms(table, times),
        *_missing(table, times, step, time_zone),
        *_silent(table, times, numbers),
        *_coarse(table, times, step, prices),
    ]
    if against is not None:
        findings += _compared(table, times, step, prices, against)
    return FileReport(
        name=table.name,
        row_count=table.row_count,
        step=step,
        first=min(times.starts),
        last=max(times.starts),
        findings=tuple(findings),
    )


def missing_starts(starts: Sequence[datetime], step: timedelta) -> list[datetime]:
    """Return the begins between the first and the last one that are not there."""
    known = set(starts)
    at, last = min(known), max(known)
    absent = []
    while at < last:
        if at not in known:
            absent.append(at)
        at += step
    return absent


def _numbers(values: Sequence[str]) -> list[Decimal | None]:
    """Return a column's numbers; what is empty or no number is None."""
    found: list[Decimal | None] = []
    for text in values:
        try:
            number = Decimal(text) if text else None
        except InvalidOperation:
            number = None
        found.append(number if number is not None and number.is_finite() else None)
    return found


def _forms(table: Table, times: FileTimes) -> Iterator[Finding]:
    if len(times.forms) > 1:
        told = " and ".join(f"{count} as {form}" for form, count in times.forms.items())
        yield Finding(
            kind="format", what=f"{table.name}: {times.column}", why=f"rows write times in different ways: {told}"
        )


def _written_twice(table: Table, times: FileTimes) -> Iterator[Finding]:
    first_row: dict[datetime, int] = {}
    same: list[datetime] = []
    other: list[datetime] = []
    columns = [values for name, values in table.columns.items() if name != times.column and not _is_time(name)]
    for row, start in enumerate(times.starts):
        before = first_row.setdefault(start, row)
        if before != row:
            is_same = all(values[before] == values[row] for values in columns)
            (same if is_same else other).append(start)
    if same:
        why = f"{len(same)} rows repeat a period with the same values, {_stamp(min(same))} to {_stamp(max(same))}"
        yield Finding(kind="repeated", what=table.name, why=why)
    if other:
        why = (
            f"{len(other)} rows repeat a period with other values, first {_stamp(min(other))}: which counts is not said"
        )
        yield Finding(kind="contradictory", what=table.name, why=why)


def _is_time(name: str) -> bool:
    return "time" in name.lower() or "date" in name.lower()


def _missing(table: Table, times: FileTimes, step: timedelta, time_zone: str) -> Iterator[Finding]:
    runs = _runs(missing_starts(times.starts, step), step)
    for first, count in runs[:_SHOWN_RUNS]:
        place = " at a clock change" if _has_clock_change(first, time_zone) else ""
        why = f"{count} periods are missing{place}: {_stamp(first)} to {_stamp(first + count * step)}"
        yield Finding(kind="missing", what=table.name, why=why)
    if len(runs) > _SHOWN_RUNS:
        rest = sum(count for _, count in runs[_SHOWN_RUNS:])
        why = f"{rest} more periods are missing in {len(runs) - _SHOWN_RUNS} places"
        yield Finding(kind="missing", what=table.name, why=why)


def _runs(starts: Sequence[datetime], step: timedelta) -> list[tuple[datetime, int]]:
    runs: list[tuple[datetime, int]] = []
    for start in starts:
        if runs and runs[-1][0] + runs[-1][1] * step == start:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((start, 1))
    return runs


def _has_clock_change(instant: datetime, time_zone: str) -> bool:
    return DeliveryDay.containing(instant, time_zone).grid().count != _USUAL_QUARTERS


def _silent(table: Table, times: FileTimes, numbers: Mapping[str, Sequence[Decimal | None]]) -> Iterator[Finding]:
    """Yield rows of production in which no type reports anything: zero there is a way to write unknown."""
    types = {name: values for name, values in numbers.items() if name.lower().startswith(_PRODUCTION_WORDS)}
    if len(types) < _LEAST_PRODUCTION_COLUMNS:
        return
    empty = [
        start for row, start in enumerate(times.starts) if all(values[row] in (None, 0) for values in types.values())
    ]
    if empty:
        why = (
            f"{len(empty)} periods have no report of any of {len(types)} types (all are 0 or empty), "
            f"first {_stamp(min(empty))}, last {_stamp(max(empty))}: unknown, not zero"
        )
        yield Finding(kind="gaps", what=f"{table.name}: generation", why=why)
    for name, values in types.items():
        below = sum(value is not None and value < 0 for value in values)
        if below and _MAY_CONSUME not in name.lower():
            yield Finding(
                kind="contradictory", what=f"{table.name}: {name}", why=f"{below} periods produce less than nothing"
            )


def _coarse(
    table: Table, times: FileTimes, step: timedelta, prices: Mapping[str, Sequence[Decimal | None]]
) -> Iterator[Finding]:
    """Yield hourly prices of a market that clears quarter-hours.

    A mean of four prices in cents ends on a quarter of a cent three times of four. Hundreds of values that all end on whole cents
    are therefore no exact means: they are rounded, or one quarter-hour's price stands for the hour.
    """
    if step != _HOUR:
        return
    for name, values in prices.items():
        later = [
            price
            for start, price in zip(times.starts, values, strict=True)
            if price is not None and start >= QUARTER_HOUR_MARKET
        ]
        if not later:
            continue
        whole_cents = sum(_is_whole_cents(price) for price in later)
        told = "all" if whole_cents == len(later) else str(whole_cents)
        why = (
            f"{len(later)} hourly prices lie after {_stamp(QUARTER_HOUR_MARKET)}, from when the coupling clears quarter-hours; "
            f"{told} end on whole cents, as single quarter-hours do and means of four do one time in four: "
            "use them as hourly prices only before"
        )
        yield Finding(kind="coarse", what=f"{table.name}: {name}", why=why)


def _is_whole_cents(price: Decimal) -> bool:
    return price * 100 == (price * 100).to_integral_value()


def _compared(
    table: Table,
    times: FileTimes,
    step: timedelta,
    prices: Mapping[str, Sequence[Decimal | None]],
    against: Table,
) -> Iterator[Finding]:
    other_times = read_times(against)
    other_step = step_of(other_times.starts)
    other = {name: _numbers(values) for name, values in against.columns.items() if "price" in name.lower()}
    if not prices or not other:
        return
    name, values = next(iter(prices.items()))
    known = dict(zip(other_times.starts, next(iter(other.values())), strict=True))
    own = {start: price for start, price in zip(times.starts, values, strict=True) if price is not None}
    if step == _HOUR and other_step == QUARTER_HOUR:
        yield from _against_quarters(f"{table.name}: {name}", own, known)
        return
    pairs = [(start, price, found) for start, price in own.items() if (found := known.get(start)) is not None]
    differ = [start for start, price, found in pairs if abs(price - found) > TOLERANCE_PER_MWH]
    if differ:
        why = f"{len(differ)} of {len(pairs)} periods differ from {against.name}, first {_stamp(min(differ))}"
        yield Finding(kind="contradictory", what=f"{table.name}: {name}", why=why)


def _against_quarters(
    what: str, own: Mapping[datetime, Decimal], known: Mapping[datetime, Decimal | None]
) -> Iterator[Finding]:
    """Yield hours whose value is that of their first quarter-hour and not the mean of the four."""
    first_only = []
    compared = 0
    for start, price in own.items():
        quarters = [known.get(start + QUARTER_HOUR * i) for i in range(_QUARTERS)]
        found = [one for one in quarters if one is not None]
        if len(found) == _QUARTERS:
            compared += 1
            is_mean = abs(sum(found, Decimal(0)) / _QUARTERS - price) <= TOLERANCE_PER_MWH
            if not is_mean and abs(found[0] - price) <= TOLERANCE_PER_MWH:
                first_only.append(start)
    if first_only:
        why = (
            f"{len(first_only)} of {compared} hours have the price of their first quarter-hour instead of the mean of four, "
            f"first {_stamp(min(first_only))}, last {_stamp(max(first_only))}"
        )
        yield Finding(kind="contradictory", what=what, why=why)


def _stamp(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}Z"
