"""What else a site draws behind its meter: lighting, lifts, offices. Synthetic profiles by kind of place, with seeded noise."""

import hashlib
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.fleet_statistics import Floats

_MINUTE_S = 60
_QUARTER_MIN = 15
_NOISE_SHARE = 0.05
_SATURDAY = 5
_WEEKEND_SHARE = 0.35
"""What a workplace still draws on a weekend, as a share of its weekday."""

SHARE_BY_HOUR = {
    # Common services of a block of flats: lifts and lighting, highest in the evening.
    "home": (0.5, 0.4, 0.4, 0.4, 0.4, 0.5, 0.7, 0.8, 0.7, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.9, 1, 1, 1, 0.9, 0.8, 0.6),
    # Lighting and displays of a hub: highest in the dark.
    "public": (1, 1, 1, 1, 1, 1, 1, 0.7, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.7, 1, 1, 1, 1, 1, 1),
    # An office on a weekday.
    "workplace": (0.3, 0.3, 0.3, 0.3, 0.3, 0.35, 0.5, 0.75, 0.95, 1, 1, 1, 0.95, 1, 1, 1, 0.9, 0.7, 0.5, 0.4, 0.35, 0.3, 0.3, 0.3),
}  # fmt: skip
"""Share of the peak in each local hour."""
PEAK_SHARE_OF_RATING = {"home": 0.12, "public": 0.03, "workplace": 0.35}
"""Peak of the other load over what the chargers of the site may draw."""


def draw_other_load(day: DeliveryDay, sites: Sequence[tuple[str, str, float]], seed: int) -> Floats:
    """Return the other load of each site in kW in each minute of a delivery day, shape (sites, 1380 | 1440 | 1500).

    Args:
        day: Day of the market; the profile follows its local clock.
        sites: Id, kind of place and rating in kW of each site.
        seed: With day and site it decides the noise.
    """
    grid = day.grid()
    quarters = np.arange(grid.count) * _QUARTER_MIN
    minutes = np.arange(grid.count * _QUARTER_MIN)
    zone = ZoneInfo(day.zone)
    local = [start.astimezone(zone) for start in grid.starts()]
    hour = np.array([at.hour + at.minute / 60.0 for at in local])
    rows = []
    for site, kind, rating_kw in sites:
        share = np.interp(hour, np.arange(24.0) + 0.5, SHARE_BY_HOUR[kind], period=24.0)
        if kind == "workplace" and day.day.weekday() >= _SATURDAY:
            share = share * _WEEKEND_SHARE
        digest = int.from_bytes(hashlib.blake2b(site.encode(), digest_size=8).digest(), "big")
        noise = np.random.default_rng([seed, day.day.toordinal(), digest, 1]).normal(1.0, _NOISE_SHARE, grid.count)
        power_kw = PEAK_SHARE_OF_RATING[kind] * rating_kw * share * np.maximum(noise, 0.0)
        rows.append(np.interp(minutes, quarters, power_kw))
    return np.array(rows).reshape(len(sites), len(minutes))
