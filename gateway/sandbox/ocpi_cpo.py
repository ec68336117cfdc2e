"""The sandbox charge point operator: OCPI 2.2.1 or 2.3.0 on loopback, to develop against.

```
python -m gateway.sandbox.ocpi_cpo --ready FILE --token-a SECRET [--version 2.3.0] [--clock FILE] [--port 8090] [--evse UID]...
```

It waits to be registered with, or registers itself (`POST /control/register {"versions_url": "..."}`). Its control door plugs cars in
(`POST /control/cars {"evse": "..."}`), lets them report (`POST /control/report`), and orders faults (`POST /control/faults`):

```
{"on": "PUT", "do": "too-often" | "rejected" | "not-supported" | "unknown-session" | "no-result" | "late-result" | "result-rejected" |
 "result-unknown" | "list" | "garbage" | "status" | "hang", "times": 1, "status": 500}
```
"""

import argparse
import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import numpy as np
from aiohttp import web

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.ocpi_world import Car, Document, OcpiWorld, WorldClock, check_profile, instant_text
from gateway.sandbox.program import log_to_stderr, serve_until_stopped
from gateway.sandbox.vtn_control import Fault, FaultQueue, document_of

_TIMEOUT_S = 30
_LATE_S = 5
_HANG_S = 3_600.0
_REPLIES = {
    "too-often": "TOO_OFTEN",
    "rejected": "REJECTED",
    "not-supported": "NOT_SUPPORTED",
    "unknown-session": "UNKNOWN_SESSION",
}
_RESULTS = {"result-rejected": "REJECTED", "result-unknown": "UNKNOWN"}


class CpoClock(WorldClock, Protocol):
    """Market time that can be waited for."""

    async def sleep(self, duration: timedelta) -> None:
        """Return after a duration of market time."""
        ...


@dataclass(kw_only=True)
class CpoOptions:
    """How the operator is called and who may register."""

    token_a: str
    version: str = "2.2.1"
    country: str = "NL"
    party: str = "CPO"
    evses: tuple[str, ...] = ("EVSE-1", "EVSE-2", "EVSE-3")
    timeout_s: int = _TIMEOUT_S
    """Within so many seconds results are promised."""


@dataclass
class Partner:
    """The smart charging provider as it is known."""

    token: str = ""
    """What we show it."""
    endpoints: dict[tuple[str, str], str] = field(default_factory=dict)


class OcpiCpo:
    """One operator.

    Args:
        options: Names.
        clock: Market time.
        seed: For tokens.
    """

    def __init__(self, options: CpoOptions, clock: CpoClock, seed: int = 1) -> None:
        self._options = options
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self.world = OcpiWorld(clock, options.country, options.party, options.evses)
        self.faults: FaultQueue[Fault] = FaultQueue()
        self.partner: Partner | None = None
        self.requests: list[tuple[str, str, Document | None]] = []
        """Method, path and body of what was asked about profiles."""
        self.headers: list[dict[str, str]] = []
        self._inbound = options.token_a
        self._root = ""
        self._http: aiohttp.ClientSession | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._late: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application()
        base = f"/ocpi/{self._options.version}"
        profile = f"{base}/chargingprofiles/{{session}}"
        app.add_routes(
            [
                web.get("/ocpi/versions", self._versions),
                web.get(base, self._details),
                web.post(f"{base}/credentials", self._credentials),
                web.put(f"{base}/credentials", self._credentials),
                web.delete(f"{base}/credentials", self._leave),
                web.get(f"{base}/sessions", self._list_sessions),
                *(web.route(method, profile, self._profile) for method in ("PUT", "GET", "DELETE")),
                web.post("/control/register", self._register),
                web.post("/control/cars", self._plug),
                web.delete("/control/cars/{session}", self._unplug),
                web.post("/control/report", self._report_all),
                web.post("/control/faults", self._add_fault),
            ]
        )
        app.cleanup_ctx.append(self._running)
        return app

    async def _running(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            self._http, self._tasks = http, tasks
            yield
            for task in self._late:
                task.cancel()

    def listens_at(self, root: str) -> None:
        """Learn the own address."""
        self._root = root

    # ---------------------------------------------------------------- what every request has in common

    def _check(self, request: web.Request, fault_name: str) -> Fault | None:
        shown = request.headers.get("Authorization", "")
        if shown != _authorization(self._inbound):
            raise web.HTTPUnauthorized(text=json.dumps(self._envelope(None, 2001)))
        return self.faults.take(fault_name)

    def _envelope(self, data: object, code: int = 1000) -> Document:
        document: Document = {"status_code": code, "timestamp": instant_text(self._clock.now())}
        return document if data is None else {**document, "data": data}

    def _answer(self, data: object, code: int = 1000, status: int = 200) -> web.Response:
        return web.json_response(self._envelope(data, code), status=status)

    def _new_token(self) -> str:
        return self._rng.bytes(24).hex()

    # ---------------------------------------------------------------- registration

    async def _versions(self, request: web.Request) -> web.Response:
        self._check(request, "versions")
        version = self._options.version
        return self._answer([{"version": "2.1.1", "url": "x"}, {"version": version, "url": f"{self._base}"}])

    @property
    def _base(self) -> str:
        return f"{self._root}/ocpi/{self._options.version}"

    async def _details(self, request: web.Request) -> web.Response:
        self._check(request, "details")
        modules = (("credentials", "RECEIVER"), ("sessions", "SENDER"), ("chargingprofiles", "RECEIVER"))
        endpoints = [{"identifier": m, "role": r, "url": f"{self._base}/{m}"} for m, r in modules]
        return self._answer({"version": self._options.version, "endpoints": endpoints})

    async def _credentials(self, request: web.Request) -> web.Response:
        self._check(request, "credentials")
        theirs = await document_of(request)
        await self._survey(theirs["url"], theirs["token"])
        self._inbound = self._new_token()
        return self._answer(self._own_credentials(self._inbound))

    async def _leave(self, request: web.Request) -> web.Response:
        self._check(request, "credentials")
        self.partner, self._inbound = None, self._options.token_a
        return self._answer(None)

    def _own_credentials(self, token: str) -> Document:
        role = {
            "role": "CPO",
            "business_details": {"name": "Sandbox CPO"},
            "party_id": self._options.party,
            "country_code": self._options.country,
        }
        return {"token": token, "url": f"{self._root}/ocpi/versions", "roles": [role]}

    async def _survey(self, versions_url: str, token: str) -> None:
        versions = await self._ask("GET", versions_url, token=token)
        url = next(v["url"] for v in versions["data"] if v["version"] == self._options.version)
        details = await self._ask("GET", url, token=token)
        endpoints = {(e["identifier"], e["role"]): e["url"] for e in details["data"]["endpoints"]}
        self.partner = Partner(token=token, endpoints=endpoints)

    async def register(self, versions_url: str) -> None:
        """Register with the smart charging provider."""
        await self._survey(versions_url, self._options.token_a)
        partner = self.partner
        if partner is None:
            raise web.HTTPFailedDependency(text="the provider cannot be read")
        self._inbound = self._new_token()
        answer = await self._ask(
            "POST", partner.endpoints["credentials", "SENDER"], self._own_credentials(self._inbound)
        )
        partner.token = answer["data"]["token"]

    async def _ask(self, method: str, url: str, body: object = None, *, token: str = "") -> Document:
        if self._http is None:
            raise web.HTTPServiceUnavailable
        shown = token or ("" if self.partner is None else self.partner.token)
        headers = {"Authorization": _authorization(shown), "X-Request-ID": self._new_token()}
        async with self._http.request(method, url, json=body, headers=headers) as answer:
            if answer.status >= 400:
                raise web.HTTPBadGateway(text=f"{method} was answered {answer.status}")
            document: Document = await answer.json()
            return document

    # ---------------------------------------------------------------- sessions

    async def _list_sessions(self, request: web.Request) -> web.Response:
        self._check(request, "sessions")
        cars = list(self.world.cars.values())
        first = int(request.query.get("offset", "0"))
        response = self._answer([self.world.session_document(car) for car in cars[first : first + 2]])
        if first + 2 < len(cars):
            response.headers["Link"] = f'<{self._base}/sessions?offset={first + 2}>; rel="next"'
        return response

    def _session_url(self, car: Car) -> str:
        if self.partner is None:
            raise web.HTTPPreconditionFailed(text="nobody is registered")
        root = self.partner.endpoints["sessions", "RECEIVER"]
        return f"{root}/{self._options.country}/{self._options.party}/{car.session}"

    async def tell(self, car: Car) -> None:
        """Tell the provider about a session as it is."""
        await self._ask("PUT", self._session_url(car), self.world.session_document(car))

    async def report(self, car: Car) -> None:
        """Tell the provider what a car draws."""
        changes = self.world.measurement(car)
        await self._ask("PATCH", self._session_url(car), changes)

    async def prefer(self, car: Car, preferences: Document) -> None:
        """Tell the provider what the driver asked for."""
        await self._ask("PUT", f"{self._session_url(car)}/charging_preferences", preferences)

    async def push_active(self, car: Car) -> None:
        """Tell the provider what the car follows, after somebody else changed it."""
        if self.partner is None:
            raise web.HTTPPreconditionFailed(text="nobody is registered")
        root = self.partner.endpoints["chargingprofiles", "SENDER"]
        await self._ask("PUT", f"{root}/{car.session}", self.world.active_profile(car))

    # ---------------------------------------------------------------- charging profiles

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        fault = self._check(request, request.method)
        body = dict(await document_of(request)) if request.method == "PUT" else None
        session = request.match_info["session"]
        self.requests.append((request.method, session, body))
        self.headers.append(dict(request.headers))
        done = "" if fault is None else fault.do
        if done == "hang":
            await asyncio.sleep(_HANG_S)
        if fault is not None and done == "status":
            return web.Response(status=fault.status, text="fault")
        if done == "garbage":
            return web.Response(text="<html>", content_type="text/html")
        problem = "" if body is None else check_profile(body["charging_profile"])
        if problem:
            return self._answer({"result": "REJECTED", "timeout": 0, "problem": problem}, 2001, 400)
        car = self.world.cars.get(session)
        if car is None or car.status != "ACTIVE":
            return self._answer({"result": "UNKNOWN_SESSION", "timeout": 0})
        if done in _REPLIES:
            return self._answer({"result": _REPLIES[done], "timeout": 0})
        self._answer_later(request, car, body, done)
        reply = {"result": "ACCEPTED", "timeout": self._options.timeout_s}
        return self._answer([reply] if done == "list" else reply)

    def _answer_later(self, request: web.Request, car: Car, body: Document | None, done: str) -> None:
        url = body["response_url"] if body is not None else request.query["response_url"]
        result: Document = {"result": _RESULTS.get(done, "ACCEPTED")}
        if done not in _RESULTS and request.method != "GET":
            self.world.apply(car.session, None if body is None else body["charging_profile"])
        if request.method == "GET":
            active = self.world.active_profile(car)
            result |= {} if active is None else {"profile": active}
        if done != "no-result" and self._tasks is not None:
            delay_s = self._options.timeout_s + _LATE_S if done == "late-result" else 0
            task = self._tasks.create_task(self._send_result(url, result, delay_s))
            self._late.add(task)
            task.add_done_callback(self._late.discard)

    async def _send_result(self, url: str, result: Document, delay_s: float) -> None:
        if delay_s > 0.0:
            await self._clock.sleep(timedelta(seconds=delay_s))
        try:
            await self._ask("POST", url, result)
        except (aiohttp.ClientError, web.HTTPException):
            return  # OCPI forbids to send a result again

    # ---------------------------------------------------------------- control door

    async def _register(self, request: web.Request) -> web.Response:
        await self.register(str((await document_of(request))["versions_url"]))
        return web.json_response({})

    async def _plug(self, request: web.Request) -> web.Response:
        script = await document_of(request)
        car = self.world.plug(
            str(script["evse"]), max_kw=float(script.get("max_kw", 11.0)), phases=int(script.get("phases", 3))
        )
        await self.tell(car)
        return web.json_response({"session": car.session}, status=201)

    async def _unplug(self, request: web.Request) -> web.Response:
        await self.tell(self.world.unplug(request.match_info["session"]))
        return web.json_response({})

    async def _report_all(self, _request: web.Request) -> web.Response:
        active = [car for car in self.world.cars.values() if car.status == "ACTIVE"]
        for car in active:
            await self.report(car)
        power = {car.session: self.world.power_kw(car) for car in active}
        return web.json_response({"power_kw": power})

    async def _add_fault(self, request: web.Request) -> web.Response:
        script: dict[str, Any] = dict(await document_of(request))
        self.faults.add(
            Fault(
                on=str(script.get("on", "*")),
                do=str(script["do"]),
                times=int(script.get("times", 1)),
                status=int(script.get("status", 500)),
            )
        )
        return web.json_response({}, status=201)


def _authorization(token: str) -> str:
    return "Token " + base64.b64encode(token.encode()).decode()


async def _serve(options: CpoOptions, arguments: argparse.Namespace) -> None:
    cpo = OcpiCpo(options, SandboxClock(arguments.clock))

    def ready(root: str) -> dict[str, object]:
        cpo.listens_at(root)
        return {"url": root, "versions_url": f"{root}/ocpi/versions", "control_url": f"{root}/control"}

    await serve_until_stopped(cpo.app(), "cpo", port=arguments.port, ready_path=arguments.ready, ready_document=ready)


def main(words: Sequence[str] | None = None) -> None:
    """Run the operator until it is told to stop."""
    parser = argparse.ArgumentParser(description="A charge point operator that speaks OCPI, on loopback.")
    parser.add_argument("--ready", type=Path, help="file that says where it listens")
    parser.add_argument("--clock", type=Path, help="market time; left out: real time")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token-a", required=True)
    parser.add_argument("--version", default="2.2.1", choices=("2.2.1", "2.3.0"))
    parser.add_argument("--evse", action="append", default=[], help="uid of a charge point; may be given often")
    arguments = parser.parse_args(words)
    options = CpoOptions(token_a=arguments.token_a, version=arguments.version)
    if arguments.evse:
        options.evses = tuple(arguments.evse)
    log_to_stderr()
    asyncio.run(_serve(options, arguments))


if __name__ == "__main__":
    main()
