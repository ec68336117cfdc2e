"""Reports what was delivered: power for grid partners, performance of events, and the trace of any number.

`usage` turns samples and meter readings into readings per slot, `performance` holds an event against its baseline,
`measurement` finds the meter rows behind it, `tracing` follows causes and `cause_words` tells them. Nothing here changes what anybody draws.
"""

from gateway.services.report_delivery.measurement import EventMeasurement, PointMeters
from gateway.services.report_delivery.reporter import DeliveryReporter, ReportSettings

__all__ = ["DeliveryReporter", "EventMeasurement", "PointMeters", "ReportSettings"]
