"""Why a car is not charged at full rate at once: typed reasons with their numbers and one plain sentence each."""

from collections.abc import Callable
from dataclasses import dataclass

SlotName = Callable[[int], str]
"""How to call the beginning of a slot to a driver, for example its local time."""


def slot_number(slot: int) -> str:
    """Return a slot by its number, where no clock is known."""
    return f"slot {slot}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitsForCheaper:
    """The driver's goal prefers later slots: less money."""

    until_slot: int
    """Where charging starts or resumes at full rate for the first time after a wait."""
    delayed_kwh: float
    """What full rate would have charged by then and in later waits."""
    saving_eur: float
    """Against full rate from arrival with the same energy, whole session."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        if self.saving_eur > 0.0:
            return f"Waits for cheaper energy until {name(self.until_slot)} and saves {self.saving_eur:.2f} EUR."
        return f"Waits for cheaper energy until {name(self.until_slot)}."


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitsForGreener:
    """The driver's goal prefers later slots: less carbon, or less of carbon and money together."""

    until_slot: int
    """Where charging starts or resumes at full rate for the first time after a wait."""
    delayed_kwh: float
    """What full rate would have charged by then and in later waits."""
    saving_kg: float
    """Against full rate from arrival with the same energy, whole session."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        if self.saving_kg > 0.0:
            return f"Waits for greener energy until {name(self.until_slot)} and saves {self.saving_kg:.2f} kg of CO2."
        return f"Waits for greener energy until {name(self.until_slot)}."


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitBinds:
    """The car would charge, but the connection point is at its limit and others use the room."""

    first_slot: int
    """First slot in which the limit holds the car back."""
    until_slot: int
    """First slot after the last one in which it does."""
    displaced_kwh: float
    """What the car would have drawn in those slots by itself and does not."""
    urgent_others_kwh: float
    """What boosts and minimums of others draw in those slots."""
    leaving_earlier_count: int
    """How many of the others leave before this car: in the slot of those where most of them charge."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        span = f"from {name(self.first_slot)} to {name(self.until_slot)}"
        start = f"The site is at its limit {span}: {self.displaced_kwh:.1f} kWh move"
        others = []
        if self.leaving_earlier_count > 0:
            cars = "1 car leaves" if self.leaving_earlier_count == 1 else f"{self.leaving_earlier_count} cars leave"
            others.append(f"{cars} earlier")
        if self.urgent_others_kwh > 0.0:
            others.append(f"others have booked {self.urgent_others_kwh:.1f} kWh at once")
        return f"{start}, because {' and '.join(others)}." if others else f"{start} to other slots."


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceAboveCap:
    """Steps are left out: in the slots that are still free, energy costs more than the driver's cap."""

    price_cap_eur_per_kwh: float
    """Cap of the first step that is not completed."""
    least_price_eur_per_kwh: float
    """Lowest price among the slots in which the car could still charge more."""
    left_out_kwh: float
    """Energy of the steps that is not charged for this reason."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        del name  # no slot in this sentence
        return (
            f"{self.left_out_kwh:.1f} kWh are left out: the price is at least {self.least_price_eur_per_kwh:.3f} EUR per "
            f"kWh, above your cap of {self.price_cap_eur_per_kwh:.3f}."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RoomWorthMore:
    """Steps are left out although their price is met: the site is at its limit there and the room is worth more to others."""

    left_out_kwh: float
    """Energy of the steps that the car would have charged by itself."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        del name  # no slot in this sentence
        return (
            f"{self.left_out_kwh:.1f} kWh above your need are left out: the site is at its limit when they are cheap."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NotEnoughTime:
    """Full rate until departure does not reach the need."""

    missing_kwh: float

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        del name  # no slot in this sentence
        return f"There is not enough time before departure: {self.missing_kwh:.1f} kWh are missing."


@dataclass(frozen=True, kw_only=True, slots=True)
class GaveWay:
    """The limit is too low for everyone's needs; this car's share gives way."""

    missing_kwh: float
    served_share: float
    """Share of the need that is charged, 0 to 1."""

    def sentence(self, name: SlotName = slot_number) -> str:
        """Say it to the driver."""
        del name  # no slot in this sentence
        return (
            f"The site's limit does not allow everyone's energy: {self.missing_kwh:.1f} kWh are missing, "
            f"{100.0 * self.served_share:.0f} % of what you need is charged."
        )


Reason = WaitsForCheaper | WaitsForGreener | LimitBinds | PriceAboveCap | RoomWorthMore | NotEnoughTime | GaveWay
