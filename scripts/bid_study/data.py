"""The recordings of the bid study: prices and sessions, each with a label that says where it is from and what was changed."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from bidding.backtest.recording import RealisedSessions, RecordedDay, Recording
from gateway.domain.timegrid import DeliveryDay, zone_of
from gateway.domain.units import QUARTER_HOUR
from gateway.sandbox.fleet_sessions import SessionBook, SessionTable, SiteChargers
from gateway.sandbox.fleet_statistics import load_statistics

ROOT = Path(__file__).resolve().parents[2]
BELGIUM = "Europe/Brussels"
NETHERLANDS = "Europe/Amsterdam"
CALIFORNIA = "America/Los_Angeles"
HOUR = timedelta(hours=1)
SEED = 20251001
CHARGERS = {"home": (650, 11.0), "workplace": (320, 11.0), "public": (41, 22.0)}
"""Chargers per 1,000 sessions a day and their power in kW: 65 % at home, 25 % at work, 10 % in public."""
HISTORY_DAYS = 42
"""Days of sessions before the first delivery day, to forecast from."""
ACN_POWER_KW = 7.0
ACN_FIRST = date(2019, 5, 1)
ACN_HISTORY_DAYS = 14
"""The recorded month is short: two weeks of it are the first forecast's past."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """One data set of the study."""

    name: str
    """Short, without spaces: also the name of its file."""
    label: str
    """For people: what it is and what is modelled of it."""
    market: str
    recording: Recording
    first: date
    last: date


def belgium(data: Path | None) -> tuple[RecordedDay, ...]:
    """Return October 2025 with imbalance prices; with the research data also the two months before, to forecast from.

    Before 1 October 2025 Belgium traded hours: these prices are repeated four times and only forecast from.
    """
    file = ROOT / "config" / "data" / "be_october_2025" / "prices.csv"
    rows = list(_rows(file))
    october = _days(
        [row["start_utc"] for row in rows],
        [float(row["day_ahead_eur_per_mwh"]) for row in rows],
        BELGIUM,
        QUARTER_HOUR,
        imbalance=[float(row["imbalance_eur_per_mwh"]) for row in rows],
    )
    if data is None:
        return october
    longer = list(_rows(data / "dayahead_imbalance_be_15min_2024_2025" / "dam_prices.csv.gz"))
    kept = [row for row in longer if "2025-04" <= row["datetime_utc"][:7] <= "2025-09"]
    before = _days(
        [row["datetime_utc"] for row in kept], [float(row["price_eur_mwh"]) for row in kept], BELGIUM, QUARTER_HOUR
    )
    return (*(one for one in before if one.day.day < october[0].day.day), *october)


def netherlands(data: Path, first: date, last: date) -> tuple[RecordedDay, ...]:
    """Return hourly day-ahead prices of the Netherlands; no imbalance price is held."""
    rows = _rows(data / "dayahead_nl_ember_2015_2025" / "nl_dayahead_hourly_utc.csv.gz")
    since, until = (first - timedelta(days=1)).isoformat(), (last + timedelta(days=2)).isoformat()
    kept = [row for row in rows if since <= row["start_utc"][:10] <= until]
    days = _days([row["start_utc"] for row in kept], [float(row["price_eur_mwh"]) for row in kept], NETHERLANDS, HOUR)
    return tuple(one for one in days if first <= one.day.day <= last)


def _rows(file: Path) -> Iterator[dict[str, str]]:
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    yield from csv.DictReader(text.decode().splitlines())


def _days(
    starts: list[str], prices: list[float], zone: str, step: timedelta, imbalance: list[float] | None = None
) -> tuple[RecordedDay, ...]:
    """Return the whole delivery days among the rows; a missing period (clock change) takes the price before it."""
    instants = [datetime.fromisoformat(start).astimezone(UTC) for start in starts]
    at = {instant: index for index, instant in enumerate(instants)}
    found: list[RecordedDay] = []
    day = DeliveryDay.containing(instants[0], zone)
    if day.interval.start < instants[0]:
        day = day.next()
    while day.next().interval.start <= instants[-1] + step:
        places: list[int] = []
        for instant in day.grid(step).starts():
            places.append(at[instant] if instant in at or not places else places[-1])
        found.append(
            RecordedDay(
                day=day,
                day_ahead_eur_per_mwh=np.array([prices[place] for place in places]),
                imbalance_eur_per_mwh=None if imbalance is None else np.array([imbalance[place] for place in places]),
            )
        )
        day = day.next()
    return tuple(found)


# ---------------------------------------------------------------- sessions


def synthetic(
    first: date, last: date, per_day: int, counted: int, zone: str
) -> tuple[RealisedSessions, tuple[str, ...]]:
    """Return the sandbox's synthetic fleet with this many sessions a day, each counted several times.

    Drawn day by day as the demonstration draws it, from Dutch home and public and Californian workplace statistics.
    """
    sites: list[SiteChargers] = []
    begin = 0
    for place, (count, power) in CHARGERS.items():
        number = max(1, round(count * per_day / 1000))
        charger = np.arange(begin, begin + number)
        phases = np.full(number, 3, dtype=np.int64)
        sites.append(
            SiteChargers(
                site=f"{place}-{zone}", site_class=place, charger=charger, max_kw=np.full(number, power), phases=phases
            )
        )
        begin += number
    book = SessionBook(DeliveryDay(day=first, zone=zone), sites, SEED, load_statistics())
    table = SessionTable.join([book.draw_next() for _ in range((last - first).days + 1)])
    site_of = np.repeat(np.arange(len(sites)), [len(site.charger) for site in sites])
    sessions = RealisedSessions(
        arrival_s=table.arrival_s,
        departure_s=np.maximum(table.departure_s, table.arrival_s + 60),
        power_kw=table.max_kw * counted,
        energy_kwh=table.energy_kwh * counted,
        site_index=site_of[table.charger],
        stated_departure_s=table.stated_departure_s,
        stated_energy_kwh=table.stated_energy_kwh * counted,
    )
    return sessions, tuple(CHARGERS)


def recorded_acn(first: date, counted: int, zone: str) -> tuple[RealisedSessions, tuple[str, ...], date]:
    """Return the Californian month moved to the market's wall clock, its first day on `first`, and its last day.

    Weekdays must agree. Each session is counted several times.
    """
    if first.weekday() != ACN_FIRST.weekday():
        raise ValueError(f"{first} is another weekday than {ACN_FIRST}")
    rows = list(_rows(ROOT / "config" / "data" / "us_2019" / "sessions.csv"))
    shift = first - ACN_FIRST
    arrival, departure, announced = (
        np.array([_moved(row[name], shift, zone) for row in rows])
        for name in ("arrival", "departure", "estimated_departure")
    )
    requested = np.array([float(row["requested_kwh"]) if row["requested_kwh"] else np.nan for row in rows])
    order = np.argsort(arrival, kind="stable")
    sessions = RealisedSessions(
        arrival_s=arrival[order].astype(np.int64),
        departure_s=np.maximum(departure, arrival + 60)[order].astype(np.int64),
        power_kw=np.full(len(rows), ACN_POWER_KW * counted),
        energy_kwh=np.array([float(row["delivered_kwh"]) for row in rows])[order] * counted,
        site_index=np.zeros(len(rows), dtype=np.int64),
        stated_departure_s=np.where(announced <= arrival, np.nan, announced)[order],
        stated_energy_kwh=requested[order] * counted,
    )
    last = first + timedelta(days=30)
    return sessions, ("workplace",), last


def _moved(instant: str, shift: timedelta, zone: str) -> float:
    """Return the same wall clock in another zone some days later, in seconds since 1970; NaN when nothing is given."""
    if not instant:
        return float("nan")
    wall = datetime.fromisoformat(instant).replace(tzinfo=None) + shift
    return wall.replace(tzinfo=zone_of(zone)).timestamp()


# ---------------------------------------------------------------- the studies


def belgian_studies(data: Path | None, per_day: int, counted: int) -> list[Study]:
    """Return Belgium October 2025 with the synthetic fleet and with the recorded Californian month."""
    days = belgium(data)
    last = date(2025, 10, 19)
    first = date(2025, 10, 1) if data is not None else date(2025, 10, 8)
    since = first - timedelta(days=HISTORY_DAYS)
    sessions, classes = synthetic(since, last + timedelta(days=1), per_day, counted, BELGIUM)
    fleet = Recording(
        zone=BELGIUM,
        period=QUARTER_HOUR,
        days=days,
        sessions=sessions,
        site_classes=classes,
        covered_since=DeliveryDay(day=since, zone=BELGIUM).interval.start,
    )
    acn_first = date(2025, 9, 17) if data is not None else date(2025, 9, 24)
    recorded, acn_classes, acn_last = recorded_acn(acn_first, counted * per_day // 100, BELGIUM)
    acn = replace(
        fleet,
        sessions=recorded,
        site_classes=acn_classes,
        covered_since=DeliveryDay(day=acn_first, zone=BELGIUM).interval.start,
    )
    return [
        Study(
            name="be-2025-synthetic",
            label="Belgium October 2025, quarter-hours, recorded imbalance prices; synthetic European fleet",
            market="sdac",
            recording=fleet,
            first=first,
            last=last,
        ),
        Study(
            name="be-2025-acn",
            label="Belgium October 2025; recorded Californian workplace sessions (ACN, May 2019) moved to these prices",
            market="sdac",
            recording=acn,
            first=acn_first + timedelta(days=ACN_HISTORY_DAYS),
            last=min(last, acn_last - timedelta(days=1)),
        ),
    ]


def dutch_study(data: Path, year: int, per_day: int, counted: int, days: int) -> Study:
    """Return the first days of a Dutch year with the synthetic fleet: hourly, no imbalance price held."""
    first = date(year, 1, 8)
    last = min(first + timedelta(days=days - 1), date(year, 12, 29))
    since = first - timedelta(days=HISTORY_DAYS)
    sessions, classes = synthetic(since, last + timedelta(days=1), per_day, counted, NETHERLANDS)
    prices = netherlands(data, date(year - 2, 1, 1), last + timedelta(days=1))
    recording = Recording(
        zone=NETHERLANDS,
        period=HOUR,
        days=prices,
        sessions=sessions,
        site_classes=classes,
        covered_since=DeliveryDay(day=since, zone=NETHERLANDS).interval.start,
    )
    return Study(
        name=f"nl-{year}-synthetic",
        label=f"Netherlands {year}, hourly auctions, deviations at day-ahead +/- a spread; synthetic European fleet",
        market="sdac",
        recording=recording,
        first=first,
        last=last,
    )
