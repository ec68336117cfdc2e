"""Small worlds for tests of the fleet: an inventory of a few chargers, sites, cars and a clock that tests move."""

import tomllib
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import numpy as np

from gateway.domain.inventory import Inventory, parse_inventory
from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import ClockAnchor, write_anchor
from gateway.sandbox.fleet_sessions import SessionBook, SessionTable, SiteChargers
from gateway.sandbox.fleet_simulation import FleetOptions, FleetSimulation, own_sites
from gateway.sandbox.fleet_statistics import SessionStatistics, load_statistics

ZONE = "Europe/Brussels"
MONDAY = DeliveryDay(day=date(2025, 10, 13), zone=ZONE)
START = datetime(2025, 10, 14, 9, tzinfo=UTC)
START_S = int(START.timestamp())

INVENTORY = """
tenant = "demo"

[[portfolios]]
id = "vpp"
name = "Portfolio"
max_import_kw = 9000.0
fail_safe_import_kw = 900.0
bidding_zone = "BE"
time_zone = "Europe/Brussels"
currency = "EUR"
route = "via-BRP"
brp = "brp-demo"
exchange_portfolio = "BE-EV"
max_order_mw = "8"
max_day_mwh = "120"
"""
SITE = """
[[sites]]
id = "{site}"
portfolio = "vpp"
name = "Site"
max_import_kw = 900.0
fail_safe_import_kw = 90.0
connection_points = [{{ id = "{site}-ean", dso = "dso-demo", brp = "brp-demo", site_class = "{kind}" }}]
circuits = [{{ id = "{site}-c1", name = "Feeder", max_import_kw = 800.0, fail_safe_import_kw = 80.0 }}]

[[sites.charger_groups]]
parent = "{site}-c1"
id_prefix = "{site}-"
count = {count}
csms = "csms-demo"
phases = 3
max_import_kw = 11.0
min_import_kw = 1.38
fallback_kw = 1.38
"""


@cache
def statistics() -> SessionStatistics:
    """Return the shipped statistics."""
    return load_statistics()


def inventory_text(*sites: tuple[str, str, int]) -> str:
    """Return an inventory file with these sites: id, kind of place, number of chargers."""
    return INVENTORY + "".join(SITE.format(site=site, kind=kind, count=count) for site, kind, count in sites)


def small_inventory(*sites: tuple[str, str, int]) -> Inventory:
    """Return the inventory of `inventory_text`."""
    return parse_inventory(tomllib.loads(inventory_text(*sites)))


def options(*, seed: int = 7, rejecting: float = 0.0, not_following: float = 0.0) -> FleetOptions:
    """Return options; by default all chargers obey."""
    return FleetOptions(
        csms="csms-demo",
        seed=seed,
        rejecting_share=rejecting,
        not_following_share=not_following,
    )


def small_world(
    *, chosen: FleetOptions | None = None, start: datetime = START, count: int = 20, history_days: int = 2
) -> FleetSimulation:
    """Return a world of a home, a public and a workplace site with `count` chargers each, as it is at `start`."""
    inventory = small_inventory(("h", "home", count), ("p", "public", count), ("w", "workplace", count))
    return world_of(inventory, chosen or options(), start, history_days)


def world_of(inventory: Inventory, chosen: FleetOptions, start: datetime, history_days: int) -> FleetSimulation:
    """Return a world of drawn sessions."""
    first = DeliveryDay.containing(start, ZONE).next(-history_days)
    book = SessionBook(first, own_sites(inventory, chosen.csms), chosen.seed, statistics())
    return FleetSimulation(inventory, book, chosen, start)


def site(kind: str, count: int, *, name: str = "site-01", max_kw: float = 11.0, phases: int = 3) -> SiteChargers:
    """Return a site of equal chargers."""
    return SiteChargers(
        site=name,
        site_class=kind,
        charger=np.arange(count),
        max_kw=np.full(count, max_kw),
        phases=np.full(count, phases),
    )


def cars(
    count: int,
    *,
    arrival_s: int = START_S,
    departure_s: int = START_S + 36_000,
    energy_kwh: float = 20.0,
    battery_kwh: float = 60.0,
    start_soc: float = 0.2,
    max_kw: float = 11.0,
    phases: int = 3,
) -> SessionTable:
    """Return equal cars on chargers 0 to count - 1."""
    return SessionTable(
        id=np.array([f"ses-{number}" for number in range(count)], dtype="U20"),
        charger=np.arange(count),
        arrival_s=np.full(count, arrival_s),
        departure_s=np.full(count, departure_s),
        energy_kwh=np.full(count, energy_kwh),
        battery_kwh=np.full(count, battery_kwh),
        start_soc=np.full(count, start_soc),
        max_kw=np.full(count, max_kw),
        phases=np.full(count, phases),
        stated_energy_kwh=np.full(count, energy_kwh),
        stated_departure_s=np.full(count, np.nan),
    )


def stand_clock(path: Path, market: datetime) -> Path:
    """Let the clock of a file stand (all but) still at a market time; called again it jumps."""
    write_anchor(path, ClockAnchor(market_anchor=market, monotonic_anchor=0.0, speed=1e-12))
    return path
