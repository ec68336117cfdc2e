"""A CSMS with simulated chargers over real sockets and a clock that is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.ocpp.journal import ChargerFacts, Journal
from gateway.ocpp.layers import Command
from gateway.ocpp.server import ChargerServer
from gateway.ocpp.settings import ConnectorSettings, CsmsSettings, ListenSettings, StationSettings, TimeSettings
from gateway.ocpp.station import Station
from gateway.ocpp.words import Answer, Verdict
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from gateway.sandbox.charge_point_profiles import Installed
from tests.fakes.clock import HandClock

FACTS = ChargerFacts(max_power_kw=11.0, min_power_kw=4.14, phases=3, fallback_kw=4.14)
LEASE = timedelta(seconds=900)
QUICK = TimeSettings(answer_real=0.5, boot_wait=3.0, settle_real=2.0, reconnect_real=0.05)


@dataclass
class Answers:
    """What was reported to the gateway."""

    settled_commands: list[tuple[str, int, Answer]] = field(default_factory=list)
    news: int = 0

    def settled(self, charger: str, sequence: int, answer: Answer) -> None:
        self.settled_commands.append((charger, sequence, answer))

    def has_news(self) -> None:
        self.news += 1

    def of(self, sequence: int) -> list[Verdict]:
        return [answer.verdict for _, number, answer in self.settled_commands if number == sequence]


class Skewed:
    """A clock that goes as another one does and says something else."""

    def __init__(self, true: Any, by: timedelta) -> None:
        self._true, self._by = true, by

    def now(self) -> datetime:
        found: datetime = self._true.now()
        return found + self._by

    async def sleep_until(self, when: datetime) -> None:
        await self._true.sleep_until(when - self._by)

    async def sleep(self, duration: timedelta) -> None:
        await self._true.sleep(duration)


async def until(condition: Callable[[], Any], what: str = "it", looks: int = 400) -> None:
    """Let sockets work until something is the case."""
    for _ in range(looks):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} never became so")


def csms_settings(folder: Path, *, connectors: int = 1, **station: Any) -> CsmsSettings:
    outlets = tuple(ConnectorSettings(id=n, charger=f"ch-{n}") for n in range(1, connectors + 1))
    return CsmsSettings(
        state_folder=folder,
        listen=ListenSettings(port=0),
        times=QUICK,
        stations=(StationSettings(identity="CP-1", connectors=outlets, **station),),
    )


class CsmsScene:
    """One station of the CSMS and the charger that connects to it."""

    def __init__(self, settings: CsmsSettings, model: ChargerModel, clock: HandClock | None = None) -> None:
        self.clock = HandClock() if clock is None else clock
        self.answers = Answers()
        self.settings = settings
        entry = settings.stations[0]
        self.journal = Journal(settings.state_folder)
        self.station = Station(entry, settings.times, self.clock, self.journal, self.answers)
        for connector in self.station.connectors.values():
            connector.facts = FACTS
        self.server = ChargerServer(settings, {entry.identity: self.station}, self.clock)
        self.model = model
        self.charger: ChargePoint
        self.sequence = 0
        self.scheme = "ws"

    @asynccontextmanager
    async def running(self, *, is_booted: bool = True) -> AsyncIterator["CsmsScene"]:
        async with self.server.listening() as port:
            self.charger = ChargePoint(f"{self.scheme}://127.0.0.1:{port}/CP-1", self.model, self.clock)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(self.charger.run())
                if is_booted:
                    await until(lambda: self.has_call("SetChargingProfile"), "a profile was pushed")
                    await until(lambda: self.has_call("ChangeConfiguration") or self.has_call("SetVariables"))
                yield self
                running.cancel()

    def has_call(self, action: str) -> bool:
        return any(name == action for name, _ in self.charger.calls)

    @property
    def pushed(self) -> list[Installed]:
        """Every profile that the charger took, in order."""
        return self.charger.profiles.history

    def wires(self) -> list[tuple[str, int, str | None]]:
        """Purpose, level and transaction of every profile that it took."""
        return [(p.purpose, p.stack, p.transaction) for p in self.pushed]

    async def command(
        self, limit_kw: float, *, charger: str = "ch-1", lease: timedelta = LEASE, fallback_kw: float = 4.14
    ) -> int:
        """Give a command and wait until the gateway would know what became of it; return its sequence."""
        self.sequence += 1
        until_at = self.clock.now() + lease
        command = Command(sequence=self.sequence, limit_kw=limit_kw, fallback_kw=fallback_kw, lease_until=until_at)
        assert self.station.take_command(charger, command)
        await self.station.keep()
        self.station.wake()
        await until(lambda: self.answers.of(self.sequence), f"command {self.sequence} settled")
        return self.sequence

    async def plug(self, evse: int = 1) -> str:
        """Plug a car in, wait until its transaction's profiles are in, and return its number."""
        await self.charger.plug(evse)
        number = self.charger.evses[evse].transaction
        assert number is not None
        await self.quiet()
        return number

    async def quiet(self) -> None:
        """Wait until nothing more is said."""
        count = -1
        while count != len(self.charger.calls):
            count = len(self.charger.calls)
            await asyncio.sleep(0.03)

    async def at(self, when: datetime) -> None:
        """Move the clock to an instant and let everybody do what is then to be done."""
        self.clock.set(when)
        await self.quiet()

    async def later(self, **duration: float) -> None:
        await self.at(self.clock.now() + timedelta(**duration))

    @asynccontextmanager
    async def out_of_contact(self) -> AsyncIterator[None]:
        """Let the charger be on its own for a while."""
        url, self.charger._url = self.charger._url, "ws://127.0.0.1:9/CP-1"
        await self.charger.hang_up()
        await until(lambda: not self.station.is_connected, "the charger is away")
        yield
        self.charger._url = url
        await until(lambda: self.station.is_connected and self.charger.connected.is_set(), "the charger is back")
        await self.later(seconds=QUICK.boot_wait)
