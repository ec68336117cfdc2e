"""Once a day of market time, what has been kept long enough is deleted; evidence and money never are."""

from datetime import timedelta

from gateway.domain.dispatch import DispatchBatch, DispatchOutcome
from gateway.domain.errors import StorageUnavailable
from gateway.domain.oscp import OscpMessage, OscpRequest, OscpSegment
from gateway.domain.programs import PendingReport
from gateway.domain.signals import RawSignal
from gateway.observe import logger
from gateway.ports import Clock
from gateway.settings import StoreSettings
from gateway.storage.retention import Retention
from gateway.storage.store import SqlStore

_PAUSE = timedelta(days=1)
_OSCP_REQUESTS_KEPT = timedelta(days=2)
"""A request id is honoured for 24 h."""
_log = logger("app")


def retention_of(settings: StoreSettings) -> Retention:
    """Return how long each kind of row that grows is kept."""
    messages = timedelta(days=settings.messages_kept_days)
    return Retention(
        records={
            RawSignal: messages,
            DispatchBatch: messages,
            DispatchOutcome: messages,
            OscpMessage: messages,
            OscpRequest: _OSCP_REQUESTS_KEPT,
            OscpSegment: _PAUSE,
            PendingReport: timedelta(days=settings.reports_kept_days),
        }
    )


async def keep_store(store: SqlStore, settings: StoreSettings, clock: Clock) -> None:
    """Delete what is old, once a day, until cancelled; a failure is logged and tried again the next day."""
    retention = retention_of(settings)
    while True:
        await clock.sleep(_PAUSE)
        try:
            deleted = await store.prune(retention)
        except StorageUnavailable as error:
            _log.warning("old rows stay", error=str(error))
        else:
            _log.info("old rows deleted", **{name: count for name, count in deleted.items() if count})
