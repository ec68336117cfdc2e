"""What a delivery period that has closed leaves behind, as rows."""

import math

import numpy as np

from gateway.domain.fleet import RegisterReading
from gateway.domain.settlement import MeteredPeriod
from gateway.services.track_fleet.registers import ClosedPeriod
from gateway.services.track_fleet.state import FleetState, instant


def metered_periods(
    tenant: str, state: FleetState, meters: ClosedPeriod, chargers: ClosedPeriod
) -> list[MeteredPeriod]:
    """Return the energy of each connection point whose meter is known."""
    is_below = state.point_index >= 0
    drawn = np.bincount(
        state.point_index[is_below],
        weights=np.nan_to_num(chargers.energy_kwh[is_below]),
        minlength=len(state.points),
    )
    start, end = instant(meters.start), instant(meters.end)
    return [
        MeteredPeriod(
            id=f"{point.id}:{start.isoformat()}",
            tenant=tenant,
            connection_point=point.id,
            start=start,
            end=end,
            energy_kwh=float(meters.energy_kwh[i]),
            chargers_kwh=float(drawn[i]),
            coverage=float(meters.coverage[i]),
        )
        for i, point in enumerate(state.points)
        if not np.isnan(meters.energy_kwh[i])
    ]


def register_readings(
    tenant: str, state: FleetState, meters: ClosedPeriod, chargers: ClosedPeriod
) -> list[RegisterReading]:
    """Return the registers from which a restart goes on, of each connection point and the chargers behind it."""
    order = np.argsort(state.point_index, kind="stable")
    borders = np.searchsorted(state.point_index[order], np.arange(len(state.points) + 1)).tolist()
    places, charger_ids, register_kwh = order.tolist(), state.chargers[:], chargers.register_kwh.tolist()
    readings = []
    for i, point in enumerate(state.points):
        below = places[borders[i] : borders[i + 1]]
        readings.append(
            RegisterReading(
                id=point.id,
                tenant=tenant,
                at=instant(meters.end),
                meter_kwh=_known(float(meters.register_kwh[i])),
                charger_ids=tuple(charger_ids[c] for c in below),
                charger_kwh=tuple(_known(register_kwh[c]) for c in below),
            )
        )
    return readings


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
