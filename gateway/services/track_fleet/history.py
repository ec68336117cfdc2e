"""Energy of connection points from before their meters were streamed: it fills what is unknown and changes nothing else."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.evidence import AuditEntry, content_hash
from gateway.domain.identity import Principal
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.timegrid import TimeGrid, require_utc
from gateway.domain.units import QUARTER_HOUR
from gateway.ports import Batch, Clock, Ids, Put, Store
from gateway.services.track_fleet.state import STEP_S, FleetState

FloatArray = npt.NDArray[np.float64]

MOST_PERIODS = 10_000
"""Values of one report: 104 days."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MeterHistory:
    """What a settlement meter counted in past delivery periods, one after the other; shape (T,) each."""

    connection_point: str
    start: datetime
    """Begin of the first period, aware UTC."""
    resolution: timedelta
    energy_kwh: FloatArray
    """Net energy at the meter, positive drawn from the grid."""
    chargers_kwh: FloatArray
    """Of it, what all chargers behind the meter drew."""
    is_modelled: bool = False
    """True when a model made it, not a meter."""

    def __post_init__(self) -> None:
        """Reject what is not whole delivery periods of finite energy; the columns must be complete."""
        if self.resolution != QUARTER_HOUR:
            raise InvalidInput("resolution_minutes", "must be 15, the length of a delivery period")
        if require_utc("start_time", self.start).timestamp() % STEP_S:
            raise InvalidInput("start_time", "must be the border of a delivery period")
        count = len(self.energy_kwh)
        if not 1 <= count <= MOST_PERIODS:
            raise InvalidInput("energy_kwh", f"must have 1 to {MOST_PERIODS} values")
        if len(self.chargers_kwh) != count:
            raise InvalidInput("charger_energy_kwh", f"has {len(self.chargers_kwh)} values, needs {count}")
        for field, column in (("energy_kwh", self.energy_kwh), ("charger_energy_kwh", self.chargers_kwh)):
            if not np.isfinite(column).all():
                raise InvalidInput(field, "must be finite numbers")
        if (self.chargers_kwh < 0.0).any():
            raise InvalidInput("charger_energy_kwh", "must not be negative; these chargers only draw")

    def end(self) -> datetime:
        """Return the end of the last period.

        Raises:
            InvalidInput: It lies beyond the calendar.
        """
        try:
            return self.start + self.resolution * len(self.energy_kwh)
        except OverflowError as error:
            raise InvalidInput("start_time", "is too late") from error

    def rows(self, tenant: str) -> list[MeteredPeriod]:
        """Return one row per period; a meter's own interval data covers its periods whole."""
        grid = TimeGrid(start=self.start, step=self.resolution, count=len(self.energy_kwh))
        columns = zip(grid.starts(), self.energy_kwh.tolist(), self.chargers_kwh.tolist(), strict=True)
        return [
            MeteredPeriod(
                id=f"{self.connection_point}:{start.isoformat()}",
                tenant=tenant,
                connection_point=self.connection_point,
                start=start,
                end=start + self.resolution,
                energy_kwh=energy_kwh,
                chargers_kwh=chargers_kwh,
                coverage=1.0,
                is_modelled=self.is_modelled,
            )
            for start, energy_kwh, chargers_kwh in columns
        ]


class MeterHistoryKeeper:
    """Writes reported histories; never over what is there."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids

    async def keep(self, principal: Principal, state: FleetState, history: MeterHistory, *, request_id: str) -> int:
        """Keep the periods that are not known yet, and return how many; errors as in `FleetTracker.report_meter_history`."""
        if not request_id:
            raise InvalidInput("request_id", "is required")
        _require_own(principal, state, history.connection_point)
        if history.end() > self._clock.now():
            raise InvalidInput("start_time", "all periods must be over")
        request_hash = _hash_of(history)
        replay = await self._store.replay(principal.tenant, request_id, request_hash)
        if replay is not None:
            return int(replay)
        rows = await self._unknown(principal.tenant, history)
        await self._store.apply(
            Batch(
                tenant=principal.tenant,
                puts=tuple(Put(record=row, expected_version=0) for row in rows),
                audit=(self._entry(principal, history, len(rows), request_id),),
                request_id=request_id,
                request_hash=request_hash,
                response=str(len(rows)),
            )
        )
        return len(rows)

    async def _unknown(self, tenant: str, history: MeterHistory) -> list[MeteredPeriod]:
        where = {"connection_point": history.connection_point}
        stored = await self._store.find(
            MeteredPeriod, tenant, where, since=history.start, until=history.end(), limit=MOST_PERIODS
        )
        known = {row.record.id for row in stored}
        return [row for row in history.rows(tenant) if row.id not in known]

    def _entry(self, principal: Principal, history: MeterHistory, kept: int, request_id: str) -> AuditEntry:
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action="metered.report",
            object_kind="metered",
            object_id=history.connection_point,
            detail={
                "start": history.start.isoformat(),
                "end": history.end().isoformat(),
                "reported": str(len(history.energy_kwh)),
                "kept": str(kept),
            },
            request_id=request_id,
        )


def _require_own(principal: Principal, state: FleetState, point_id: str) -> None:
    """Raise unless the connection point is the tenant's and the platform has a charger at its site."""
    place = state.point_place.get(point_id)
    if place is None or place not in state.points_of(principal.csms):
        raise NotFound("connection point", point_id)


def _hash_of(history: MeterHistory) -> str:
    """Return the hash of a report; columns go in as their exact bytes."""
    columns = [
        np.ascontiguousarray(column, dtype="<f8").tobytes().hex()
        for column in (history.energy_kwh, history.chargers_kwh)
    ]
    origin = ["modelled"] if history.is_modelled else []
    return content_hash(["meter-history", history.connection_point, history.start.isoformat(), *columns, *origin])
