"""What a program of a grid partner means here: its tables, how far it binds, who may be called, where its prices go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway.domain.authorities import require_collar
from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonKind, PriceProduct

RulesT = TypeVar("RulesT")

LEVEL_STEP_COUNT = 10
"""Steps below normal operation that a level offset can ask for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramRules:
    """What the program of one authority means."""

    simple_fraction: tuple[float, float, float, float] = (1.0, 0.7, 0.4, 0.0)
    """Most that may be drawn at SIMPLE levels 0 to 3, as a fraction of the node's rating; level 0 is normal operation."""
    level_fraction: tuple[float, ...] = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
    """Most that may be drawn at level offsets -1 to -10, as a fraction of normal operation; 0 and above limit nothing."""
    has_measured_normal: bool = False
    """Offsets count from the baseline of the event; otherwise, and where there is no past, from the node's rating."""
    is_mandatory: bool = False
    """Its events bind whatever we answer."""
    is_unconditional: bool = False
    """Losing contact with it puts its nodes to fallback or fail-safe; until first contact it counts as lost."""
    most_times_rating: float | None = 100.0
    """Collar: an event with a limit over so many times the rating of its node is a slip of units and refused; None takes any."""
    requires_enrolment: bool = False
    """Only nodes with an enrolment in force may be called."""
    price_zone: str = ""
    """Zone under which its prices and carbon are kept; empty for the name of the authority."""
    price_product: PriceProduct = PriceProduct.PROGRAM_TARIFF
    """What its prices are kept as; `TARIFF_ENERGY` lets a `tariff-only` portfolio of the zone plan on them."""
    carbon_kind: CarbonKind = CarbonKind.MARGINAL
    """What its carbon is; the GHG values of OpenADR 3.x are marginal."""

    def __post_init__(self) -> None:
        """Reject fractions outside [0, 1] and fractions that grow with the level."""
        require_collar("program.most_times_rating", self.most_times_rating)
        for name, size in (("simple_fraction", 4), ("level_fraction", LEVEL_STEP_COUNT)):
            fractions = getattr(self, name)
            if len(fractions) != size or any(not 0.0 <= f <= 1.0 for f in fractions):
                raise InvalidInput(f"program.{name}", f"must be {size} fractions of 0 to 1")
            if list(fractions) != sorted(fractions, reverse=True):
                raise InvalidInput(f"program.{name}", "must not grow with the level")


def find_rules(rules: Mapping[str, RulesT], authority: str, program: str) -> RulesT | None:
    """Return the entry of a program, else that of its authority, else None."""
    own = rules.get(f"{authority}:{program}") if program else None
    return rules.get(authority) if own is None else own
