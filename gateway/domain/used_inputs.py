"""What a plan or a cost was made from, with how far each may be trusted: prices, carbon intensity, the site's tariff.

It is kept beside the result, because a series that is estimated today is final tomorrow, and the plan was made from it today.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from gateway.domain.series import CarbonBasis, CarbonScope, CarbonSeries, PriceSeries, Quality
from gateway.domain.site_tariff import ILLUSTRATIVE, SiteTariff

FORECAST = "forecast"
"""Quality of prices that are not published but modelled from earlier days."""


class InputKind(StrEnum):
    """What went in."""

    PRICES = "prices"
    CARBON = "carbon"
    TARIFF = "tariff"
    """Layers of a site's tariff, on top of a market's prices or in place of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedInput:
    """One thing that went in."""

    kind: InputKind
    quality: str
    """`final`, `preliminary`, `estimated`, `substituted` or `forecast`."""
    source: str
    what: str
    """What of it, for example `day-ahead-sdac` or `average, lifecycle, production`."""
    series: str | None = None
    """Id of the series; None for what is no series."""
    published_at: datetime | None = None
    """When the source says that it published; None when it does not say."""
    issued_at: datetime | None = None
    """When the forecast in it was made; None when nothing in it is a forecast, or nobody says."""
    note: str = ""

    def told(self) -> str:
        """Return in one line where it comes from, the same text everywhere; the quality stands beside it."""
        parts = [f"{self.what} from {self.source}"]
        if self.published_at is not None:
            parts.append(f"published {self.published_at:%Y-%m-%d %H:%M}Z")
        if self.issued_at is not None:
            parts.append(f"forecast issued {self.issued_at:%Y-%m-%d %H:%M}Z")
        return ", ".join(parts) + (f" ({self.note})" if self.note else "")


def published_prices(series: PriceSeries) -> UsedInput:
    """Return prices that a source has published."""
    return UsedInput(
        kind=InputKind.PRICES,
        quality=series.quality.value,
        source=series.source,
        what=series.product.value,
        series=series.id,
        published_at=series.published_at,
        note=series.note,
    )


def forecast_prices(what: str, made_at: datetime, note: str) -> UsedInput:
    """Return prices that the planner modelled from earlier days.

    Args:
        what: Product, for example `day-ahead-sdac`.
        made_at: When they were modelled.
        note: How, for people.
    """
    return UsedInput(
        kind=InputKind.PRICES, quality=FORECAST, source="own model", what=what, issued_at=made_at, note=note
    )


def known_carbon(series: CarbonSeries) -> UsedInput:
    """Return a carbon series; a value of it that is a forecast has the series' issue time."""
    measure = [series.kind.value]
    measure += [series.basis.value] if series.basis is not CarbonBasis.UNSTATED else []
    measure += [series.scope.value] if series.scope is not CarbonScope.UNSTATED else []
    return UsedInput(
        kind=InputKind.CARBON,
        quality=series.quality.value,
        source=series.source,
        what=f"carbon intensity ({', '.join(measure)})",
        series=series.id,
        issued_at=series.issued_at,
        note=series.note,
    )


def site_layers(tariff: SiteTariff, day: date) -> UsedInput:
    """Return a site's tariff on a day: final, or estimated when amounts of it are illustrative, which are named."""
    examples = tariff.illustrative_on(day)
    return UsedInput(
        kind=InputKind.TARIFF,
        quality=(Quality.ESTIMATED if examples else Quality.FINAL).value,
        source=tariff.source,
        what=tariff.name,
        note=f"{ILLUSTRATIVE}: {', '.join(examples)}" if examples else "",
    )


def qualities(inputs: Iterable[UsedInput], kind: InputKind) -> str:
    """Return the qualities of one kind as one text, each once, in their order; empty when nothing of it went in."""
    return "; ".join(dict.fromkeys(one.quality for one in inputs if one.kind is kind))


def provenance(inputs: Sequence[UsedInput], kind: InputKind) -> str:
    """Return where one kind came from as one text; empty when nothing of it went in."""
    return "; ".join(one.told() for one in inputs if one.kind is kind)
