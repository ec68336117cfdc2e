"""A CitrineOS-shaped stub with its documented quirks and simulated chargers, on loopback, to develop against.

```
python -m gateway.sandbox.citrineos --ready FILE [--clock FILE] [--port 8091] [--charger CP1]...
```

As CitrineOS 1.8 does, it answers 200 also when it failed (`success` decides), posts the charger's own answer to `callbackUrl`, refuses a
`validFrom` in the future, and refuses a second profile of the same purpose and level unless it ends later than the one that is there.
Faults: `POST /control/faults {"on": "setChargingProfile", "do": "unsuccessful" | "rejected" | "silent" | "forget" | "status", "times": 1}`;
`forget` lets the charger accept and keep nothing, as one that starts anew does.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.ocpi_world import WorldClock, read_instant
from gateway.sandbox.program import log_to_stderr, serve_until_stopped
from gateway.sandbox.vtn_control import Fault, FaultQueue, document_of

Document = dict[str, Any]
_W_PER_KW = 1000.0
_VOLTAGE_V = 230.0
_LIVE_LEVEL = 2
_ACTIONS = ("setChargingProfile", "clearChargingProfile", "getCompositeSchedule", "getChargingProfiles")


@dataclass(slots=True)
class StubCharger:
    """One charging station with one EVSE."""

    max_kw: float = 11.0
    phases: int = 3
    transaction: str | None = None
    profiles: dict[tuple[str, int], Document] = field(default_factory=dict)
    """Installed, by purpose and level."""
    uncovered: int = 0
    """How often a change left it without any limit although it had one."""
    unlived: int = 0
    """How often a change left it with nothing above its fallback although it had that."""
    heard: list[tuple[str, Document]] = field(default_factory=list)


class CitrineStub:
    """The API and the chargers behind it.

    Args:
        clock: Market time.
        chargers: Identifiers.
    """

    def __init__(self, clock: WorldClock, chargers: Sequence[str]) -> None:
        self._clock = clock
        self.chargers = {identifier: StubCharger() for identifier in chargers}
        self.faults: FaultQueue[Fault] = FaultQueue()
        self._http: aiohttp.ClientSession | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        routes = [web.post(f"/ocpp/{{version}}/smartcharging/{action}", self._called) for action in _ACTIONS]
        app.add_routes([*routes, web.post("/control/faults", self._add_fault)])
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            self._http, self._tasks = http, tasks
            yield

    # ---------------------------------------------------------------- the API

    async def _called(self, request: web.Request) -> web.Response:
        action = request.path.rpartition("/")[2]
        body = dict(await document_of(request))
        charger = self.chargers.get(request.query.get("identifier", ""))
        fault = self.faults.take(action)
        done = "" if fault is None else fault.do
        if fault is not None and done == "status":
            return web.json_response({"error": "fault"}, status=fault.status)
        if charger is None or "tenantId" not in request.query:
            return _answered(success=False, payload="charger is not connected")
        charger.heard.append((action, body))
        refusal = self._refusal(charger, action, body) or ("scripted" if done == "unsuccessful" else "")
        if refusal:
            return _answered(success=False, payload=refusal)
        answer = {"status": "Rejected"} if done == "rejected" else self._act(charger, action, body, done)
        callback = request.query.get("callbackUrl")
        if callback and done != "silent" and self._tasks is not None:
            self._tasks.create_task(self._call_back(callback, answer))
        return _answered(success=True, payload=None)

    def _refusal(self, charger: StubCharger, action: str, body: Document) -> str:
        """Return why CitrineOS itself refuses; empty when it does not."""
        if action != "setChargingProfile":
            return ""
        profile = _profile(body)
        now = self._clock.now()
        if "validFrom" in profile and read_instant(profile["validFrom"]) > now:
            return "validFrom is in the future"
        there = charger.profiles.get(_key(profile))
        if there is not None and read_instant(there["validTo"]) >= read_instant(profile["validTo"]):
            return "a profile of this purpose and stackLevel is there"
        if (
            profile["chargingProfilePurpose"] == "TxProfile"
            and str(profile.get("transactionId")) != charger.transaction
        ):
            return "no such transaction"
        return ""

    def _act(self, charger: StubCharger, action: str, body: Document, done: str) -> Document:
        before = self._effective(charger)
        if done == "forget":
            charger.profiles.clear()
            return {"status": "Accepted"}
        match action:
            case "setChargingProfile":
                profile = _profile(body)
                charger.profiles[_key(profile)] = profile
                answer: Document = {"status": "Accepted"}
            case "clearChargingProfile":
                wanted = body.get("chargingProfileId", body.get("id"))
                found = [key for key, one in charger.profiles.items() if _id(one) == wanted]
                for key in found:
                    del charger.profiles[key]
                answer = {"status": "Accepted" if found else "Unknown"}
            case "getCompositeSchedule":
                answer = self._composite(charger)
            case _:
                answer = {"status": "Accepted" if charger.profiles else "NoProfiles"}
        self._watch(charger, before)
        return answer

    def _watch(self, charger: StubCharger, before: Document | None) -> None:
        after = self._effective(charger)
        if before is not None and after is None:
            charger.uncovered += 1
        was_live = before is not None and before["stackLevel"] >= _LIVE_LEVEL
        if was_live and (after is None or after["stackLevel"] < _LIVE_LEVEL):
            charger.unlived += 1

    async def _call_back(self, url: str, answer: Document) -> None:
        if self._http is None:
            return
        try:
            async with self._http.post(url, json=answer) as response:
                await response.read()
        except aiohttp.ClientError:
            return  # it does not try again

    # ---------------------------------------------------------------- the chargers

    def _effective(self, charger: StubCharger) -> Document | None:
        """Return the profile that rules now: the highest valid one of the transaction, else the highest valid default."""
        now = self._clock.now()
        valid = [p for p in charger.profiles.values() if _is_valid(p, now)]
        own = [p for p in valid if p["chargingProfilePurpose"] == "TxProfile"]
        return max(own or valid, key=lambda p: int(p["stackLevel"]), default=None)

    def limit_kw(self, identifier: str) -> float | None:
        """Return what a charger may draw now; None for no limit."""
        charger = self.chargers[identifier]
        profile = self._effective(charger)
        if profile is None:
            return None
        schedule = _schedule(profile)
        period = schedule["chargingSchedulePeriod"][0]
        if schedule["chargingRateUnit"] == "W":
            return float(period["limit"]) / _W_PER_KW
        return float(period["limit"]) * int(period.get("numberPhases", 3)) * _VOLTAGE_V / _W_PER_KW

    def _composite(self, charger: StubCharger) -> Document:
        profile = self._effective(charger)
        if profile is None:
            limit: float = charger.max_kw * _W_PER_KW / charger.phases / _VOLTAGE_V
            schedule: Document = {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
            }
        else:
            schedule = _schedule(profile)
        return {"status": "Accepted", "schedule": {"evseId": 1, **schedule}}

    async def _add_fault(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        self.faults.add(
            Fault(
                on=str(script.get("on", "*")),
                do=str(script["do"]),
                times=int(script.get("times", 1)),
                status=int(script.get("status", 500)),
            )
        )
        return web.json_response({}, status=201)


def _answered(*, success: bool, payload: object) -> web.Response:
    return web.json_response([{"success": success, "payload": payload}])


def _profile(body: Document) -> Document:
    profile: Document = body.get("chargingProfile") or body["csChargingProfiles"]
    return profile


def _key(profile: Document) -> tuple[str, int]:
    return (str(profile["chargingProfilePurpose"]), int(profile["stackLevel"]))


def _id(profile: Document) -> object:
    return profile.get("id", profile.get("chargingProfileId"))


def _schedule(profile: Document) -> Document:
    schedule: Any = profile["chargingSchedule"]
    found: Document = schedule[0] if isinstance(schedule, list) else schedule
    return found


def _is_valid(profile: Document, now: datetime) -> bool:
    return now < read_instant(profile["validTo"])


async def _serve(arguments: argparse.Namespace) -> None:
    stub = CitrineStub(SandboxClock(arguments.clock), arguments.charger or ["CP1"])

    def ready(root: str) -> dict[str, object]:
        return {"url": root, "control_url": f"{root}/control"}

    await serve_until_stopped(
        stub.app(), "citrineos", port=arguments.port, ready_path=arguments.ready, ready_document=ready
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the stub until it is told to stop."""
    parser = argparse.ArgumentParser(description="A CitrineOS-shaped stub with simulated chargers, on loopback.")
    parser.add_argument("--ready", type=Path, help="file that says where it listens")
    parser.add_argument("--clock", type=Path, help="market time; left out: real time")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--charger", action="append", default=[], help="identifier of a charger; may be given often")
    arguments = parser.parse_args(words)
    log_to_stderr()
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()
