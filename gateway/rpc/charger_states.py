"""What is known of one charger, as a message."""

from datetime import UTC, datetime

import numpy as np

from gateway.domain.fleet import ChargerData, DataFlag, FleetView
from gateway.rpc import convert
from gateway.v1 import fleet_service_pb2 as pb

_FLAGS = {
    DataFlag.UNKNOWN: pb.DATA_FLAG_UNKNOWN,
    DataFlag.STALE: pb.DATA_FLAG_STALE,
    DataFlag.REGISTER_FELL: pb.DATA_FLAG_REGISTER_FELL,
    DataFlag.POWER_CONTRADICTS_REGISTER: pb.DATA_FLAG_POWER_CONTRADICTS_REGISTER,
    DataFlag.CHARGE_CONTRADICTS_METER: pb.DATA_FLAG_CHARGE_CONTRADICTS_METER,
    DataFlag.POWER_CONTRADICTS_CURRENT: pb.DATA_FLAG_POWER_CONTRADICTS_CURRENT,
    DataFlag.VOLTAGE_IMPLAUSIBLE: pb.DATA_FLAG_VOLTAGE_IMPLAUSIBLE,
    DataFlag.POWER_IMPLAUSIBLE: pb.DATA_FLAG_POWER_IMPLAUSIBLE,
}


def state_message(view: FleetView, place: int) -> pb.ChargerState:
    """Return the state of the charger at a place of the view's arrays."""
    power_kw, at = float(view.power_kw[place]), float(view.power_at[place])
    message = pb.ChargerState(
        charger_id=view.tree.charger_ids[place],
        power_kw=None if np.isnan(power_kw) else power_kw,
        measure_time=None if np.isnan(at) else convert.timestamp(datetime.fromtimestamp(at, UTC)),
        session_id=view.session_ids[place] or "",
        delivered_energy_kwh=float(view.delivered_kwh[place]),
    )
    if view.data is not None:
        _add_data(message, view.data, place, power_kw)
    return message


def _add_data(message: pb.ChargerState, data: ChargerData, place: int, power_kw: float) -> None:
    message.voltage_v = float(data.voltage_v[place])
    charge = float(data.state_of_charge[place])
    if not np.isnan(charge):
        message.state_of_charge = charge
    if not np.isnan(power_kw):
        message.phase_power_kw.extend((data.phase_share[place] * power_kw).tolist())
    flags = int(data.flags[place])
    message.flags.extend(wire for flag, wire in _FLAGS.items() if flags & flag)
