"""One connector of a station and the charger of the site tree that it is: its command, its transaction, its measurements."""

import hashlib
import math
from datetime import UTC, datetime

from gateway.domain.charging_profiles import RateUnit, Supply
from gateway.ocpp.journal import ChargerFacts, CommandRecord, ConnectorRecord, TransactionRecord
from gateway.ocpp.layers import Command, Means
from gateway.ocpp.readings import fold
from gateway.ocpp.settings import ConnectorSettings, StationSettings
from gateway.ocpp.words import Abilities, Measured, Plug, Reading

_VOLTAGE_RANGE = (0.8, 1.2)
"""Measured voltage outside this share of the nominal one is not believed: too low a voltage makes too large a current."""
_VOLTAGE_STEP_V = 2.0
"""Measured voltage is rounded up to it: limits in amperes are not rewritten for every volt, and never too large."""
_DRAWS_A = 1.0
_IDLE_A = 0.5
_ALL_PHASES = 3
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Connector:
    """What is known of one connector; survives connections, and with its record also restarts."""

    def __init__(self, settings: ConnectorSettings, station: StationSettings, record: ConnectorRecord) -> None:
        """Go on from a record.

        Args:
            settings: Which connector is which charger.
            station: Of the station that it belongs to.
            record: What was kept; written by whoever owns the station's record.
        """
        self.id = settings.id
        self.charger = settings.charger
        self.record = record
        self.facts: ChargerFacts | None = None
        self.measured = Measured()
        self.plug = Plug.UNKNOWN
        self.zero_at = _LONG_AGO
        """When it was last reported to draw nothing because no car is there."""
        self.is_fresh = False
        """Whether there is a measurement that the gateway was not told."""
        self._identity = station.identity
        self._station = station

    @property
    def transaction(self) -> TransactionRecord | None:
        """The running transaction."""
        return self.record.transaction

    def command(self) -> Command | None:
        """Return what is wanted of it: the newest command, otherwise its fallback; None while nothing is known."""
        kept = self.record.command
        if kept is not None:
            return Command(**kept.model_dump())
        if self.facts is None:
            return None
        fallback_kw = self.facts.fallback_kw
        return Command(sequence=0, limit_kw=fallback_kw, fallback_kw=fallback_kw, lease_until=_LONG_AGO)

    def take_command(self, command: Command) -> bool:
        """Keep a command unless a newer one is known; tell whether it is kept."""
        kept = self.record.command
        if kept is not None and kept.sequence >= command.sequence:
            return False
        self.record.command = CommandRecord(
            sequence=command.sequence,
            limit_kw=command.limit_kw,
            fallback_kw=command.fallback_kw,
            lease_until=command.lease_until,
        )
        return True

    def phases(self) -> int:
        """Return the phases that the car uses, or those of the charger while that is unknown."""
        wired = _ALL_PHASES if self.facts is None else self.facts.phases
        return wired if self.transaction is None else min(wired, self.transaction.phases)

    def supply(self) -> Supply:
        """Return how it is fed, with measured voltage where known and possible."""
        return self._fed(self.phases())

    def wired_supply(self) -> Supply:
        """Return how it is fed whichever car comes next."""
        return self._fed(_ALL_PHASES if self.facts is None else self.facts.phases)

    def _fed(self, phases: int) -> Supply:
        measured_v = self.measured.voltage_v
        nominal_v = voltage_v = self._station.nominal_voltage_v
        least, most = _VOLTAGE_RANGE
        if measured_v is not None and least * nominal_v <= measured_v <= most * nominal_v:
            voltage_v = math.ceil(measured_v / _VOLTAGE_STEP_V) * _VOLTAGE_STEP_V
        return Supply(
            phases=phases,
            voltage_v=voltage_v,
            is_dc=self._station.is_dc,
            min_power_kw=self.facts.min_power_kw if self.facts is not None and self._station.is_dc else 0.0,
            step=1.0 if self._station.whole_amperes else 0.1,
        )

    def means(self, abilities: Abilities) -> Means:
        """Return how it is commanded at first, before any refusal."""
        supply = self.supply()
        unit = supply.best_unit if self._station.unit == "auto" else RateUnit(self._station.unit)
        if self._station.unit == "auto" and unit not in abilities.units:
            unit = next(iter(abilities.units))
        return Means(
            connector=self.id,
            supply=supply,
            wired=self.wired_supply(),
            abilities=abilities,
            unit=unit,
            carrier=self._station.carrier,
            expiry=self._station.expiry,
            phases=self.bounded_phases(),
        )

    def bounded_phases(self) -> int | None:
        """Return how many phases a limit counts on where that is fewer than the charger has; None otherwise."""
        wired = _ALL_PHASES if self.facts is None else self.facts.phases
        return self.phases() if self.phases() < wired else None

    def take(self, reading: Reading) -> bool:
        """Take a measurement in; True when it shows that the car uses another number of phases."""
        fold(self.measured, reading)
        self.is_fresh = True
        running = self.transaction
        if running is None:
            return False
        if reading.energy_kwh is not None:
            if running.start_kwh is None:
                running.start_kwh = reading.energy_kwh
            running.latest_kwh = reading.energy_kwh
        phases = _phases_drawn(reading)
        if phases is None or phases == running.phases:
            return False
        running.phases = phases
        running.is_told = False
        return True

    def begin(self, number: str, at: datetime, meter_kwh: float | None) -> TransactionRecord:
        """Begin a transaction."""
        origin = f"{self._identity}|{self.id}|{number}|{at.isoformat()}"
        wired = _ALL_PHASES if self.facts is None else self.facts.phases
        self.record.transaction = TransactionRecord(
            number=number,
            session=f"session-{hashlib.sha256(origin.encode()).hexdigest()[:24]}",
            started_at=at,
            start_kwh=meter_kwh,
            latest_kwh=meter_kwh,
            phases=wired,
        )
        return self.record.transaction

    def end(self, at: datetime) -> TransactionRecord | None:
        """End the running transaction and return it; None when there is none."""
        ended, self.record.transaction = self.record.transaction, None
        if ended is None:
            return None
        ended.ended_at = max(at, ended.started_at)
        ended.is_told = False
        energy_kwh = ended.latest_kwh
        fold(self.measured, Reading(at=ended.ended_at, power_kw=0.0, energy_kwh=energy_kwh))
        self.is_fresh = True
        return ended


def _phases_drawn(reading: Reading) -> int | None:
    """Return over how many phases a car draws, 1 or 3; None when the currents do not tell."""
    first, second, third = reading.phase_current_a
    if first is None or second is None or third is None or first < _DRAWS_A:
        return None
    if second < _IDLE_A and third < _IDLE_A:
        return 1
    return _ALL_PHASES if second >= _DRAWS_A or third >= _DRAWS_A else None
