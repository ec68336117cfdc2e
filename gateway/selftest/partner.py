"""One grid partner of one case: what it says, what it heard, and what the gateway says over gRPC about the partner's node."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from gateway.client import Gateway
from gateway.clock import FileClock
from gateway.v1 import signals_service_pb2 as signals

Fields = dict[str, Any]
PATIENCE_S = 45.0
"""Real seconds within which anything that must happen happens, also on a slow machine."""
PATIENCE = timedelta(minutes=30)
"""Market time that must have passed as well before a wait is given up."""
_LOOK_S = 0.1
CALL_S = 60.0
"""Real seconds within which the gateway answers a call, also after it was killed."""
_TOLERANCE_KW = 1e-6
RATING_KW = 500.0
"""Rating of every node of the self-test: what holds when no partner says anything."""


class CaseFailed(Exception):
    """A case did not hold; the text says what was seen."""


def expect(holds: object, seen: object) -> None:
    """Fail the case with what was seen, unless the condition holds.

    Raises:
        CaseFailed: It does not.
    """
    if not holds:
        raise CaseFailed(str(seen))


def text_of(instant: datetime) -> str:
    """Return an instant as OpenADR writes it: UTC with whole seconds."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """What every case is given."""

    clock: FileClock
    http: aiohttp.ClientSession
    gateway: Gateway
    intermission: Callable[[], Awaitable[None]]
    """Waits until the gateway was killed and started again; at most once a case."""
    refusal: Callable[[Mapping[str, Any]], Awaitable[str]]
    """Starts another gateway with changed settings of this partner and returns why it refuses them."""
    restart_broker: Callable[[], Awaitable[None]]
    """Kills the MQTT broker and starts it again."""


class Partner:
    """What cases of both dialects share: the control door of the partner's world, and the gateway's words about its node."""

    def __init__(self, name: str, node: str, door: str, around: Around) -> None:
        self.name = name
        self.node = node
        self.authority = f"vtn:{name}"
        self.around = around
        self.clock = around.clock
        self._door = f"{door}/worlds/{name}"

    async def control(self, verb: str, path: str, document: object = None) -> Fields:
        """Call the control door.

        Raises:
            CaseFailed: It refused; a mistake in the case.
        """
        async with self.around.http.request(verb, self._door + path, json=document) as answer:
            if answer.status >= 400:
                raise CaseFailed(f"control door: {answer.status} {await answer.text()}")
            content: Fields = await answer.json()
            return content

    async def fault(self, on: str, do: str, *, times: int = 1, **fields: object) -> None:
        """Let the partner go wrong with the next messages of a kind; negative times for ever."""
        await self.control("POST", "/faults", {"on": on, "do": do, "times": times, **fields})

    async def heal(self) -> None:
        """Let nothing go wrong any more."""
        await self.control("DELETE", "/faults")

    async def log(self, after: int = 0) -> list[Fields]:
        """Return what the partner heard from an entry on."""
        answer = await self.control("GET", f"/log?after={after}")
        entries: list[Fields] = answer["entries"]
        return entries

    async def mark(self) -> int:
        """Return the number of the next entry."""
        return len(await self.log())

    async def heard(
        self,
        kind: str,
        *,
        count: int = 1,
        after: int = 0,
        where: Callable[[Any], object] = bool,
        patience: float = PATIENCE_S,
    ) -> list[Fields]:
        """Return the entries of a kind whose fields fit, once there are so many.

        Raises:
            CaseFailed: There were not in time.
        """
        found: list[Fields] = []

        async def is_enough() -> bool:
            entries = await self.log(after)
            found[:] = [entry for entry in entries if entry["kind"] == kind and where(entry["fields"])]
            return len(found) >= count

        await self.until(is_enough, f"{count} {kind} heard", patience, lambda: f"{len(found)} of them")
        return found

    async def until(
        self,
        holds: Callable[[], Awaitable[bool]],
        what: str,
        patience: float = PATIENCE_S,
        seen: Callable[[], object] = lambda: "nothing",
    ) -> None:
        """Return once a condition holds.

        Raises:
            CaseFailed: It did not in time.
        """
        deadline, market_deadline = asyncio.get_running_loop().time() + patience, self.clock.now() + PATIENCE
        while not await holds():
            if asyncio.get_running_loop().time() > deadline and self.clock.now() > market_deadline:
                raise CaseFailed(f"not in {patience:.0f} s: {what}; seen {seen()}")
            await asyncio.sleep(_LOOK_S)

    async def limit_kw(self, at: datetime) -> tuple[float, str]:
        """Return what holds at the node at an instant, in kW, and who decides."""
        request = signals.ResolveLimitRequest(node_id=self.node)
        request.at_time.FromDatetime(at)
        answer = await self.around.gateway.signals.ResolveLimit(request, timeout=CALL_S, wait_for_ready=True)
        return answer.resolution.power_kw, answer.resolution.authority

    async def limits(self, steps: Mapping[datetime, float], *, patience: float = PATIENCE_S) -> str:
        """Wait until what holds at each instant is the value given, in kW, and return it as evidence.

        Raises:
            CaseFailed: It was not in time.
        """
        seen: dict[str, float] = {}

        async def is_so() -> bool:
            for at in steps:
                seen[text_of(at)] = (await self.limit_kw(at))[0]
            return all(abs(seen[text_of(at)] - value) < _TOLERANCE_KW for at, value in steps.items())

        wanted = ", ".join(f"{value:g} kW at {text_of(at)[11:16]}" for at, value in steps.items())
        await self.until(is_so, f"limits {wanted}", patience, lambda: seen)
        return wanted

    async def events(self) -> dict[str, signals.GridEvent]:
        """Return the gateway's events of this partner by the partner's id."""
        found: dict[str, signals.GridEvent] = {}
        token = ""
        while True:
            request = signals.ListEventsRequest()
            request.page.page_token = token
            answer = await self.around.gateway.signals.ListEvents(request, timeout=CALL_S, wait_for_ready=True)
            found.update({event.event_id: event for event in answer.events if event.authority == self.authority})
            token = answer.next_page_token
            if not token:
                return found

    async def event_known(self, event_id: str) -> signals.GridEvent:
        """Return the gateway's event once it is there.

        Raises:
            CaseFailed: It did not come in time.
        """
        found: dict[str, signals.GridEvent] = {}

        async def is_known() -> bool:
            found.update(await self.events())
            return event_id in found

        await self.until(is_known, f"event {event_id} in the gateway", seen=lambda: sorted(found))
        return found[event_id]

    def soon(self, minutes: float = 30.0) -> datetime:
        """Return market time so many minutes from now, on a whole minute."""
        when = self.clock.now() + timedelta(minutes=minutes)
        return when.replace(second=0, microsecond=0)

    async def pass_market(self, duration: timedelta) -> None:
        """Let market time pass."""
        await self.clock.sleep(duration)
