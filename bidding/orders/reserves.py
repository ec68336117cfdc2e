"""Reserve offers and the evidence they rest on.

For a fleet that charges, reserve *up* means to draw less than planned and *down* to draw more. Whoever is paid to stand
ready must be able to: prequalified by the grid operator, measured to be fast enough, with energy for the whole activation.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray, finite_vector, require_each, same_length
from bidding.orders.market_products import ReserveKind, ValidDays
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.units import KW_PER_MW


@dataclass(frozen=True, kw_only=True, slots=True)
class Prequalification:
    """The grid operator's record that a portfolio may offer a product."""

    reference: str
    """Number or title of the record."""
    product: str
    days: ValidDays
    max_mw: Decimal
    """Most that may be offered."""

    def __post_init__(self) -> None:
        """Reject a record without reference or power."""
        if not self.reference.strip():
            raise InvalidInput("prequalification.reference", "must name the record")
        if not self.max_mw > 0:
            raise InvalidInput("prequalification.max_mw", "must be above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredActivation:
    """How fast the whole chain was, from the call to the meter."""

    reference: str
    """The test's record."""
    measured_on: date
    seconds: float
    """Until the whole power was there, slowest of the test."""

    def __post_init__(self) -> None:
        """Reject times that are no measurement."""
        if not np.isfinite(self.seconds) or self.seconds <= 0.0:
            raise InvalidInput("activation.seconds", "must be a finite number above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReserveEvidence:
    """What a portfolio can show."""

    prequalifications: tuple[Prequalification, ...] = ()
    activation: MeasuredActivation | None = None
    has_local_frequency: bool = False
    """Whether every site that answers measures the frequency itself."""

    def prequalification(self, product: str, day: date) -> Prequalification | None:
        """Return the record for a product on a delivery day, the one with the most power."""
        held = [one for one in self.prequalifications if one.product == product and one.days.holds_on(day)]
        return max(held, key=lambda one: one.max_mw, default=None)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Headroom:
    """Power that can be given and held for the whole activation, if the call comes in this slot."""

    grid: TimeGrid
    up_kw: FloatArray
    """By drawing less, shape (T,), at least 0."""
    down_kw: FloatArray
    """By drawing more, shape (T,), at least 0."""
    basis: str
    """How it was found, in a few words; goes with the offer."""

    def __post_init__(self) -> None:
        """Reject negative headroom and other lengths than the grid's."""
        for field in ("up_kw", "down_kw"):
            value = finite_vector(f"headroom.{field}", getattr(self, field), self.grid.count)
            require_each(f"headroom.{field}", value >= 0.0, "must be at least 0")
            object.__setattr__(self, field, value)

    def of_kind(self, kind: ReserveKind) -> FloatArray:
        """Return the headroom that counts for a product, kW per slot."""
        if kind is ReserveKind.SYMMETRIC:
            return np.minimum(self.up_kw, self.down_kw)
        return self.up_kw if kind is ReserveKind.UP else self.down_kw

    def without(self, offer: "ReserveOffer") -> "Headroom":
        """Return what is left when an offer is awarded whole: no power is sold twice."""
        taken = np.zeros(self.grid.count)
        for block in offer.blocks:
            taken[self.grid.sub(block.interval)] += float(block.volume_mw) * KW_PER_MW
        up = taken if offer.kind is not ReserveKind.DOWN else np.zeros_like(taken)
        down = taken if offer.kind is not ReserveKind.UP else np.zeros_like(taken)
        return Headroom(
            grid=self.grid,
            up_kw=np.maximum(self.up_kw - up, 0.0),
            down_kw=np.maximum(self.down_kw - down, 0.0),
            basis=self.basis,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ReserveBlock:
    """The offer for one block."""

    interval: Interval
    volume_mw: Decimal
    price_eur_per_mw_h: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class ReserveOffer:
    """Capacity offered for a delivery day."""

    product: str
    kind: ReserveKind
    day: date
    blocks: tuple[ReserveBlock, ...]
    prequalification: str
    """Reference of the record it rests on."""
    activation: str
    """Reference of the measurement it rests on."""
    basis: str
    """How the headroom was found."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReserveRefused:
    """Why nothing is offered."""

    product: str
    day: date
    reasons: tuple[str, ...]
    """One sentence each; all of them, so that they can be put right at once."""


def simple_headroom(  # noqa: PLR0913  # the store's bounds, by name
    grid: TimeGrid,
    *,
    base_kw: FloatArray,
    min_kw: FloatArray,
    max_kw: FloatArray,
    deferrable_kwh: FloatArray,
    advanceable_kwh: FloatArray,
    sustain_hours: float,
) -> Headroom:
    """Return the headroom of one store from its bounds: power beside the base, and energy for the whole activation.

    `up = min(base - min, deferrable / tau)`, `down = min(max - base, advanceable / tau)`. Sufficient where the bounds are
    those of one store (a battery, one car). **Bands of a fleet are no store**: a fleet's headroom needs the exact test with
    copies of the schedule.

    Args:
        grid: Slots.
        base_kw: Planned draw per slot.
        min_kw: Least draw per slot.
        max_kw: Most draw per slot.
        deferrable_kwh: Energy that can be drawn later instead, from each slot on.
        advanceable_kwh: Energy that can be drawn in advance, from each slot on.
        sustain_hours: Length of full activation, tau.

    Raises:
        InvalidInput: Arrays differ in length, the base is outside its bounds, or an energy or time is negative.
    """
    named = {
        "base_kw": base_kw,
        "min_kw": min_kw,
        "max_kw": max_kw,
        "deferrable_kwh": deferrable_kwh,
        "advanceable_kwh": advanceable_kwh,
    }
    same_length([("grid", grid.count), *((name, len(value)) for name, value in named.items())])
    base, least, most, later, sooner = (finite_vector(name, value) for name, value in named.items())
    require_each("base_kw", (least <= base) & (base <= most), "must lie between min_kw and max_kw")
    require_each("deferrable_kwh", later >= 0.0, "must be at least 0")
    require_each("advanceable_kwh", sooner >= 0.0, "must be at least 0")
    if not np.isfinite(sustain_hours) or sustain_hours <= 0.0:
        raise InvalidInput("sustain_hours", "must be a finite number above 0")
    return Headroom(
        grid=grid,
        up_kw=np.minimum(base - least, later / sustain_hours),
        down_kw=np.minimum(most - base, sooner / sustain_hours),
        basis="bounds of one store",
    )
