"""The fleet as it is now: sessions, measurements, energy per delivery period, power history.

Here live the arrays that change with every measurement, and nothing that decides: others read a `FleetView`.
"""

from gateway.domain.fleet import FleetView, RegisterReading, TelemetryBatch
from gateway.services.track_fleet.history import MeterHistory
from gateway.services.track_fleet.tracker import FleetTracker, TrackSettings

__all__ = ["FleetTracker", "FleetView", "MeterHistory", "RegisterReading", "TelemetryBatch", "TrackSettings"]
