"""Delivery in money, exactly: every amount is a product of decimals and every total the sum of its lines to the last digit.

Floats do not appear. The arithmetic traps inexact results, so a digit is never lost silently; rounding to cents is for
whoever shows the amounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext

from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

EXACT_DIGITS = 60
KWH_PER_MWH = Decimal(1000)
SECONDS_PER_HOUR = Decimal(3600)
WHOLE_DIVISIONS_S = frozenset({900, 1800, 3600})
"""Delivery periods whose length in hours is a finite decimal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeliveryFacts:
    """What happened in one delivery period at one connection point."""

    position_mw: Decimal
    """Awarded volume over the period, positive bought."""
    day_ahead_price_per_mwh: Decimal
    metered_kwh: Decimal | None
    """Net energy at the meter, positive drawn; None while unknown."""
    imbalance_price_per_mwh: Decimal | None
    """None while not published."""
    uncontrolled_kwh: Decimal | None = None
    """What uncontrolled charging (and the rest of the site) would have drawn; None when not compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledLine:
    """One delivery period in energy and cash; cash is positive when paid."""

    position_mwh: Decimal
    day_ahead_cash: Decimal
    """Position times day-ahead price."""
    metered_mwh: Decimal | None
    imbalance_mwh: Decimal | None
    """Metered minus position; positive when more was drawn than bought. None while the meter is unknown."""
    imbalance_cash: Decimal | None
    """Imbalance times imbalance price; None while meter or price is unknown."""
    uncontrolled_cash: Decimal | None
    """Uncontrolled draw at the day-ahead price; None when not compared."""

    @property
    def is_settled(self) -> bool:
        """Whether everything that costs money is known."""
        return self.imbalance_cash is not None

    @property
    def cash(self) -> Decimal | None:
        """Day-ahead plus imbalance; None while the period is not settled."""
        return None if self.imbalance_cash is None else self.day_ahead_cash + self.imbalance_cash


@dataclass(frozen=True, kw_only=True, slots=True)
class SettledDay:
    """The delivery periods of a day and their exact sums."""

    lines: tuple[SettledLine, ...]
    unsettled: tuple[int, ...]
    """Periods whose meter or imbalance price is unknown; their imbalance is in no total."""
    position_mwh: Decimal
    metered_mwh: Decimal
    """Over the periods with a known meter."""
    imbalance_mwh: Decimal
    """Over the settled periods."""
    day_ahead_cash: Decimal
    imbalance_cash: Decimal
    """Over the settled periods."""
    uncontrolled_cash: Decimal | None
    """None unless every period was compared."""

    @property
    def is_complete(self) -> bool:
        """Whether every period is settled."""
        return not self.unsettled

    @property
    def cash(self) -> Decimal:
        """What the energy cost: day-ahead plus imbalance; provisional unless `is_complete`."""
        return self.day_ahead_cash + self.imbalance_cash

    @property
    def saving(self) -> Decimal | None:
        """Uncontrolled minus actual; None unless all periods are settled and compared."""
        if self.uncontrolled_cash is None or not self.is_complete:
            return None
        return self.uncontrolled_cash - self.cash


def settle_day(grid: TimeGrid, facts: Sequence[DeliveryFacts]) -> SettledDay:
    """Settle the delivery periods of a grid.

    Imbalance cash is (metered - position) x imbalance price, one price for both directions: drawing less than bought sells
    the rest back at that price.

    Args:
        grid: Delivery periods of 15, 30 or 60 minutes.
        facts: What happened in each.

    Raises:
        InvalidInput: Not one fact per period, another period length, or numbers that are not finite or have more digits
            than the arithmetic can keep exactly.
    """
    if len(facts) != grid.count:
        raise InvalidInput("facts", f"has {len(facts)} periods, the grid {grid.count}")
    if int(grid.step.total_seconds()) not in WHOLE_DIVISIONS_S:
        raise InvalidInput("grid.step", "must be 15, 30 or 60 minutes")
    for index, fact in enumerate(facts):
        _require_finite(index, fact)
    with localcontext(Context(prec=EXACT_DIGITS, traps=[Inexact, InvalidOperation])):
        hours = Decimal(int(grid.step.total_seconds())) / SECONDS_PER_HOUR
        try:
            return _settled(tuple(_settle_line(fact, hours) for fact in facts))
        except Inexact as error:
            raise InvalidInput("facts", "have too many digits for exact arithmetic") from error


def _settle_line(fact: DeliveryFacts, hours: Decimal) -> SettledLine:
    position = fact.position_mw * hours
    metered = None if fact.metered_kwh is None else fact.metered_kwh / KWH_PER_MWH
    imbalance = None if metered is None else metered - position
    uncontrolled = None if fact.uncontrolled_kwh is None else fact.uncontrolled_kwh / KWH_PER_MWH
    return SettledLine(
        position_mwh=position,
        day_ahead_cash=position * fact.day_ahead_price_per_mwh,
        metered_mwh=metered,
        imbalance_mwh=imbalance,
        imbalance_cash=_cash(imbalance, fact.imbalance_price_per_mwh),
        uncontrolled_cash=_cash(uncontrolled, fact.day_ahead_price_per_mwh),
    )


def _cash(energy_mwh: Decimal | None, price_per_mwh: Decimal | None) -> Decimal | None:
    return None if energy_mwh is None or price_per_mwh is None else energy_mwh * price_per_mwh


def _settled(lines: tuple[SettledLine, ...]) -> SettledDay:
    uncontrolled = [line.uncontrolled_cash for line in lines if line.uncontrolled_cash is not None]
    return SettledDay(
        lines=lines,
        unsettled=tuple(index for index, line in enumerate(lines) if not line.is_settled),
        position_mwh=_total([line.position_mwh for line in lines]),
        metered_mwh=_total([line.metered_mwh for line in lines]),
        imbalance_mwh=_total([line.imbalance_mwh for line in lines if line.is_settled]),
        day_ahead_cash=_total([line.day_ahead_cash for line in lines]),
        imbalance_cash=_total([line.imbalance_cash for line in lines]),
        uncontrolled_cash=_total(uncontrolled) if len(uncontrolled) == len(lines) else None,
    )


def _total(amounts: Sequence[Decimal | None]) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), Decimal(0))


def _require_finite(index: int, fact: DeliveryFacts) -> None:
    for name in (
        "position_mw",
        "day_ahead_price_per_mwh",
        "metered_kwh",
        "imbalance_price_per_mwh",
        "uncontrolled_kwh",
    ):
        value = getattr(fact, name)
        if value is not None and not value.is_finite():
            raise InvalidInput(f"facts[{index}].{name}", "must be a finite number")
