"""What markets sell and accept, by delivery day: auctions with their blocks and gates, and reserve products.

Exchanges and grid operators differ and change their rules, so a rule is data with a first and a last delivery day; it comes
from configuration through `market_file.parse_markets`. What one member may send as blocks is stated by the member's own
product specification: without it an auction has no blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from bidding.orders.curves import MarketRules
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay, Interval, TimeGrid, zone_of

MINUTES_PER_DAY = 24 * 60


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidDays:
    """Delivery days on which something holds, `[first, until)`."""

    first: date
    until: date | None = None
    """First delivery day on which it holds no longer; None while nothing else is known."""

    def __post_init__(self) -> None:
        """Reject spans without a day."""
        if self.until is not None and self.until <= self.first:
            raise InvalidInput("valid_to", "must be after valid_from")

    def holds_on(self, day: date) -> bool:
        """Tell whether the delivery day is inside."""
        return self.first <= day and (self.until is None or day < self.until)

    def overlaps(self, other: "ValidDays") -> bool:
        """Tell whether some day is inside both."""
        starts_before = other.until is None or self.first < other.until
        return starts_before and (self.until is None or other.first < self.until)


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Until when orders for a delivery day are taken, on the wall clock of the market."""

    days_before: int
    local_time: time
    time_zone: str

    def __post_init__(self) -> None:
        """Reject an unknown zone and gates after the delivery day."""
        zone_of(self.time_zone)
        if self.days_before < 0:
            raise InvalidInput("gate_days_before", "must be at least 0")

    def closure(self, day: date) -> datetime:
        """Return the first instant, UTC, at which orders for the delivery day are refused."""
        return DeliveryDay(day=day, zone=self.time_zone).next(-self.days_before).at(self.local_time)


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockRules:
    """What a member may send as blocks, from the member's product specification."""

    specification: str
    """Title and date of the document the numbers are from."""
    max_blocks_per_group: int
    max_groups: int
    """Exclusive groups of one portfolio in one auction."""
    max_block_mw: Decimal
    """Largest volume of a block in any period."""
    min_block_minutes: int
    """From the first to the last period with volume."""
    max_block_minutes: int
    takes_gaps: bool
    """Whether a block may have periods without volume between its first and its last one."""

    def __post_init__(self) -> None:
        """Reject a missing document and limits that leave no block."""
        if not self.specification.strip():
            raise InvalidInput("specification", "must name the document")
        for field in ("max_blocks_per_group", "max_groups", "max_block_mw", "min_block_minutes"):
            if not getattr(self, field) > 0:
                raise InvalidInput(field, "must be above 0")
        if self.max_block_minutes < self.min_block_minutes:
            raise InvalidInput("max_block_minutes", "must be at least min_block_minutes")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuctionRules:
    """The rules of one auction market on the delivery days they hold for."""

    market: str
    currency: str
    days: ValidDays
    gate: Gate
    mtu_minutes: int
    """Length of a delivery period (market time unit)."""
    curve: MarketRules
    """Lot, prices and points; its `slots_per_period` counts market time units, so it is 1."""
    blocks: BlockRules | None = None
    """None without the member's product specification: then no blocks are built."""

    def __post_init__(self) -> None:
        """Reject a market time unit that does not divide an hour and is no whole number of hours."""
        if self.mtu_minutes < 1 or MINUTES_PER_DAY % self.mtu_minutes:
            raise InvalidInput("mtu_minutes", "must divide the day")

    def curve_rules(self, slot_minutes: int) -> MarketRules:
        """Return the rules of a curve for a planning grid.

        Raises:
            InvalidInput: The planning slots do not divide the market time unit.
        """
        if slot_minutes < 1 or self.mtu_minutes % slot_minutes:
            raise InvalidInput("slot_minutes", f"must divide the {self.mtu_minutes} minutes of {self.market}")
        return replace(self.curve, slots_per_period=self.mtu_minutes // slot_minutes)

    def gate_closure(self, day: date) -> datetime:
        """Return the first instant, UTC, at which orders for the delivery day are refused."""
        return self.gate.closure(day)

    def periods(self, day: date) -> TimeGrid:
        """Return the delivery periods of a day: 92, 96 or 100 quarter-hours, 23, 24 or 25 hours."""
        return DeliveryDay(day=day, zone=self.gate.time_zone).grid(timedelta(minutes=self.mtu_minutes))


class ReserveKind(StrEnum):
    """Which way a reserve moves the draw of a fleet."""

    SYMMETRIC = "symmetric"
    """Both ways with the same power: frequency containment."""
    UP = "up"
    """Consume less; for the grid that is more power."""
    DOWN = "down"
    """Consume more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReserveRules:
    """One reserve capacity product on the delivery days its rules hold for."""

    product: str
    kind: ReserveKind
    currency: str
    days: ValidDays
    gate: Gate
    block_hours: int
    """Length of a block on the wall clock; blocks begin at midnight."""
    min_bid_mw: Decimal
    step_mw: Decimal
    max_activation_s: float
    """The whole power must be there this long after the call."""
    sustain_minutes: int
    """How long full activation must be held."""
    needs_local_frequency: bool
    """Whether the power follows a frequency measured at the site itself."""

    def __post_init__(self) -> None:
        """Reject sizes that are not positive and blocks that do not divide the day."""
        for field in ("min_bid_mw", "step_mw", "max_activation_s", "sustain_minutes"):
            if not getattr(self, field) > 0:
                raise InvalidInput(field, "must be above 0")
        if self.block_hours < 1 or MINUTES_PER_DAY % (60 * self.block_hours):
            raise InvalidInput("block_hours", "must divide the day")

    def blocks(self, day: date) -> tuple[Interval, ...]:
        """Return the blocks of a day; on days when the clock changes the one it falls in is an hour shorter or longer."""
        delivery = DeliveryDay(day=day, zone=self.gate.time_zone)
        borders = [delivery.at(time(hour)) for hour in range(0, 24, self.block_hours)]
        borders.append(delivery.next().at(time(0)))
        return tuple(Interval(start=start, end=end) for start, end in pairwise(borders))


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSpecification:
    """A member's block rules for one market and the delivery days they hold for."""

    market: str
    days: ValidDays
    rules: BlockRules


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketBook:
    """All markets, products and specifications that are configured."""

    auctions: tuple[AuctionRules, ...] = ()
    """Without blocks; `auction` adds them from the specification in force."""
    reserves: tuple[ReserveRules, ...] = ()
    specifications: tuple[BlockSpecification, ...] = ()

    def __post_init__(self) -> None:
        """Reject two rules for one day."""
        _require_apart("rules", [(one.market, one.days) for one in self.auctions])
        _require_apart("rules", [(one.product, one.days) for one in self.reserves])
        _require_apart("specifications", [(one.market, one.days) for one in self.specifications])

    def auction(self, market: str, day: date) -> AuctionRules:
        """Return the rules of an auction market for a delivery day, with the member's blocks where there are any.

        Raises:
            InvalidInput: The market is not known, or has no rules for the day.
        """
        known = [one for one in self.auctions if one.market == market]
        if not known:
            raise InvalidInput("market", f"{market!r} is not configured")
        found = next((one for one in known if one.days.holds_on(day)), None)
        if found is None:
            raise InvalidInput(f"{market}.rules", f"none holds on delivery day {day.isoformat()}")
        blocks = next(
            (one.rules for one in self.specifications if one.market == market and one.days.holds_on(day)), None
        )
        return replace(found, blocks=blocks)

    def reserve(self, product: str, day: date) -> ReserveRules:
        """Return the rules of a reserve product for a delivery day.

        Raises:
            InvalidInput: The product is not known, or has no rules for the day.
        """
        known = [one for one in self.reserves if one.product == product]
        if not known:
            raise InvalidInput("product", f"{product!r} is not configured")
        found = next((one for one in known if one.days.holds_on(day)), None)
        if found is None:
            raise InvalidInput(f"{product}.rules", f"none holds on delivery day {day.isoformat()}")
        return found


def _require_apart(field: str, named: Sequence[tuple[str, ValidDays]]) -> None:
    for index, (name, days) in enumerate(named):
        for other, earlier in named[:index]:
            if other == name and days.overlaps(earlier):
                raise InvalidInput(f"{name}.{field}", f"two hold on delivery day {max(days.first, earlier.first)}")
