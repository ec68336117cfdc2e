"""Values over time that come from outside: prices and carbon intensity, each a belief with source, time and quality.

A gap is `None` in its slot and is never filled silently. Two auctions, two currencies, or average and marginal carbon never
mix: they are different series. What is modelled, shifted or a stand-in says so in `quality` or `note`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from gateway.domain.contradictions import Contradiction
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash
from gateway.domain.timegrid import DeliveryDay, TimeGrid, require_utc


class Quality(StrEnum):
    """How far a value may be trusted."""

    FINAL = "final"
    PRELIMINARY = "preliminary"
    ESTIMATED = "estimated"
    SUBSTITUTED = "substituted"
    """Not this day or place: a stand-in, labelled so wherever it is shown."""


class PriceProduct(StrEnum):
    """What a price is the price of."""

    DAY_AHEAD_SDAC = "day-ahead-sdac"
    DAY_AHEAD_EXAA = "day-ahead-exaa"
    DAY_AHEAD_LOCAL = "day-ahead-local"
    """An auction of one zone alone: outside the coupling, or when the coupling has failed."""
    DAY_AHEAD_LMP = "day-ahead-lmp"
    """Locational marginal price of a node in a US day-ahead market."""
    INTRADAY_IDA1 = "intraday-ida1"
    """First European intraday auction, 15:00 the day before."""
    INTRADAY_IDA2 = "intraday-ida2"
    """Second, 22:00 the day before."""
    INTRADAY_IDA3 = "intraday-ida3"
    """Third, 10:00 on the day, for its second half."""
    INTRADAY_REFERENCE = "intraday-reference"
    """What short-term trading of a period cost on average; nobody buys at it, contracts and risk refer to it."""
    IMBALANCE = "imbalance"
    """One price for both directions."""
    IMBALANCE_LONG = "imbalance-long"
    """What a surplus is paid where two prices hold: less was drawn than bought."""
    IMBALANCE_SHORT = "imbalance-short"
    """What a deficit costs where two prices hold: more was drawn than bought."""
    TARIFF_ENERGY = "tariff-energy"
    PROGRAM_TARIFF = "program-tariff"
    """What a grid partner's program charges per MWh drawn, as its events say."""
    PROGRAM_EXPORT_TARIFF = "program-export-tariff"
    """What a grid partner's program pays per MWh fed in, as its events say."""


class CarbonKind(StrEnum):
    """Average and marginal intensity answer different questions and never mix."""

    AVERAGE = "average"
    MARGINAL = "marginal"


class CarbonBasis(StrEnum):
    """What counts as emitted."""

    DIRECT = "direct"
    """At the power plant alone."""
    LIFECYCLE = "lifecycle"
    """With fuel, building and waste of the plant."""
    UNSTATED = "unstated"


class CarbonScope(StrEnum):
    """Whose electricity is counted."""

    PRODUCTION = "production"
    """Produced in the zone."""
    CONSUMPTION = "consumption"
    """Used in the zone, with what flows in and out."""
    UNSTATED = "unstated"


@dataclass(frozen=True, kw_only=True, slots=True)
class CarbonMeasure:
    """What an intensity is an intensity of; two measures are two questions and never meet in one calculation."""

    kind: CarbonKind
    basis: CarbonBasis
    scope: CarbonScope


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotRun:
    """Slots in a row whose prices have one origin and one native resolution."""

    count: int
    """Slots, at least 1."""
    native_step: timedelta
    """Length of the periods that the source has prices of: an hour's price stands in each of its quarter-hours."""
    source: str
    quality: Quality


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceSeries:
    """Prices of one product in one zone on one grid."""

    id: str
    zone: str
    """Bidding zone, imbalance area or tariff, for example `BE`."""
    product: PriceProduct
    currency: str
    """ISO 4217 code."""
    grid: TimeGrid
    prices_per_mwh: tuple[Decimal | None, ...]
    """One price per slot in `currency` per MWh; None is a gap."""
    source: str
    published_at: datetime | None
    """When the source says it published; None when it does not say."""
    fetched_at: datetime
    quality: Quality
    licence: str
    note: str = ""
    """For people: what is special about this series (shifted, stand-in...)."""
    runs: tuple[SlotRun, ...] = ()
    """Native resolution and origin of its slots in order, gaps included; empty when all are of the grid's step and of `source` and
    `quality`. Where runs differ in quality, `quality` is the worst of them."""

    def __post_init__(self) -> None:
        """Reject a length that differs from the grid, non-finite prices, naive times and runs that do not fit the slots."""
        if len(self.prices_per_mwh) != self.grid.count:
            raise InvalidInput("prices_per_mwh", f"has {len(self.prices_per_mwh)} values, the grid {self.grid.count}")
        for index, price in enumerate(self.prices_per_mwh):
            if price is not None and not price.is_finite():
                raise InvalidInput(f"prices_per_mwh[{index}]", "must be a finite number")
        if len(self.currency) != 3:
            raise InvalidInput("currency", "must be an ISO 4217 code")
        require_utc("fetched_at", self.fetched_at)
        if self.runs and sum(run.count for run in self.runs) != self.grid.count:
            raise InvalidInput(
                "runs", f"are of {sum(run.count for run in self.runs)} slots, the grid {self.grid.count}"
            )
        for run in self.runs:
            if run.count < 1 or run.native_step < self.grid.step or run.native_step % self.grid.step:
                raise InvalidInput("runs", "must have slots and a native step that is a multiple of the grid's")

    @property
    def origins(self) -> tuple[SlotRun, ...]:
        """Native resolution, source and quality of all slots in order, run by run."""
        plain = SlotRun(count=self.grid.count, native_step=self.grid.step, source=self.source, quality=self.quality)
        return self.runs or (plain,)

    @property
    def origin_of_slot(self) -> tuple[SlotRun, ...]:
        """The run that each slot belongs to."""
        return tuple(run for run in self.origins for _ in range(run.count))

    @property
    def gaps(self) -> tuple[datetime, ...]:
        """Begins of the slots without a price."""
        return tuple(self.grid.slot_start(i) for i, price in enumerate(self.prices_per_mwh) if price is None)

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a price."""
        return all(price is not None for price in self.prices_per_mwh)

    def as_array(self) -> npt.NDArray[np.float64]:
        """Return the prices as floats in currency per MWh, shape (count,).

        Raises:
            InvalidInput: The series has a gap; an optimisation never sees one.
        """
        return _complete_array("prices_per_mwh", self.prices_per_mwh)


@dataclass(frozen=True, kw_only=True, slots=True)
class CarbonSeries:
    """Carbon intensity of electricity in one zone on one grid."""

    id: str
    zone: str
    kind: CarbonKind
    grid: TimeGrid
    intensity_g_per_kwh: tuple[float | None, ...]
    """One value per slot in g CO2(eq) per kWh; None is a gap."""
    source: str
    fetched_at: datetime
    quality: Quality
    licence: str
    note: str = ""
    basis: CarbonBasis = CarbonBasis.UNSTATED
    scope: CarbonScope = CarbonScope.UNSTATED
    issued_at: datetime | None = None
    """When the forecast in it was made; None when nothing in it is a forecast or the source does not say."""

    def __post_init__(self) -> None:
        """Reject a length that differs from the grid and values that are not finite or are negative."""
        if len(self.intensity_g_per_kwh) != self.grid.count:
            raise InvalidInput(
                "intensity_g_per_kwh", f"has {len(self.intensity_g_per_kwh)} values, the grid {self.grid.count}"
            )
        for index, value in enumerate(self.intensity_g_per_kwh):
            if value is not None and not (np.isfinite(value) and value >= 0.0):
                raise InvalidInput(f"intensity_g_per_kwh[{index}]", "must be a finite number of at least 0")
        require_utc("fetched_at", self.fetched_at)

    @property
    def measure(self) -> CarbonMeasure:
        """What the values are an intensity of."""
        return CarbonMeasure(kind=self.kind, basis=self.basis, scope=self.scope)

    @property
    def is_complete(self) -> bool:
        """Whether every slot has a value."""
        return all(value is not None for value in self.intensity_g_per_kwh)

    def as_array(self) -> npt.NDArray[np.float64]:
        """Return the intensities as floats in g/kWh, shape (count,).

        Raises:
            InvalidInput: The series has a gap.
        """
        return _complete_array("intensity_g_per_kwh", self.intensity_g_per_kwh)


def _complete_array(field: str, values: Sequence[Decimal | float | None]) -> npt.NDArray[np.float64]:
    out = np.empty(len(values))
    for index, value in enumerate(values):
        if value is None:
            raise InvalidInput(f"{field}[{index}]", "is a gap")
        out[index] = float(value)
    return out


class DayState(StrEnum):
    """How far the market data of a delivery day have come."""

    WAITING = "waiting"
    PARTIAL = "partial"
    COMPLETE = "complete"
    LATE = "late"
    DECOUPLED = "decoupled"
    """The coupling's own deadline for its results passed without any: local auctions may follow."""
    FALLBACK = "fallback"


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketDayStatus:
    """What is known about the prices of one zone and delivery day."""

    id: str
    """`{zone}:{product}:{day}`."""
    tenant: str
    zone: str
    product: PriceProduct
    day: str
    """Delivery day as ISO date in the market's time zone."""
    state: DayState
    missing_count: int
    series_id: str | None
    checked_at: datetime
    note: str = ""
    cross_check: str = ""
    """What a second source says about these prices; empty while none was compared."""
    contradiction: Contradiction | None = None
    """How exactly it contradicts them and what a person said about that; None when nobody does."""


DELIVERY_STEPS = frozenset({timedelta(minutes=15), timedelta(minutes=30), timedelta(minutes=60)})
"""Lengths of a delivery period that markets use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicationRule:
    """When the values of a delivery day come out, in the market's local time."""

    day_offset: int
    """Day of publication relative to the delivery day: -1 is the day before."""
    first_poll: time
    """Before it nobody asks."""
    late: time
    """From it on, a day that is not complete is LATE: people are told."""
    fallback: time | None
    """From it on, a stand-in is used; None when there is none for this product."""
    decoupled: time | None = None
    """From it on, a day of which nothing is published counts as decoupled; None where nothing is coupled."""
    delivery_from: time = time(0)
    """Local time of the delivery day before which the product has no values at all."""

    @property
    def is_published_once(self) -> bool:
        """Whether an auction sets the values before delivery, so that another value of a day is a revision."""
        return self.day_offset == -1

    def opens_at(self, day: DeliveryDay) -> datetime:
        """Return from when on asking makes sense."""
        return day.next(self.day_offset).at(self.first_poll)

    def late_at(self, day: DeliveryDay) -> datetime:
        """Return from when on missing values are late."""
        return day.next(self.day_offset).at(self.late)

    def fallback_at(self, day: DeliveryDay) -> datetime | None:
        """Return from when on a stand-in is used; None for never."""
        return None if self.fallback is None else day.next(self.day_offset).at(self.fallback)

    def decoupled_at(self, day: DeliveryDay) -> datetime | None:
        """Return from when on a day without any value is decoupled; None for never."""
        return None if self.decoupled is None else day.next(self.day_offset).at(self.decoupled)


_SETTLED_AFTERWARDS = PublicationRule(day_offset=1, first_poll=time(0, 5), late=time(12), fallback=None)
PUBLICATION: dict[PriceProduct, PublicationRule] = {
    PriceProduct.DAY_AHEAD_SDAC: PublicationRule(
        day_offset=-1, first_poll=time(12, 45), late=time(14), fallback=time(20), decoupled=time(14, 20)
    ),
    PriceProduct.DAY_AHEAD_EXAA: PublicationRule(
        day_offset=-1, first_poll=time(10, 20), late=time(11, 30), fallback=None
    ),
    PriceProduct.DAY_AHEAD_LOCAL: PublicationRule(day_offset=-1, first_poll=time(11), late=time(16), fallback=None),
    PriceProduct.DAY_AHEAD_LMP: PublicationRule(day_offset=-1, first_poll=time(13), late=time(15), fallback=None),
    PriceProduct.INTRADAY_IDA1: PublicationRule(day_offset=-1, first_poll=time(15, 10), late=time(16), fallback=None),
    PriceProduct.INTRADAY_IDA2: PublicationRule(day_offset=-1, first_poll=time(22, 10), late=time(23), fallback=None),
    PriceProduct.INTRADAY_IDA3: PublicationRule(
        day_offset=0, first_poll=time(10, 10), late=time(11), fallback=None, delivery_from=time(12)
    ),
    PriceProduct.INTRADAY_REFERENCE: PublicationRule(day_offset=1, first_poll=time(0, 5), late=time(12), fallback=None),
    PriceProduct.IMBALANCE: _SETTLED_AFTERWARDS,
    PriceProduct.IMBALANCE_LONG: _SETTLED_AFTERWARDS,
    PriceProduct.IMBALANCE_SHORT: _SETTLED_AFTERWARDS,
    PriceProduct.TARIFF_ENERGY: PublicationRule(day_offset=-7, first_poll=time(0), late=time(20), fallback=None),
    PriceProduct.PROGRAM_TARIFF: PublicationRule(day_offset=-1, first_poll=time(0), late=time(20), fallback=None),
    PriceProduct.PROGRAM_EXPORT_TARIFF: PublicationRule(
        day_offset=-1, first_poll=time(0), late=time(20), fallback=None
    ),
}
"""Results of the day-ahead coupling come from 12:45 and are late from 14:00; at 14:20 full decoupling is declared (message of Nord
Pool of May 2026); after 20:00 another day stands in. Intraday auctions clear at 15:00, 22:00 and 10:00 (SIDC)."""


def missing_slots(series: PriceSeries | None, product: PriceProduct, day: DeliveryDay) -> int:
    """Return how many delivery periods of the day that the product has values for have none.

    Args:
        series: The best series so far; None when nothing is published: then quarter-hours are counted.
        product: What the prices are of; the third intraday auction has values from noon on.
        day: The delivery day.
    """
    first = day.at(PUBLICATION[product].delivery_from)
    starts = day.grid().starts() if series is None else series.gaps
    return sum(start >= first for start in starts)


def judge_day(product: PriceProduct, series: PriceSeries | None, day: DeliveryDay, now: datetime) -> DayState:
    """Return how far the prices of a delivery day have come: complete only when every period of the day has one.

    Args:
        product: What the prices are of.
        series: The best series so far; None when nothing is published.
        day: The delivery day.
        now: The instant of judgement.
    """
    is_own = series is not None and series.quality is not Quality.SUBSTITUTED
    if is_own and missing_slots(series, product, day) == 0:
        return DayState.COMPLETE
    rule = PUBLICATION[product]
    fallback_at, decoupled_at = rule.fallback_at(day), rule.decoupled_at(day)
    if fallback_at is not None and now >= fallback_at:
        # Nobody plans a day that is over: what is missing of it stays missing and nothing stands in any more.
        is_over = now >= day.next().interval.start and (series is None or is_own)
        return DayState.LATE if is_over else DayState.FALLBACK
    if decoupled_at is not None and now >= decoupled_at and not is_own:
        return DayState.DECOUPLED
    if now >= rule.late_at(day):
        return DayState.LATE
    return DayState.WAITING if series is None else DayState.PARTIAL


def require_day(grid: TimeGrid, day: DeliveryDay) -> None:
    """Check that a grid covers exactly one delivery day: 92, 96 or 100 quarter-hours, or as many longer periods.

    Raises:
        InvalidInput: It begins or ends elsewhere, or its step is not one of a market.
    """
    if grid.step not in DELIVERY_STEPS:
        raise InvalidInput("series.grid.step", "must be 15, 30 or 60 minutes")
    if grid.start != day.interval.start or grid.end != day.interval.end:
        expected = day.grid(grid.step)
        raise InvalidInput("series.grid", f"must cover {day.day} in {day.zone}: {expected.count} periods")


def price_series_id(series: PriceSeries, day: DeliveryDay) -> str:
    """Return an id that is the same for the same prices and another one for a revision: `{zone}:{product}:{day}:{hash}`."""
    return _series_id(series, day.day.isoformat())


def series_id_of(series: PriceSeries) -> str:
    """Return the same id as `price_series_id` where only the series is known: noon of its day tells the day in every zone."""
    noon = series.grid.start + (series.grid.end - series.grid.start) / 2
    return _series_id(series, noon.date().isoformat())


def _series_id(series: PriceSeries, iso_day: str) -> str:
    content = [series.currency, series.grid, series.prices_per_mwh, series.source, series.quality, series.note]
    content += [series.runs] if series.runs else []
    return f"{series.zone}:{series.product.value}:{iso_day}:{content_hash(content)[:16]}"


def slot_runs(
    origins: Sequence[tuple[timedelta, str, Quality] | None], plain: tuple[timedelta, str, Quality]
) -> tuple[SlotRun, ...]:
    """Return the runs of slots in order; none when all are plain.

    Args:
        origins: Native step, source and quality of each slot; None for a gap, which belongs to the run before it.
        plain: Step of the grid, source and quality of the series.
    """
    found: list[list[tuple[timedelta, str, Quality]]] = []
    first = next((one for one in origins if one is not None), plain)
    for origin in origins:
        one = origin or (found[-1][0] if found else first)
        if found and found[-1][0] == one:
            found[-1].append(one)
        else:
            found.append([one])
    if all(run[0] == plain for run in found):
        return ()
    return tuple(SlotRun(count=len(run), native_step=run[0][0], source=run[0][1], quality=run[0][2]) for run in found)


def carbon_series_id(series: CarbonSeries, day: DeliveryDay) -> str:
    """Return an id that is the same for the same intensities and another one for a revision."""
    content = [series.grid, series.intensity_g_per_kwh, series.source, series.quality, series.note, series.measure]
    return f"{series.zone}:carbon-{series.kind.value}:{day.day.isoformat()}:{content_hash(content)[:16]}"


def market_day_id(zone: str, product: PriceProduct, day: DeliveryDay) -> str:
    """Return the id of the status row of a zone, product and delivery day."""
    return f"{zone}:{product.value}:{day.day.isoformat()}"
