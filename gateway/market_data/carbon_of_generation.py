"""Carbon intensity computed from what was produced: the factors of one published set, weighted by power.

    intensity_t = sum over types of P_t * factor / sum over types of P_t

Production-based and average. Pumped storage is left out. A slot in which a type is silent that reported within the last week
is a gap unless the silent types made at most 5 % of that week's energy; then the value is an estimate and says so.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonScope, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.market_data.areas import area_code
from gateway.market_data.entsoe import LICENCE, EntsoeEndpoint
from gateway.market_data.entsoe_elements import Slots
from gateway.market_data.entsoe_generation import PUMPED, Generation
from gateway.market_data.entsoe_pieces import GenerationPieces, ReplyCaps
from gateway.market_data.provenance import UNNAMED, joined_note, named_carbon

NAME = "entsoe-generation"
LEAST_COVERAGE = 0.95
"""Share of the usual energy that must be reported for a value to be an estimate rather than a gap."""
HIGHEST_FACTOR = 2_000.0
"""g/kWh; no fuel emits more in any plant."""
WEEK = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorSet:
    """Emission factors of one source."""

    id: str
    basis: CarbonBasis
    source: str
    g_per_kwh: Mapping[str, float]
    """By ENTSO-E production type."""

    def __post_init__(self) -> None:
        """Reject factors that are negative, not finite or beyond any power plant."""
        for kind, factor in self.g_per_kwh.items():
            if not 0.0 <= factor <= HIGHEST_FACTOR:
                raise InvalidInput(f"factors.{self.id}.{kind}", f"must be 0 to {HIGHEST_FACTOR:.0f} g/kWh")


def load_factors(path: Path, name: str) -> FactorSet:
    """Read one set of factors from a TOML file.

    Raises:
        InvalidInput: The file or the set is missing or breaks a rule; the field names where.
    """
    try:
        sets = tomllib.loads(path.read_text(encoding="utf-8")).get("sets", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput("carbon_factors", f"{path.name} cannot be read as TOML") from error
    chosen = sets.get(name) if isinstance(sets, dict) else None
    if not isinstance(chosen, dict):
        raise InvalidInput("carbon_factors", f"{path.name} has no set {name!r}")
    factors = chosen.get("g_per_kwh")
    if not isinstance(factors, dict) or not all(type(value) in {int, float} for value in factors.values()):
        raise InvalidInput(f"carbon_factors.{name}.g_per_kwh", "must be numbers by production type")
    if chosen.get("basis") not in {"direct", "lifecycle"}:
        raise InvalidInput(f"carbon_factors.{name}.basis", "must be direct or lifecycle")
    return FactorSet(
        id=name,
        basis=CarbonBasis(chosen["basis"]),
        source=str(chosen.get("source", "")),
        g_per_kwh={kind: float(value) for kind, value in factors.items()},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """Intensity of each slot of a day."""

    g_per_kwh: tuple[float | None, ...]
    estimated_count: int
    """Slots whose value leaves out types that usually report."""


def intensity(generation: Generation, factors: FactorSet, grid: TimeGrid, usual_mwh: Mapping[str, float]) -> Computed:
    """Return the carbon intensity of every slot of a grid.

    Args:
        generation: Production of the day.
        factors: One set of factors; a type without one is an error, never free of emissions.
        grid: Slots of the day.
        usual_mwh: Energy of each type over the last week; types that made nothing count as usual all the same. Empty
            before there is a past: then every type that reports anywhere on the day is usual.

    Raises:
        InvalidInput: A type that produces has no factor in the set.
    """
    kinds = sorted(set(generation.by_type) - {PUMPED})
    for kind in kinds:
        if kind not in factors.g_per_kwh:
            raise InvalidInput("psrType", f"{kind} has no factor in the set {factors.id}")
    power = np.array([power_mw(generation.by_type[kind], grid) for kind in kinds]).reshape(len(kinds), grid.count)
    known = np.isfinite(power)
    usual = np.array([usual_mwh.get(kind, 0.0) for kind in kinds])
    absent = sum(energy for kind, energy in usual_mwh.items() if kind not in kinds and kind != PUMPED)
    whole = float(usual.sum()) + absent
    covered = (usual @ known) / whole if whole > 0.0 else known.all(axis=0).astype(float)
    produced = np.nansum(power, axis=0)
    emitted = np.nansum(power * np.array([factors.g_per_kwh[kind] for kind in kinds])[:, None], axis=0)
    is_usable = (covered >= LEAST_COVERAGE) & (produced > 0.0)
    is_partial = is_usable & ~(known.all(axis=0) & (absent == 0.0))
    values = tuple(
        float(grams / mw) if usable else None for grams, mw, usable in zip(emitted, produced, is_usable, strict=True)
    )
    return Computed(g_per_kwh=values, estimated_count=int(is_partial.sum()))


def power_mw(periods: Sequence[Slots], grid: TimeGrid) -> npt.NDArray[np.float64]:
    """Return mean MW per slot of a grid, NaN where nothing is reported, shape (count,)."""
    power = np.full(grid.count, np.nan)
    for period in periods:
        for number, value in enumerate(period.values):
            start = period.start + number * period.step
            first = (start - grid.start) // grid.step
            width = max(1, period.step // grid.step)
            if value is not None and first + width > 0 and first < grid.count:
                power[max(0, first) : first + width] = float(value)
    return power


class GenerationCarbon:
    """Intensity of a zone from its production; `ports.CarbonSource`. A day of the future is None: this is no forecast."""

    def __init__(self, *, endpoint: EntsoeEndpoint, factors: FactorSet, caps: ReplyCaps | None = None) -> None:
        self._caps = caps
        self._endpoint = endpoint
        self._factors = factors
        self._energy_mwh: dict[tuple[str, date], dict[str, float]] = {}

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the intensity of a delivery day in g/kWh; slots that were not reported whole are None.

        Raises:
            PeerUnavailable: The platform does not answer, asks to wait or sends a web page.
            InvalidInput: The zone is unknown, the platform refuses, or the document breaks a rule.
        """
        if day.interval.start >= self._endpoint.now():
            return None
        area = area_code(zone)
        whole = await GenerationPieces(self._endpoint, area, self._caps).day(day)
        if whole is None:
            return None
        generation = whole.generation
        grid = day.grid()
        computed = intensity(generation, self._factors, grid, self._usual_mwh(zone, day))
        self._remember(zone, day, generation, grid)
        if all(value is None for value in computed.g_per_kwh):
            return None
        return self._series(zone, day, computed, whole.stand_in)

    def _series(self, zone: str, day: DeliveryDay, computed: Computed, stand_in: str | None) -> CarbonSeries:
        notes = [f"factors {self._factors.id}"]
        if computed.estimated_count > 0:
            notes.append(f"{computed.estimated_count} quarter-hours leave out types that did not report")
        quality = Quality.ESTIMATED if computed.estimated_count > 0 else Quality.FINAL
        series = CarbonSeries(
            id=UNNAMED,
            zone=zone,
            kind=CarbonKind.AVERAGE,
            grid=day.grid(),
            intensity_g_per_kwh=computed.g_per_kwh,
            source=NAME,
            fetched_at=self._endpoint.now(),
            quality=quality if stand_in is None else Quality.SUBSTITUTED,
            licence=LICENCE,
            note=joined_note(notes, stand_in),
            basis=self._factors.basis,
            scope=CarbonScope.PRODUCTION,
        )
        return named_carbon(series, day)

    def _usual_mwh(self, zone: str, day: DeliveryDay) -> dict[str, float]:
        """Return the energy of each type over the days of the last week that were read."""
        found: dict[str, float] = {}
        for back in range(1, WEEK + 1):
            for kind, energy in self._energy_mwh.get((zone, day.day - timedelta(days=back)), {}).items():
                found[kind] = found.get(kind, 0.0) + energy
        return found

    def _remember(self, zone: str, day: DeliveryDay, generation: Generation, grid: TimeGrid) -> None:
        hours = grid.step_hours
        self._energy_mwh[zone, day.day] = {
            kind: float(np.nansum(power_mw(periods, grid))) * hours for kind, periods in generation.by_type.items()
        }
        oldest = day.day - timedelta(days=2 * WEEK)
        self._energy_mwh = {key: value for key, value in self._energy_mwh.items() if key[1] >= oldest}
