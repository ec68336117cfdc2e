"""A simulated charger with a car, over OCPP-J 1.6, 2.0.1 or 2.1: for development, for tests, and as a subject of the passport.

```
python -m gateway.sandbox.charge_point ws://127.0.0.1:9000/CP-1 --version 2.1 --quirk does_not_wake
```

It connects, boots, plugs a car in and charges as far as the profiles that it holds allow; quirks make it behave as chargers in the
field do. It never stops charging because the CSMS is gone: then its profiles run on.
"""

import argparse
import asyncio
import base64
import json
import logging
import math
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from gateway.sandbox.charge_point_car import Car, CarModel
from gateway.sandbox.charge_point_profiles import Moment, ProfileStore, Quirks
from gateway.sandbox.charge_point_wire import Call, Payload, Sample, instant, tongue_of
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.program import log_to_stderr, stop_signal

_LOG = logging.getLogger(__name__)
_RECONNECT_REAL_S = 0.5
_RECONNECT = timedelta(seconds=5)
_TOO_OFTEN = timedelta(seconds=10)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_LOOK = timedelta(seconds=1)
"""A car is moved at least so often."""
_METER_INTERVAL_S = 60


class Clock(Protocol):
    """Time of the simulation."""

    def now(self) -> datetime:
        """Return the instant."""
        ...

    async def sleep_until(self, when: datetime) -> None:
        """Return once it is that late."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ChargerModel:
    """What a charger is and how it connects."""

    version: str = "1.6"
    evses: int = 1
    car: CarModel = field(default_factory=CarModel)
    quirks: Quirks = field(default_factory=Quirks)
    max_stack: int = 8
    max_periods: int = 24
    units: str = "A,W"
    identity: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None


@dataclass(kw_only=True, slots=True)
class Evse:
    """One outlet."""

    car: Car
    is_plugged: bool = False
    transaction: str | None = None
    began_at: datetime | None = None
    metered_at: datetime | None = None


_Then = Callable[[Payload], None]
"""What is done with an answer before anything else is read."""


def _nothing(answer: Payload) -> None:
    del answer


class ChargePoint:
    """The charger; `run` keeps it connected, `plug`, `unplug` and `reboot` are what people do to it."""

    def __init__(self, url: str, model: ChargerModel, clock: Clock) -> None:
        """Be off, without a car.

        Args:
            url: With the identity as its last part.
            model: What it is.
            clock: Time of the simulation.
        """
        self.model = model
        self.calls: list[tuple[str, Payload]] = []
        """Everything that the CSMS asked, in order."""
        self.transcript: list[tuple[str, Any]] = []
        """Every frame of both directions: `us` is the CSMS, `charger` is itself."""
        car = model.car
        self.profiles = ProfileStore(
            model.quirks, max_stack=model.max_stack, voltage_v=car.voltage_v, phases=car.phases
        )
        now = clock.now()
        self.evses = {n: Evse(car=Car(model=car, at=now)) for n in range(1, model.evses + 1)}
        self.connected = asyncio.Event()
        self._url = url
        self._clock = clock
        self._tongue = tongue_of(model.version)
        self._offline_since: datetime | None = now
        self._socket: ClientConnection | None = None
        self._waiting: dict[str, tuple[asyncio.Future[Payload], _Then]] = {}
        self._queue: asyncio.Queue[tuple[Call, asyncio.Future[Payload], _Then]] = asyncio.Queue()
        self._number = 0
        self._variables = {
            "ChargeProfileMaxStackLevel": str(model.max_stack),
            "ChargingScheduleAllowedChargingRateUnit": model.units.replace("A", "Current").replace("W", "Power"),
            "RateUnit": model.units,
            "ChargingScheduleMaxPeriods": str(model.max_periods),
            "MeterValueSampleInterval": str(_METER_INTERVAL_S),
        }
        self._must_boot = True
        self._written_at = _LONG_AGO
        self.external: list[Payload] = []
        """Schedules that others put on it; told when asked for (GetChargingProfiles)."""

    # ------------------------------------------------------------------ what people do

    async def plug(self, evse: int = 1) -> None:
        """Plug a car in and begin a transaction."""
        outlet = self.evses[evse]
        self._move()
        outlet.car = Car(model=self.model.car, at=self._clock.now(), energy_wh=outlet.car.energy_wh)
        outlet.is_plugged = True
        await self._say(self._tongue.status(evse, is_taken=True, at=self._clock.now()))
        self._number += 1
        own = f"tx-{self._number}"

        def begin(answer: Payload) -> None:
            outlet.transaction, outlet.began_at = self._tongue.number_of(answer, own), self._clock.now()
            outlet.metered_at = outlet.began_at

        await self._say(self._tongue.started(evse, own, self.sample(evse)), begin)
        self._move()

    async def unplug(self, evse: int = 1) -> None:
        """End the transaction and take the car away."""
        outlet = self.evses[evse]
        self._move()
        number, sample = outlet.transaction, self.sample(evse)
        if number is None:
            return
        self.profiles.end_transaction(number)
        outlet.is_plugged, outlet.transaction, outlet.began_at = False, None, None
        outlet.car = Car(model=self.model.car, at=self._clock.now(), energy_wh=outlet.car.energy_wh)
        await self._say(self._tongue.stopped(evse, number, sample))
        await self._say(self._tongue.status(evse, is_taken=False, at=self._clock.now()))

    async def meter(self, evse: int = 1) -> None:
        """Send measurements now."""
        outlet = self.evses[evse]
        self._move()
        if outlet.transaction is not None:
            outlet.metered_at = self._clock.now()
            await self._say(self._tongue.metered(evse, outlet.transaction, self.sample(evse)))

    async def announce(self, payload: Payload, *, is_cleared: bool = False) -> None:
        """Say NotifyChargingLimit or ClearedChargingLimit (2.x)."""
        await self._say(("ClearedChargingLimit" if is_cleared else "NotifyChargingLimit", payload))

    async def reboot(self) -> None:
        """Lose the connection, forget what a reboot makes it forget, and come back with BootNotification."""
        self.profiles.reboot()
        self._must_boot = True
        await self.hang_up()

    async def hang_up(self) -> None:
        """Lose the connection; `run` connects again."""
        if self._socket is not None:
            await self._socket.close()

    # ------------------------------------------------------------------ what is the case

    def limit_a(self, evse: int = 1) -> float:
        """Return what its profiles allow now in A per phase; infinite when nothing binds."""
        outlet = self.evses[evse]
        moment = Moment(
            at=self._clock.now(),
            transaction=outlet.transaction,
            began_at=outlet.began_at,
            offline_since=self._offline_since,
        )
        return self.profiles.limit_a(evse, moment)

    def current_a(self, evse: int = 1) -> float:
        """Return what its car draws now in A per phase."""
        self._move()
        return self.evses[evse].car.current_a

    def sample(self, evse: int) -> Sample:
        """Return what is measured."""
        car = self.evses[evse].car
        currents = [car.current_a if n < car.model.phases else 0.0 for n in range(3)]
        return Sample(self._clock.now(), (currents[0], currents[1], currents[2]), car.model.voltage_v, car.energy_wh)

    def _move(self) -> None:
        """Let the cars draw up to now."""
        for number, outlet in self.evses.items():
            allowed = self.limit_a(number) if outlet.transaction is not None else 0.0
            outlet.car.move(self._clock.now(), allowed)

    # ------------------------------------------------------------------ its life

    async def run(self) -> None:
        """Stay connected, meter and answer for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live())
            while True:
                with suppress(OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                    await self._connect()
                with suppress(TimeoutError):  # whichever is sooner: the clock may run fast, or stand still
                    async with asyncio.timeout(_RECONNECT_REAL_S):
                        await self._clock.sleep_until(self._clock.now() + _RECONNECT)

    async def _connect(self) -> None:
        headers = {}
        if self.model.password:
            secret = f"{self.model.identity}:{self.model.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(secret).decode()}"
        protocols = [Subprotocol(self._tongue.subprotocol)]
        more: dict[str, Any] = {} if self.model.tls is None else {"ssl": self.model.tls}
        async with connect(
            self._url, subprotocols=protocols, additional_headers=headers, compression=None, close_timeout=0.5, **more
        ) as socket:
            self._socket, self._offline_since = socket, None
            try:
                async with asyncio.TaskGroup() as tasks:
                    talking = tasks.create_task(self._talk(socket))
                    await self._listen(socket)
                    talking.cancel()
            finally:
                self._socket, self._offline_since = None, self._clock.now()
                self.connected.clear()
                for waiting, _ in self._waiting.values():
                    waiting.cancel()
                self._waiting.clear()

    async def _talk(self, socket: ClientConnection) -> None:
        """Say what is to be said, one call at a time."""
        if self._must_boot:
            await self._exchange(socket, self._tongue.boot())
            self._must_boot = False
            for number, outlet in self.evses.items():
                await self._exchange(
                    socket, self._tongue.status(number, is_taken=outlet.is_plugged, at=self._clock.now())
                )
        self.connected.set()
        while True:
            call, done, then = await self._queue.get()
            try:
                answer = await self._exchange(socket, call, then)
            except (asyncio.CancelledError, ConnectionClosed):
                self._queue.put_nowait((call, done, then))  # it is said again over the next connection
                raise
            if not done.done():
                done.set_result(answer)

    async def _say(self, call: Call, then: _Then = _nothing) -> Payload:
        """Say something once connected, and return the answer."""
        return await self._post(call, then)

    def _post(self, call: Call, then: _Then = _nothing) -> asyncio.Future[Payload]:
        """Say something once connected, without waiting for it: the car goes on meanwhile."""
        done: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((call, done, then))
        return done

    async def _exchange(self, socket: ClientConnection, call: Call, then: _Then = _nothing) -> Payload:
        self._number += 1
        unique = f"cp-{self._number}"
        waiting: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._waiting[unique] = (waiting, then)
        await self._send(socket, [2, unique, *call])
        return await waiting

    async def _send(self, socket: ClientConnection, frame: list[Any]) -> None:
        self.transcript.append(("charger", frame))
        await socket.send(json.dumps(frame))

    async def _listen(self, socket: ClientConnection) -> None:
        async for frame in socket:
            message = json.loads(frame)
            self.transcript.append(("us", message))
            if message[0] == 2:  # CALL
                answer = self._answer(message[2], message[3])
                if answer is not None:
                    await self._send(socket, [3, message[1], answer])
                self._move()
            elif (known := self._waiting.pop(message[1], None)) is not None and not known[0].done():
                answer = message[2] if message[0] == 3 else {}  # CALLRESULT
                known[1](answer)
                known[0].set_result(answer)

    def _answer(self, action: str, payload: Payload) -> Payload | None:
        self.calls.append((action, payload))
        self._move()
        answer: Payload | None
        match action:
            case "SetChargingProfile":
                answer = self._set_profile(payload)
            case "ClearChargingProfile":
                answer = {"status": self.profiles.clear(self._tongue.cleared_id(payload))}
            case "GetCompositeSchedule":
                answer = self._tongue.composite(payload, self._composite(payload), self._clock.now())
            case "GetConfiguration" | "GetVariables":
                answer = self._tongue.abilities(action, payload, self._variables)
            case "ChangeConfiguration" | "SetVariables":
                answer, changes = self._tongue.changed(action, payload)
                self._variables |= changes
            case "GetChargingProfiles" if self.external:
                self._post(self._tongue.announced(payload, self.external))
                answer = {"status": "Accepted"}
            case _:
                answer = {"status": "NotSupported" if self.model.version == "1.6" else "NoProfiles"}
        return answer

    def _set_profile(self, payload: Payload) -> Payload | None:
        if self.model.quirks.silent_profiles:
            return None
        profile = self._tongue.profile(payload)
        running = self.evses[profile.evse].transaction if profile.evse in self.evses else None
        if self.model.quirks.too_often and self._clock.now() - self._written_at < _TOO_OFTEN:
            why = {} if self.model.version == "1.6" else {"statusInfo": {"reasonCode": "TooOften"}}
            return {"status": "Rejected"} | why
        status = self.profiles.put(profile, running)
        if status == "Accepted" and profile.purpose == "TxProfile" and profile.stack > 0:
            self._written_at = self._clock.now()
        return {"status": status}

    def _composite(self, payload: Payload) -> float | None:
        if self.model.quirks.no_composite:
            return None
        evse = int(payload["connectorId" if "connectorId" in payload else "evseId"])
        limit_a = self.limit_a(evse if evse in self.evses else 1)
        limit_a = self.model.car.most_a * 2.0 if math.isinf(limit_a) else limit_a
        is_watt = payload.get("chargingRateUnit") == "W"
        return round(limit_a * self.model.car.phases * self.model.car.voltage_v if is_watt else limit_a, 1)

    async def _live(self) -> None:
        """Move the cars and meter as time passes."""
        while True:
            await self._clock.sleep_until(self._next_look())
            self._move()
            interval = timedelta(seconds=int(self._variables["MeterValueSampleInterval"]))
            for number, outlet in self.evses.items():
                is_due = outlet.metered_at is not None and self._clock.now() - outlet.metered_at >= interval
                if outlet.transaction is not None and is_due and self.connected.is_set():
                    outlet.metered_at = self._clock.now()
                    self._post(self._tongue.metered(number, outlet.transaction, self.sample(number)))

    def _next_look(self) -> datetime:
        now = self._clock.now()
        changes = [evse.car.changes_at for evse in self.evses.values()]
        return min([now + _LOOK, *(c for c in changes if c is not None and c > now)])


def external_limit(evse: int, limit_a: float, source: str, at: datetime) -> Payload:
    """Return a NotifyChargingLimit payload (2.x): somebody else allows so many A per phase from now on."""
    schedule = {
        "id": 1,
        "startSchedule": instant(at),
        "chargingRateUnit": "A",
        "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit_a}],
    }
    limit = {"chargingLimitSource": source, "isGridCritical": source == "SO"}
    return {"evseId": evse, "chargingLimit": limit, "chargingSchedule": [schedule]}


async def _run(url: str, model: ChargerModel, clock: SandboxClock) -> None:
    charger = ChargePoint(url, model, clock)
    with stop_signal() as stop:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(charger.run())
            plugging = tasks.create_task(_plug_all(charger))
            await stop.wait()
            running.cancel()
            plugging.cancel()


async def _plug_all(charger: ChargePoint) -> None:
    for number in charger.evses:
        await charger.plug(number)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a charger until told to stop."""
    parser = argparse.ArgumentParser(description="A simulated charger with a car, over OCPP-J.")
    parser.add_argument("url", help="ws://host:port/identity")
    parser.add_argument("--version", choices=("1.6", "2.0.1", "2.1"), default="1.6")
    parser.add_argument("--quirk", action="append", default=[], help=f"one of {', '.join(Quirks.__dataclass_fields__)}")
    parser.add_argument("--least-a", type=float, default=6.0, help="least current at which the car charges")
    parser.add_argument("--evses", type=int, default=1)
    parser.add_argument("--max-stack", type=int, default=8)
    parser.add_argument("--password-file", type=Path, help="file with the password")
    parser.add_argument("--clock", type=Path, help="clock file; without it time is real")
    options = parser.parse_args(arguments)
    log_to_stderr()
    quirks = Quirks.named(options.quirk)
    car = replace(CarModel(), least_a=options.least_a, stays_asleep=quirks.does_not_wake)
    model = ChargerModel(
        version=options.version,
        evses=options.evses,
        car=car,
        quirks=quirks,
        max_stack=options.max_stack,
        identity=options.url.rpartition("/")[2],
        password="" if options.password_file is None else options.password_file.read_text(encoding="utf-8").strip(),
    )
    asyncio.run(_run(options.url, model, SandboxClock(options.clock)))


if __name__ == "__main__":
    main()
