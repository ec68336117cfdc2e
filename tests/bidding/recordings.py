"""Small recordings to walk through: a few cars a day, prices with a cheap night."""

from datetime import date, time, timedelta

import numpy as np

from bidding.backtest.recording import RealisedSessions, RecordedDay, Recording
from bidding.orders.market_file import parse_markets
from bidding.orders.market_products import MarketBook
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.units import QUARTER_HOUR

ZONE = "Europe/Brussels"
HOUR = timedelta(hours=1)


def book(*, with_blocks: bool = True) -> MarketBook:
    rules = {
        "valid_from": date(2014, 1, 1),
        "mtu_minutes": 15,
        "gate_days_before": 1,
        "gate_local_time": time(12),
        "lot_mw": "0.1",
        "min_volume_mw": "0.1",
        "price_tick_per_mwh": "0.01",
        "min_price_per_mwh": "-500",
        "max_price_per_mwh": "4000",
        "max_curve_points": 200,
    }
    specification = {
        "valid_from": date(2014, 1, 1),
        "specification": "made up for tests",
        "max_blocks_per_group": 24,
        "max_groups": 4,
        "max_block_mw": "600",
        "min_block_minutes": 15,
        "max_block_minutes": 1500,
        "takes_gaps": True,
    }
    auction: dict[str, object] = {"currency": "EUR", "time_zone": ZONE, "rules": [rules]}
    hourly: dict[str, object] = {**auction, "rules": [{**rules, "mtu_minutes": 60}]}
    if with_blocks:
        auction["specifications"] = [specification]
        hourly["specifications"] = [specification]
    return parse_markets({"auctions": {"quarters": auction, "hours": hourly}})


def prices(first: date, count: int, seed: int = 0, step: timedelta = QUARTER_HOUR) -> tuple[RecordedDay, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        day = DeliveryDay(day=first + timedelta(days=number), zone=ZONE)
        grid = day.grid(step)
        hour = np.arange(grid.count) * grid.step_hours
        shape = 80.0 - 40.0 * np.exp(-(((hour - 3.0) / 2.5) ** 2)) + 60.0 * np.exp(-(((hour - 19.0) / 2.0) ** 2))
        price = np.round(shape + rng.normal(0.0, 5.0, grid.count), 2)
        imbalance = np.round(price + rng.normal(0.0, 30.0, grid.count), 2)
        found.append(RecordedDay(day=day, day_ahead_eur_per_mwh=price, imbalance_eur_per_mwh=imbalance))
    return tuple(found)


def sessions(first: date, count: int, per_day: int, seed: int = 0, *, silent: float = 0.0) -> RealisedSessions:
    """Evening arrivals that stay overnight and morning arrivals that leave in the afternoon, half of each."""
    rng = np.random.default_rng(seed)
    arrival, departure, energy = [], [], []
    for number in range(count):
        start = DeliveryDay(day=first + timedelta(days=number), zone=ZONE).interval.start.timestamp()
        overnight = rng.random(per_day) < 0.5
        come = np.where(overnight, rng.normal(18.0, 1.0, per_day), rng.normal(8.5, 0.5, per_day))
        stay = np.where(overnight, rng.normal(13.0, 1.0, per_day), rng.normal(8.0, 0.5, per_day))
        arrival.append(np.rint(start + come * 3600.0))
        departure.append(np.rint(start + (come + np.maximum(stay, 1.0)) * 3600.0))
        energy.append(rng.uniform(200.0, 600.0, per_day))
    came, left, taken = np.concatenate(arrival), np.concatenate(departure), np.concatenate(energy)
    said_when, said_what = rng.random(len(came)) >= silent, rng.random(len(came)) >= silent
    return RealisedSessions(
        arrival_s=came.astype(np.int64),
        departure_s=left.astype(np.int64),
        power_kw=np.full(len(came), 220.0),
        energy_kwh=taken,
        site_index=np.zeros(len(came), dtype=np.int64),
        stated_departure_s=np.where(said_when, left, np.nan),
        stated_energy_kwh=np.where(said_what, taken, np.nan),
    )


def recording(
    first: date = date(2025, 10, 6),
    *,
    past_days: int = 14,
    count: int = 5,
    per_day: int = 20,
    silent: float = 0.0,
    step: timedelta = QUARTER_HOUR,
    seed: int = 0,
) -> Recording:
    """A recording whose sessions and prices go back `past_days` before `first` and on for `count` days and one."""
    since = first - timedelta(days=past_days)
    return Recording(
        zone=ZONE,
        period=step,
        days=prices(since, past_days + count + 1, seed, step),
        sessions=sessions(since, past_days + count + 1, per_day, seed, silent=silent),
        site_classes=("home",),
        covered_since=DeliveryDay(day=since, zone=ZONE).interval.start,
    )
