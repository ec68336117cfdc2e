"""Ids and notes of series, said once for all sources."""

import dataclasses
from collections.abc import Iterable

from gateway.domain.series import CarbonSeries, PriceSeries, carbon_series_id, price_series_id
from gateway.domain.timegrid import DeliveryDay

STAND_IN_NOTE = "stand-in values"
UNNAMED = ""
"""Id of a series until its content is known."""


def named_prices(series: PriceSeries, day: DeliveryDay) -> PriceSeries:
    """Return the series under the id of its content: fetched again it has the same id, a revision has another one."""
    return dataclasses.replace(series, id=price_series_id(series, day))


def named_carbon(series: CarbonSeries, day: DeliveryDay) -> CarbonSeries:
    """Return the series under the id of its content; see `named_prices`."""
    return dataclasses.replace(series, id=carbon_series_id(series, day))


def joined_note(notes: Iterable[str], stand_in: str | None) -> str:
    """Return the note of a series; values that are not of this day or place say so first."""
    first = () if stand_in is None else (f"{STAND_IN_NOTE}: {''.join(s for s in stand_in[:200] if s.isprintable())}",)
    return "; ".join((*first, *notes))
