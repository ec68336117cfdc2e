"""What a platform may report: of its own chargers and meters only, in the right unit, and not of the future."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import TelemetryBatch
from gateway.domain.identity import Principal
from gateway.domain.sessions import Session, SessionState
from gateway.services.track_fleet.state import FleetState

_MOST_TIMES_RATING = 100.0
"""Power over so many times a charger's rating is no measurement but another unit: W instead of kW."""
_MOST_NEED_KWH = 10_000.0
"""No car, truck or boat needs more in one session."""
_NOT_OWN = "is not a charger of this platform"


@dataclass(frozen=True, slots=True, eq=False)
class StreamMap:
    """Where the columns of a telemetry stream go."""

    charger_ids: tuple[str, ...]
    point_ids: tuple[str, ...]
    chargers: npt.NDArray[np.int64]
    points: npt.NDArray[np.int64]

    @classmethod
    def build(cls, principal: Principal, batch: TelemetryBatch, state: FleetState) -> "StreamMap":
        """Find the chargers and connection points of a stream.

        Raises:
            InvalidInput: One of them is not the platform's, or is named twice.
        """
        chargers = state.platforms.own_places(principal.csms, batch.charger_ids)
        if (chargers < 0).any():
            raise InvalidInput(f"charger_ids[{int(np.argmax(chargers < 0))}]", _NOT_OWN)
        points = np.empty(len(batch.connection_point_ids), dtype=np.int64)
        own = state.points_of(principal.csms)
        for i, point_id in enumerate(batch.connection_point_ids):
            place = state.point_place.get(point_id)
            if place is None or place not in own:
                raise InvalidInput(f"connection_point_ids[{i}]", "is no connection point of a site with your chargers")
            points[i] = place
        for name, places in (("charger_ids", chargers), ("connection_point_ids", points)):
            if len(np.unique(places)) != len(places):
                raise InvalidInput(name, "must not repeat an id")
        return cls(batch.charger_ids, batch.connection_point_ids, chargers, points)


def own_charger(principal: Principal, state: FleetState, charger_id: str, field: str) -> int:
    """Return the place of a charger of the caller's platform.

    Raises:
        InvalidInput: There is no such charger.
    """
    place = state.chargers.find(charger_id)
    if place is None or (principal.csms is not None and state.csms_of(place) != principal.csms):
        raise InvalidInput(field, _NOT_OWN)
    return place


def check_power(batch: TelemetryBatch, rating_kw: npt.NDArray[np.float64]) -> None:
    """Check that power was measured in kW.

    Args:
        batch: Measurements.
        rating_kw: Rating of the charger of each of them.

    Raises:
        InvalidInput: One is over a hundred times the rating of its charger: nothing of the message counts.
    """
    is_wrong = np.abs(batch.power_kw) > _MOST_TIMES_RATING * rating_kw
    if is_wrong.any():
        i = int(np.argmax(is_wrong))
        problem = f"{batch.power_kw[i]:g} kW at a charger of {rating_kw[i]:g} kW: the unit is kW"
        raise InvalidInput(f"power_kw[{i}]", problem)


def check_sessions(
    principal: Principal, sessions: Sequence[Session], state: FleetState, *, latest: datetime, is_history: bool
) -> None:
    """Check that sessions are the platform's and can be.

    Args:
        principal: The reporting platform.
        sessions: What it says.
        state: Its fleet.
        latest: No car has arrived after it.
        is_history: Whether all must have ended.

    Raises:
        InvalidInput: One breaks a rule; names its place and field.
    """
    for i, session in enumerate(sessions):
        place = own_charger(principal, state, session.charger, f"sessions[{i}].charger_id")
        if session.tenant != principal.tenant:
            raise InvalidInput(f"sessions[{i}].tenant", "is not the caller's")
        if is_history and session.state is not SessionState.ENDED:
            raise InvalidInput(f"sessions[{i}].departure_time", "is required for a session of the past")
        _check_values(session, float(state.max_kw[place]), latest, f"sessions[{i}]")


def _check_values(session: Session, rating_kw: float, latest: datetime, field: str) -> None:
    if session.arrival > latest:
        raise InvalidInput(f"{field}.arrival_time", "lies in the future")
    expected = session.expected_departure
    if session.state is SessionState.PLUGGED_IN and expected is not None and expected < session.arrival:
        raise InvalidInput(f"{field}.expected_departure_time", "must not be before arrival_time")
    if session.max_power_kw > _MOST_TIMES_RATING * rating_kw:
        problem = f"{session.max_power_kw:g} kW at a charger of {rating_kw:g} kW: the unit is kW"
        raise InvalidInput(f"{field}.max_power_kw", problem)
    energies_kwh = {
        "energy_needed_kwh": session.energy_needed_kwh,
        "delivered_energy_kwh": session.delivered_kwh,
        "battery_kwh": session.battery_kwh,
    }
    for name, value in energies_kwh.items():
        if value is not None and value > _MOST_NEED_KWH:
            raise InvalidInput(f"{field}.{name}", f"must be at most {_MOST_NEED_KWH:g}: the unit is kWh")
