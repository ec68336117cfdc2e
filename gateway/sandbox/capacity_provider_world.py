"""The sandbox capacity provider itself: its registration, what it sends, and everything that the flexibility provider sends."""

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox import capacity_provider_wire as wire
from gateway.sandbox.vtn_control import Fault, FaultQueue, Script

PATH = "/oscp/cp/2.0"
_PATIENCE = aiohttp.ClientTimeout(total=10.0)
_OK = range(200, 300)
_NAP_SECONDS = 0.05
_log = logging.getLogger("sandbox.capacity_provider")


class HasNow(Protocol):
    """A clock of market time."""

    def now(self) -> datetime:
        """Return the instant."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A message of the flexibility provider, or one of ours."""

    at: str
    path: str
    request_id: str
    correlation_id: str
    body: wire.Json
    status: int


@dataclass(kw_only=True, slots=True)
class Beating:
    """How our heartbeats go."""

    every_s: float = 0.0
    """0 for none."""
    promise_s: float = 0.0
    """How far ahead we promise the next one; negative is past already."""


@dataclass(kw_only=True, slots=True)
class Tie:
    """Our tie with the flexibility provider."""

    fp_url: str = ""
    our_token: str = ""
    """What we show it."""
    its_token: str = ""
    """What it must show us."""
    register_id: str = ""
    wants_beats_s: float | None = None
    heard_until: str = ""
    """Its last `offline_mode_at`."""
    log: list[Said] = field(default_factory=list)
    sent: list[Said] = field(default_factory=list)


class CapacityProvider:
    """A capacity provider with one flexibility provider.

    Args:
        clock: Market time.
        group: The group that forecasts are about unless they name another.
    """

    def __init__(self, clock: HasNow, group: str = "g1") -> None:
        self.clock = clock
        self.group = group
        self.root = ""
        """Where we are reached; set once it is known."""
        self.tie = Tie()
        self.beating = Beating()
        self.faults: FaultQueue[Fault] = FaultQueue()
        self._http: aiohttp.ClientSession | None = None

    async def running(self, _app: web.Application) -> AsyncIterator[None]:
        """Send heartbeats as long as the application runs."""
        async with aiohttp.ClientSession(timeout=_PATIENCE) as http, asyncio.TaskGroup() as tasks:
            self._http = http
            beating = tasks.create_task(self._beat())
            yield
            beating.cancel()

    # ---------------------------------------------------------------- what we send

    async def register(self, fp_url: str, token: str) -> Said:
        """Begin the exchange of tokens with the one-time token."""
        self.tie = Tie(fp_url=fp_url.rstrip("/"), our_token=token, its_token=secrets.token_urlsafe(32))
        body = wire.register_body(self.tie.its_token, f"{self.root}{PATH}")
        self.tie.register_id = secrets.token_hex(8)
        return await self.send("register", body, request_id=self.tie.register_id)

    async def change(self, base_path: str) -> Said:
        """Change our token and address (PUT register)."""
        self.tie.its_token = secrets.token_urlsafe(32)
        return await self.send(
            "register", wire.register_body(self.tie.its_token, f"{self.root}{base_path}"), method="PUT"
        )

    async def leave(self) -> Said:
        """End the registration (DELETE register)."""
        said = await self.send("register", None, method="DELETE")
        self.beating.every_s = 0.0
        return said

    async def handshake(self, heartbeat_s: float | None, configuration: tuple[str, ...]) -> Said:
        """Shake hands."""
        return await self.send("handshake", wire.behaviour_body(heartbeat_s, configuration))

    async def heartbeat(self, promise_s: float) -> Said:
        """Send one heartbeat."""
        return await self.send("heartbeat", wire.heartbeat_body(self.clock.now() + timedelta(seconds=promise_s)))

    async def forecast(self, script: Script) -> list[Said]:
        """Send a forecast, in one message or in segments."""
        parts = wire.parts_of({"group_id": self.group, **script})
        count = len(parts.bodies)
        first = str(script.get("request_id", secrets.token_hex(8)))
        said = []
        for index in parts.order:
            headers = {} if count == 1 else {"X-Segment-Index": str(index), "X-Segment-Count": str(count)}
            if index > 1:
                headers["X-Correlation-ID"] = first
            request_id = first if index == 1 else secrets.token_hex(8)
            body = parts.bodies[index - 1]
            said.append(await self.send("update_group_capacity_forecast", body, request_id=request_id, headers=headers))
        return said

    async def send(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        method: str = "POST",
        request_id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """Send a message and return what came of it; status 0 means no answer."""
        if self._http is None:
            raise InvalidInput("provider", "does not run")
        sent = {
            "Authorization": wire.authorization(self.tie.our_token),
            "X-Request-ID": request_id or secrets.token_hex(8),
            **(headers or {}),
        }
        status = 0
        try:
            async with self._http.request(
                method, f"{self.tie.fp_url}/{path}", json=body, headers=sent, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            _log.warning("%s was not answered (%s)", path, type(error).__name__)
        said = Said(
            at=wire.instant_text(self.clock.now()),
            path=f"{method} {path}",
            request_id=sent["X-Request-ID"],
            correlation_id=sent.get("X-Correlation-ID", ""),
            body=_without_token(body),
            status=status,
        )
        self.tie.sent.append(said)
        return said

    async def _beat(self) -> None:
        due = self.clock.now()
        while True:
            await asyncio.sleep(_NAP_SECONDS)
            now = self.clock.now()
            if self.beating.every_s > 0.0 and now >= due:
                due = now + timedelta(seconds=self.beating.every_s)
                await self.heartbeat(self.beating.promise_s)

    # ---------------------------------------------------------------- what we are sent

    async def take(self, request: web.Request) -> web.Response:
        """Answer a message of the flexibility provider and write it down."""
        path = request.match_info["message"]
        fault = self.faults.take(path)
        status = await self._status(request, path, fault)
        text = await request.text()
        self.tie.log.append(
            Said(
                at=wire.instant_text(self.clock.now()),
                path=f"{request.method} {path}",
                request_id=request.headers.get("X-Request-ID", ""),
                correlation_id=request.headers.get("X-Correlation-ID", ""),
                body=_without_token(_plain(text)),
                status=status,
            )
        )
        headers = {} if fault is None else {name: str(value) for name, value in fault.headers.items()}
        return web.Response(status=status, text=None if fault is None else fault.body, headers=headers)

    async def _status(self, request: web.Request, path: str, fault: Fault | None) -> int:
        if fault is not None:
            if fault.do == "hang":
                await asyncio.sleep(float(fault.headers.get("seconds", 30.0)))
            if fault.do != "late":
                return fault.status
        if wire.token_of(request.headers.get("Authorization", "")) != self.tie.its_token or not self.tie.its_token:
            return 401
        if not request.headers.get("X-Request-ID"):
            return 400
        try:
            return self._understand(request.method, path, _plain(await request.text()), request.headers)
        except InvalidInput as error:
            _log.warning("%s: %s", path, error)
            return 400

    def _understand(self, method: str, path: str, body: wire.Json, headers: Mapping[str, str]) -> int:
        match path:
            case "register" if method == "POST":
                self.tie.our_token, self.tie.fp_url = wire.check_register(body)
                return 204 if headers.get("X-Correlation-ID") == self.tie.register_id else 400
            case "handshake_acknowledge":
                self.tie.wants_beats_s = wire.check_behaviour(body)
                return 204 if headers.get("X-Correlation-ID") else 400
            case "heartbeat":
                self.tie.heard_until = wire.instant_text(wire.check_heartbeat(body))
            case "adjust_group_capacity_forecast":
                wire.check_forecast(body)
            case "group_capacity_compliance_error":
                wire.check_compliance_error(body)
                return 204 if headers.get("X-Correlation-ID") else 400
            case "update_group_measurements":
                wire.check_measurements(body)
            case _:
                return 404
        return 204


def _plain(text: str) -> wire.Json:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _without_token(body: wire.Json) -> wire.Json:
    return {**body, "token": "***"} if isinstance(body, dict) and "token" in body else body
