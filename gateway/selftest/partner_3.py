"""The strict utility of one 3.x case, seen from the script."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from gateway.selftest.partner import Fields, Partner, text_of
from gateway.v1 import signals_service_pb2 as signals

LIMIT = "IMPORT_CAPACITY_LIMIT"
NOW = "0001-01-01T00:00:00Z"
EVER = "P9999Y"


class Partner3(Partner):
    """What a 3.x case publishes and hears."""

    program_id = ""

    async def publish(self, collection: str, body: Fields) -> Fields:
        """Put an object into the VTN as it is."""
        return await self.control("POST", f"/objects/{collection}", body)

    async def program(self, **fields: object) -> str:
        """Publish the program of this case and return its id."""
        made = await self.publish("programs", {"programName": f"program-{self.name}", **fields})
        self.program_id = str(made["id"])
        return self.program_id

    async def event(self, **fields: object) -> str:
        """Publish an event of the case's program and return its id."""
        return str((await self.publish("events", {"programID": self.program_id, **fields}))["id"])

    async def limit(
        self, start: datetime | str, kw: Sequence[float], each: str = "PT1H", units: str | None = "KW", **fields: object
    ) -> str:
        """Publish an event of IMPORT_CAPACITY_LIMIT intervals and return its id."""
        return await self.event(**limit_body(start, kw, each, units), **fields)

    async def replace(self, event_id: str, body: Fields) -> None:
        """Put another event in the place of one."""
        await self.control("PUT", f"/objects/events/{event_id}", {"programID": self.program_id, **body})

    async def remove(self, event_id: str) -> None:
        """Delete an event."""
        await self.control("DELETE", f"/objects/events/{event_id}")

    async def objects(self, collection: str) -> list[Fields]:
        """Return what the VTN holds."""
        found: list[Fields] = (await self.control("GET", f"/objects/{collection}"))["objects"]
        return found

    async def reads(self, count: int = 1) -> list[Fields]:
        """Return once the VEN has read events so often from now on."""
        mark = await self.mark()
        return await self.heard("GET /events", count=count, after=mark)

    async def known_ven(self) -> Fields:
        """Return the VEN's own ven once it has made it known."""
        found: list[Fields] = []

        async def is_known() -> bool:
            found[:] = await self.objects("vens")
            return bool(found)

        await self.until(is_known, "a ven at the VTN")
        return found[0]

    async def intervals(self, event_id: str) -> list[tuple[datetime, str, float]]:
        """Return start, instruction and value of each interval as the gateway understood the event."""
        known = await self.event_known(event_id)
        return [(starts(each), each.instruction, each.value) for each in known.intervals]


def limit_body(start: datetime | str, kw: Sequence[float], each: str, units: str | None) -> Fields:
    """Return intervals, period and unit of a capacity limit; None leaves the unit out."""
    descriptor = {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": LIMIT, "units": units}
    return {
        "intervalPeriod": {"start": start if isinstance(start, str) else text_of(start), "duration": each},
        "intervals": values_of(LIMIT, [[value] for value in kw]),
        "payloadDescriptors": [descriptor],
    }


def values_of(payload: str, rows: Sequence[Sequence[object]]) -> list[Fields]:
    """Return one interval for each row of values."""
    return [{"id": index, "payloads": [{"type": payload, "values": list(row)}]} for index, row in enumerate(rows)]


def starts(interval: signals.EventInterval) -> datetime:
    """Return the start of an interval."""
    return interval.span.start_time.ToDatetime(UTC)


def midnight(now: datetime) -> datetime:
    """Return the begin of the day in UTC."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


HOUR = timedelta(hours=1)
