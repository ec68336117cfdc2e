"""Money: exact decimals with a currency beside them; cash is positive when paid, negative when received."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from gateway.domain.errors import InvalidInput

CENT = Decimal("0.01")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cash:
    """An amount of money; positive is paid, negative is received."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        """Reject amounts that are not finite and codes that are not ISO 4217."""
        if not self.amount.is_finite():
            raise InvalidInput("cash.amount", "must be a finite number")
        if len(self.currency) != 3:
            raise InvalidInput("cash.currency", "must be an ISO 4217 code")

    def __add__(self, other: "Cash") -> "Cash":
        """Add two amounts of one currency.

        Raises:
            InvalidInput: The currencies differ.
        """
        if other.currency != self.currency:
            raise InvalidInput("cash.currency", f"{other.currency} does not mix with {self.currency}")
        return Cash(amount=self.amount + other.amount, currency=self.currency)

    def __neg__(self) -> "Cash":
        """Return what the counterparty sees."""
        return Cash(amount=-self.amount, currency=self.currency)

    def rounded(self) -> "Cash":
        """Return the amount to the cent (half to even); sums are taken before, never after, rounding."""
        return Cash(amount=self.amount.quantize(CENT, rounding=ROUND_HALF_EVEN), currency=self.currency)


def cash_for_energy(energy_mwh: Decimal, price_per_mwh: Decimal, currency: str) -> Cash:
    """Return what an energy costs: energy in MWh (positive bought) times price; positive is paid."""
    return Cash(amount=energy_mwh * price_per_mwh, currency=currency)


def apportion(total: Decimal, weights: Sequence[float], quantum: Decimal) -> tuple[Decimal, ...]:
    """Split an amount by weights into multiples of a quantum whose sum is the amount, to the last digit.

    Largest remainder (Hamilton's method): every part gets its quota rounded down, the quanta left over go to the largest
    remainders, ties to the first. Whole quanta are shared; what is left of an amount that is finer than the quantum goes to
    the part with the largest weight.

    Args:
        total: What is split; may be negative.
        weights: One finite number of at least 0 per part; when all are 0, every part weighs the same.
        quantum: Smallest unit of a part, above 0.

    Raises:
        InvalidInput: There is no part, a weight is negative or not finite, or the quantum is not above 0.
    """
    if not weights:
        raise InvalidInput("weights", "must have at least one part")
    if any(not 0.0 <= weight < float("inf") for weight in weights):
        raise InvalidInput("weights", "must be finite numbers of at least 0")
    if quantum <= 0:
        raise InvalidInput("quantum", "must be above 0")
    sign = -1 if total < 0 else 1
    size = abs(total)
    units = int((size / quantum).to_integral_value(rounding=ROUND_FLOOR))
    shares = [Fraction(weight) for weight in weights]
    if not any(shares):
        shares = [Fraction(1)] * len(shares)
    quotas = [share * units / sum(shares) for share in shares]
    parts = [quota.numerator // quota.denominator for quota in quotas]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - quotas[i], i))
    for i in order[: units - sum(parts)]:
        parts[i] += 1
    amounts = [part * quantum for part in parts]
    heaviest = max(range(len(shares)), key=lambda i: (shares[i], -i))
    amounts[heaviest] += size - units * quantum
    return tuple(sign * amount for amount in amounts)
