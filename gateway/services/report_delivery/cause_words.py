"""Why a delivery period deviates, in words: what its cause's id stands for is read from the rows behind it."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from gateway.domain.dispatch import DispatchBatch
from gateway.domain.limits import Limit
from gateway.domain.settlement import FORECAST_CAUSE, MISSING_METER_CAUSE, NO_CAUSE
from gateway.domain.signals import GridEvent
from gateway.ports import Store

_PLAIN = {
    NO_CAUSE: "within the tolerance",
    FORECAST_CAUSE: "other than forecast",
    MISSING_METER_CAUSE: "no meter reading, the position stands in",
}


class CauseTeller:
    """Reads rows; writes nothing."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store

    async def words(self, tenant: str, causes: Iterable[str], zone: ZoneInfo) -> dict[str, str]:
        """Return each cause of a settled period in words; one whose rows are gone keeps its id."""
        return {cause: await self._told(tenant, cause, zone) for cause in dict.fromkeys(causes)}

    async def _told(self, tenant: str, cause: str, zone: ZoneInfo) -> str:
        kind, _, record_id = cause.partition(":")
        match kind:
            case "limit":
                return await self._limit(tenant, record_id)
            case "after-limit":
                return f"charged later, held back before by the {await self._limit(tenant, record_id)}"
            case "dispatch":
                return f"chargers did not follow the {await self._command(tenant, record_id, zone)}"
            case _:
                return _PLAIN.get(cause, cause)

    async def _limit(self, tenant: str, limit_id: str) -> str:
        row = await self._store.get(Limit, tenant, limit_id)
        if row is None:
            return f"limit {limit_id}"
        limit = row.record
        whose = f"limit of {limit.authority.partition(':')[2] or limit.authority}"
        kind, _, cause_id = limit.cause.partition(":")
        event = await self._store.get(GridEvent, tenant, cause_id) if kind == "event" else None
        if event is not None:
            return f"{whose}, event {event.record.event_id}"
        return f"{whose} ({limit.reason})" if limit.reason else whose

    async def _command(self, tenant: str, batch_id: str, zone: ZoneInfo) -> str:
        row = await self._store.get(DispatchBatch, tenant, batch_id)
        if row is None:
            return f"command {batch_id}"
        return f"command of {row.record.issued_at.astimezone(zone).isoformat(sep=' ', timespec='seconds')}"
