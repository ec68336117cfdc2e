"""The scripted utility of one 2.0b case, seen from the script."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from gateway.selftest.partner import Fields, Partner, text_of

CONTEXT = "http://selftest.example/dr"
OTHER_CONTEXT = "http://selftest.example/dr-2"
KW = {"scale": "k"}


def event(event_id: str, start: datetime, *, minutes: float = 60, kw: float = 40.0, **changes: object) -> Fields:
    """Return an event that limits the node to so many kW; changes replace its fields."""
    span = minutes_text(minutes)
    return {
        "event_id": event_id,
        "start": text_of(start),
        "duration": span,
        "priority": 1,
        "signals": [setpoint([(minutes, kw)])],
        **changes,
    }


def setpoint(steps: Sequence[tuple[float, float]], **changes: object) -> Fields:
    """Return a LOAD_DISPATCH setpoint in kW: minutes and value of each step."""
    return {
        "intervals": [{"duration": minutes_text(minutes), "value": value} for minutes, value in steps],
        "unit": KW,
        **changes,
    }


def minutes_text(minutes: float) -> str:
    """Return minutes as an ISO 8601 duration."""
    seconds = round(minutes * 60)
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"


def listed(value: object) -> list[Any]:
    """Return a field that may be repeated as a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


class Partner20b(Partner):
    """What a 2.0b case says and hears."""

    async def world(self, **options: object) -> None:
        """Change what the utility is."""
        await self.control("PUT", "", options)

    async def say(self, kind: str, **fields: object) -> None:
        """Queue a message for the next poll."""
        await self.control("POST", "/say", {"kind": kind, **fields})

    async def say_raw(self, text: str) -> None:
        """Queue bytes."""
        await self.control("POST", "/say", {"raw": text})

    async def tell(self, *events: Fields, **fields: object) -> None:
        """Queue an oadrDistributeEvent; its events are the whole book from now on."""
        await self.say("oadrDistributeEvent", events=list(events), **fields)

    async def registered(self) -> Fields:
        """Return the ids of the VEN once it is registered and polls."""
        await self.heard("oadrPoll")
        return await self.control("GET", "/log?after=1000000")

    async def answers(self, *event_ids: str, after: int = 0) -> dict[str, Fields]:
        """Return the newest answer to each of the events, once all were answered."""
        found: dict[str, Fields] = {}

        async def is_answered() -> bool:
            for entry in await self.log(after):
                if entry["kind"] == "oadrCreatedEvent":
                    found.update({_event_id(each): each for each in event_responses(entry["fields"])})
            return all(event_id in found for event_id in event_ids)

        await self.until(is_answered, f"answers to {', '.join(event_ids)}", seen=lambda: sorted(found))
        return {event_id: found[event_id] for event_id in event_ids}

    async def polled(self, count: int, *, after: int | None = None) -> list[Fields]:
        """Return once the VEN has polled so often from an entry on, now by default."""
        return await self.heard("oadrPoll", count=count, after=await self.mark() if after is None else after)

    async def poll_gaps(self, count: int, *, after: int) -> list[timedelta]:
        """Return market time between polls from an entry on."""
        polls = await self.polled(count, after=after)
        instants = [datetime.fromisoformat(entry["at"]) for entry in polls]
        return [later - earlier for earlier, later in itertools.pairwise(instants)]


def event_responses(fields: Fields) -> list[Fields]:
    """Return the answers in an oadrCreatedEvent."""
    inner = fields["eiCreatedEvent"].get("eventResponses")
    return listed(inner["eventResponse"]) if isinstance(inner, dict) else []


def said(answer: Fields) -> tuple[str, str]:
    """Return code and opt of an answer."""
    return answer["responseCode"], answer["optType"]


def _event_id(answer: Fields) -> str:
    return str(answer["qualifiedEventID"]["eventID"])
