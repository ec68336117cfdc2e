"""The fleet's own codec for the gateway's contract: arrays to messages."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.sandbox.fleet_past import PastMeters
from gateway.sandbox.fleet_sessions import SessionTable
from gateway.sandbox.fleet_simulation import Reading
from gateway.sandbox.fleet_statistics import Floats
from gateway.v1 import fleet_service_pb2 as fleet_pb


def metadata_of(token: str) -> tuple[tuple[str, str], ...]:
    """Return the call metadata that proves who we are."""
    return (("authorization", f"Bearer {token}"),)


def session_messages(
    table: SessionTable, delivered_kwh: Floats, charger_ids: Sequence[str], *, is_over: bool
) -> list[fleet_pb.Session]:
    """Return one message per session.

    The departure is in it only when the car has left; energy and departure that a driver announced only where one was.

    Args:
        table: The sessions, shape (S,).
        delivered_kwh: What each has got, shape (S,).
        charger_ids: The platform's chargers by position.
        is_over: Whether the cars have left.
    """
    messages = []
    for row in range(len(table)):
        message = fleet_pb.Session(
            id=str(table.id[row]),
            charger_id=charger_ids[int(table.charger[row])],
            arrival_time=Timestamp(seconds=int(table.arrival_s[row])),
            max_power_kw=float(table.max_kw[row]),
            phase_count=int(table.phases[row]),
            delivered_energy_kwh=round(float(delivered_kwh[row]), 4),
        )
        if is_over:
            message.departure_time.seconds = int(table.departure_s[row])
        if not np.isnan(table.stated_energy_kwh[row]):
            message.energy_needed_kwh = float(table.stated_energy_kwh[row])
        if not np.isnan(table.stated_departure_s[row]):
            message.expected_departure_time.seconds = int(table.stated_departure_s[row])
        messages.append(message)
    return messages


def report_request(sessions: Sequence[fleet_pb.Session], *, is_history: bool) -> fleet_pb.ReportSessionsRequest:
    """Return a report whose request id follows from its content, so that sending it again is the same request."""
    request = fleet_pb.ReportSessionsRequest(sessions=sessions, is_history=is_history)
    digest = hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).hexdigest()
    request.request_id = f"sessions-{digest}"
    return request


def meter_history_request(past: PastMeters, point: str, place: int) -> fleet_pb.ReportMeterHistoryRequest:
    """Return the past of the meter at a place; its request id follows from its content."""
    request = fleet_pb.ReportMeterHistoryRequest(
        connection_point_id=point,
        start_time=Timestamp(seconds=past.start_s),
        resolution_minutes=15,
        energy_kwh=np.round(past.energy_kwh[place], 4).tolist(),
        charger_energy_kwh=np.round(past.charger_energy_kwh[place], 4).tolist(),
        is_modelled=True,
    )
    digest = hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).hexdigest()
    request.request_id = f"meter-history-{digest}"
    return request


def telemetry_request(reading: Reading) -> fleet_pb.StreamTelemetryRequest:
    """Return a batch of all meters; its sequence is the instant, which grows also across restarts of this program."""
    return fleet_pb.StreamTelemetryRequest(
        sequence=reading.measure_s,
        measure_time=Timestamp(seconds=reading.measure_s),
        power_kw=reading.power_kw.tolist(),
        energy_register_kwh=reading.register_kwh.tolist(),
        meter_register_kwh=reading.meter_register_kwh.tolist(),
    )


def instant_s(timestamp: Timestamp) -> float:
    """Return seconds since 1970."""
    return timestamp.seconds + timestamp.nanos / 1e9


def iso(seconds: float) -> str:
    """Return an instant as ISO 8601 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
