"""Price forecasts of recorded years against the naive: error, bands, paths, CPU time; fleets per scenario.

Every day is forecast at the gate, from the prices of earlier delivery days and the calendar alone, on a rolling window of two years.
The naive is that of the price-forecast benchmark: last week's day on Saturday, Sunday and Monday, else yesterday. The choices of
the learned forecast (features, weights, penalties) were made while looking at 2019 and 2023, so other years are measured beside.
Recorded prices are not part of the project: `--data` names a folder with `dayahead_nl_ember_2015_2025` in it (and, for quarter-hours,
`dayahead_imbalance_be_15min_2024_2025`); without it prices are skipped, loudly.
"""

import argparse
import csv
import gzip
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.learned_prices import LearningOptions, PriceMethod, PriceWalk, walk_prices
from bidding.forecasts.price_days import PriceDays
from bidding.forecasts.prices import PastPrices
from bidding.forecasts.scenarios import PUBLISHED_LEVELS
from bidding.forecasts.scores import (
    crps_of_members,
    energy_score,
    interval_coverage,
    mean_absolute_error,
    pinball_loss,
    relative_mae,
    variogram_score,
)
from bidding.forecasts.session_scenarios import draw_days, scenario_tables
from bidding.forecasts.sessions import ForecastFrame, SessionHistory
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from scripts.measuring import Goal, Report, Value, at_most

DEFAULT_DATA = Path("../shared/data")
HOURLY = "dayahead_nl_ember_2015_2025/nl_dayahead_hourly_utc.csv.gz"
QUARTERS = "dayahead_imbalance_be_15min_2024_2025/dam_prices.csv.gz"
GOALS = {2019: 0.72, 2023: 0.62}
GAP_LIMIT = 2
"""Missing periods of a day that are interpolated; a day that misses more is left out."""
EASTER_HOLIDAYS = (-2, 0, 1, 39, 49, 50)
"""Days after Easter Sunday: Good Friday, Easter, Easter Monday, Ascension, Whit Sunday and Monday."""
SESSION_COUNT, SCENARIO_COUNT, HISTORY_WEEKS = 100_000, 50, 8


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this bench."""
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder of recorded prices")
    parser.add_argument("--years", type=int, nargs="*", default=[2019, 2023], help="years of Dutch hourly prices")
    parser.add_argument(
        "--belgium", action="store_true", help="also October 2025 in Belgium, the first real quarter-hours"
    )


def run(options: argparse.Namespace) -> Report:
    """Measure the years and the sessions."""
    rows: list[dict[str, Value]] = []
    goals: list[Goal] = []
    hourly, quarters = options.data / HOURLY, options.data / QUARTERS
    if hourly.is_file():
        market = _Market.read(hourly, "Europe/Amsterdam", timedelta(hours=1), kings_day=True)
        for year in options.years:
            row = _measure(market, f"NL {year}", date(year, 1, 1), date(year, 12, 31))
            rows.append(row)
            if year in GOALS:
                goals.append(at_most(f"rMAE against the naive, NL {year}", GOALS[year], _number(row["rmae"])))
    else:
        print(f"SKIPPED: no recorded prices at {hourly}; name their folder with --data", file=sys.stderr)
    if options.belgium and quarters.is_file():
        market = _Market.read(quarters, "Europe/Brussels", timedelta(minutes=15), kings_day=False)
        rows.append(_measure(market, "BE October 2025", date(2025, 10, 1), date(2025, 10, 21)))
    elif options.belgium:
        print(f"SKIPPED: no recorded prices at {quarters}; name their folder with --data", file=sys.stderr)
    fleet = _measure_fleets()
    rows.append(fleet)
    goals.append(at_most("CPU ms per scenario of 100 000 sessions", 50.0, _number(fleet["ms_per_scenario"])))
    return {"results": rows, "goals": goals}


@dataclass(frozen=True, kw_only=True)
class _Market:
    """The recorded prices of one market."""

    days: PriceDays
    zone: str

    @classmethod
    def read(cls, path: Path, zone: str, step: timedelta, *, kings_day: bool) -> "_Market":
        """Read a table of UTC instants and prices; an hour that is missing is interpolated."""
        by_day: dict[date, dict[datetime, float]] = defaultdict(dict)
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for when, price in list(csv.reader(file))[1:]:
                start = datetime.fromisoformat(when).replace(tzinfo=UTC)
                by_day[DeliveryDay.containing(start, zone).day][start] = float(price)
        past = []
        for day in sorted(by_day):
            delivery = DeliveryDay(day=day, zone=zone)
            starts, seen = delivery.grid(step).starts(), by_day[day]
            if len(starts) - len(seen) <= _gap_limit(step):
                known = [index for index, start in enumerate(starts) if start in seen]
                prices = np.interp(np.arange(len(starts)), known, [seen[starts[index]] for index in known])
                past.append(PastPrices(day=delivery, price_eur_per_mwh=prices))
        years = range(past[0].day.day.year, past[-1].day.day.year + 1)
        holidays = frozenset(day for year in years for day in _holidays(year, kings_day=kings_day))
        return cls(days=PriceDays.of(past, step=step, holidays=holidays), zone=zone)


def _gap_limit(step: timedelta) -> int:
    return GAP_LIMIT * (timedelta(hours=1) // step)


def _holidays(year: int, *, kings_day: bool) -> list[date]:
    """Return the holidays of the Netherlands or, without King's Day, of Belgium."""
    easter = _easter(year)
    fixed = [(1, 1), (12, 25)] + ([(4, 27), (12, 26)] if kings_day else [(5, 1), (7, 21), (8, 15), (11, 1), (11, 11)])
    return [easter + timedelta(days=n) for n in EASTER_HOLIDAYS] + [date(year, month, day) for month, day in fixed]


def _easter(year: int) -> date:
    """Return Easter Sunday of the Gregorian calendar (Meeus 1991, chapter 8)."""
    century, of_century = divmod(year, 100)
    golden = year % 19
    epact = (19 * golden + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (of_century // 4) - epact - of_century % 4) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _measure(market: _Market, name: str, first: date, last: date) -> dict[str, Value]:
    """Return errors, bands and paths of every day from `first` to `last`; the days before warm the errors up."""
    options = LearningOptions()
    begin = DeliveryDay(day=first, zone=market.zone)
    started = time.process_time()
    warm = begin.next(-options.error_days)
    walk = walk_prices(market.days, warm, DeliveryDay(day=last, zone=market.zone), options=options)
    spent = time.process_time() - started
    if walk.learned is None:
        raise RuntimeError(walk.unlearned_reason)
    days = [begin.next(n) for n in range((last - first).days + 1)]
    skip = options.error_days
    return {
        "name": name,
        "days": len(days),
        "cpu_s": spent,
        "naive_mae_eur_per_mwh": mean_absolute_error(_came(walk)[skip:], walk.naive[skip:]),
        "rmae": relative_mae(_came(walk)[skip:], walk.learned[skip:], walk.naive[skip:]),
        **_score_paths(walk, days),
    }


def _score_paths(walk: PriceWalk, days: list[DeliveryDay]) -> dict[str, Value]:
    """Return what the published forecasts (the better of both methods) and their scenarios scored, means over the days."""
    scores: dict[str, list[float]] = defaultdict(list)
    for day in days:
        forecast = walk.forecast(day)
        index = walk.days.index_of(day)
        came = walk.days.on_day(walk.days.wall_eur_per_mwh[index], index)
        band = forecast.quantiles()
        paths = forecast.scenarios_eur_per_mwh
        scores["used_mae_eur_per_mwh"].append(mean_absolute_error(came, forecast.price_eur_per_mwh))
        scores["learned_share"].append(float(forecast.method is PriceMethod.LEARNED))
        scores["pinball"].append(float(pinball_loss(came, band, PUBLISHED_LEVELS).mean()))
        scores["coverage_90"].append(interval_coverage(came, band[0], band[-1]))
        scores["coverage_80"].append(interval_coverage(came, band[1], band[-2]))
        scores["crps"].append(crps_of_members(came, paths))
        scores["energy_score"].append(energy_score(came, paths))
        scores["variogram_score"].append(variogram_score(came, paths))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def _came(walk: PriceWalk) -> FloatArray:
    return walk.days.wall_eur_per_mwh[walk.first_index : walk.first_index + len(walk)]


def _measure_fleets() -> dict[str, Value]:
    """Return what scenarios of a fleet cost, from a history of eight weeks with 100 000 sessions a day."""
    generator = np.random.default_rng(20260506)
    zone, first = "Europe/Brussels", DeliveryDay(day=date(2026, 3, 8), zone="Europe/Brussels")
    starts = [int(first.next(n).interval.start.timestamp()) for n in range(7 * HISTORY_WEEKS)]
    count = SESSION_COUNT * len(starts)
    arrival = np.repeat(np.array(starts, dtype=np.int64), SESSION_COUNT) + generator.integers(0, 82_800, count)
    stay = generator.integers(1_800, 43_200, count)
    power = generator.choice([3.7, 7.4, 11.0], count)
    history = SessionHistory(
        covered_since=first.interval.start,
        arrival_s=arrival,
        departure_s=arrival + stay,
        power_kw=power,
        energy_kwh=np.minimum(generator.lognormal(2.4, 0.6, count), 0.9 * power * stay / 3600.0),
        site_index=np.zeros(count, dtype=np.int64),
    )
    target = first.next(len(starts) + 2)
    frame = ForecastFrame(
        grid=TimeGrid(start=target.interval.start, count=96), zone=zone, known_until=target.next(-1).interval.start
    )
    started = time.process_time()
    drawn = draw_days(history, frame, SCENARIO_COUNT, generator)
    sessions = [int(table.session_count.sum()) for table in scenario_tables(history, frame, drawn)]
    spent = time.process_time() - started
    return {
        "name": f"{SCENARIO_COUNT} scenarios of a fleet, a day",
        "cpu_s": spent,
        "sessions_per_scenario": int(np.mean(sessions)),
        "ms_per_scenario": 1e3 * spent / SCENARIO_COUNT,
    }


def _number(value: Value) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a measurement must be a number")
    return float(value)
