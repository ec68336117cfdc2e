"""The charger under test: what it says goes into one place where trials can wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from typing_extensions import override

from gateway.domain.errors import PeerUnavailable
from gateway.ocpp.charger_clock import ChargerClock
from gateway.ocpp.conversation import Conversation
from gateway.ocpp.readings import fold
from gateway.ocpp.settings import StationSettings
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.waiting import first_of
from gateway.ocpp.words import (
    Dialect,
    LimitNotice,
    Measured,
    Plug,
    Reading,
    StationEvents,
    TransactionNews,
)

_W_PER_KW = 1000.0


class Subject(StationEvents):
    """One connector of one station; others are left alone."""

    def __init__(self, clock: Clock, settings: StationSettings, connector: int, phases: int) -> None:
        """Begin without a connection.

        Args:
            clock: Time of the test.
            settings: Of the station.
            connector: The one that is tested.
            phases: Phases of the charger.
        """
        self.connector = connector
        self.phases = phases
        self.version = ""
        self.running: str | None = None
        self.dialect: Dialect | None = None
        self.readings: list[Reading] = []
        self._came_at: list[datetime] = []
        """When each reading came, by our clock: what is compared with what we did."""
        self.boots = 0
        self.charger_clock = ChargerClock()
        """Its clock, by which the times of the test's profiles are written."""
        self._clock = clock
        self._settings = settings
        self._is_open = True
        self._conversation: Conversation | None = None
        self._measured = Measured()
        self._news = asyncio.Event()
        self._numbers = 1

    # ------------------------------------------------------------------ what it says

    @override
    async def booted(self, why: str) -> None:
        self.boots += 1
        self.charger_clock.begin()
        self.charger_clock.told()
        self._news.set()

    @override
    async def told_time(self) -> None:
        self.charger_clock.told()

    @override
    async def plugged(self, connector: int, plug: Plug, at: datetime) -> None:
        self._news.set()

    @override
    async def begin_transaction(self, connector: int, at: datetime, meter_kwh: float) -> int:
        if connector == self.connector:
            self.running = str(self._numbers)
        self._numbers += 1
        self._news.set()
        return self._numbers - 1

    @override
    async def transaction(self, news: TransactionNews) -> None:
        if news.connector in {0, self.connector}:
            self.running = news.transaction
            self._take(news.readings)

    @override
    async def end_transaction(self, transaction: str, at: datetime, readings: Sequence[Reading]) -> None:
        if transaction == self.running:
            self._take(readings)
            self.running = None
            self._news.set()

    @override
    async def measured(self, connector: int, readings: Sequence[Reading]) -> None:
        if connector == self.connector:
            self._take(readings)

    @override
    async def limit_announced(self, notice: LimitNotice) -> None:
        """Leave it: the test asks for what it measures."""

    def _take(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            fold(self._measured, reading)
            self.readings.append(reading)
            self._came_at.append(self._clock.now())
        if readings:
            self.charger_clock.see(max(reading.at for reading in readings), self._clock.now())
        self._news.set()

    # ------------------------------------------------------------------ what trials ask

    @property
    def settings(self) -> StationSettings:
        """Of its station."""
        return self._settings

    @property
    def is_open(self) -> bool:
        """Whether it may connect now."""
        return self._is_open

    async def converse(self, conversation: Conversation, dialect: Dialect) -> None:
        """Serve one connection until it ends; nothing is sent by itself."""
        self._conversation, self.dialect, self.version = conversation, dialect, dialect.version
        self.charger_clock.begin()
        self._news.set()
        try:
            await conversation.run()
        finally:
            if self.dialect is dialect:
                self._conversation, self.dialect = None, None
                self._news.set()

    async def cut(self, seconds: float) -> None:
        """End the connection and take no new one for so many seconds."""
        self._is_open = False
        if self._conversation is not None:
            await self._conversation.close()
        await self._clock.sleep(timedelta(seconds=seconds))
        self._is_open = True

    @property
    def measured_voltage_v(self) -> float | None:
        """Line to neutral as measured; None when it was not."""
        return self._measured.voltage_v

    @property
    def voltage_v(self) -> float:
        """Line to neutral, measured where it was."""
        measured_v = self._measured.voltage_v
        return self._settings.nominal_voltage_v if measured_v is None else measured_v

    def current_a(self, reading: Reading) -> float | None:
        """Return the largest current of a phase in A, from power where no current is measured; None when neither is."""
        currents = [current for current in reading.phase_current_a if current is not None]
        if currents:
            return max(currents)
        if reading.power_kw is None:
            return None
        return reading.power_kw * _W_PER_KW / (self.phases * self.voltage_v)

    async def until(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is the case, looking whenever it says something; False when it is not within the time."""
        deadline = self._clock.now() + timedelta(seconds=within_s)
        while not condition():
            if self._clock.now() >= deadline:
                return False
            self._news.clear()
            await first_of(self._clock, self._news, deadline)
        return True

    async def seen(self, fits: Callable[[float], bool], within_s: float) -> float | None:
        """Return after how many seconds a current that fits was first told; None when none is within the time.

        By our clock: how long the charger takes may not depend on what its own clock says.
        """
        since = self._clock.now()
        found: list[datetime] = []

        def has_fitting() -> bool:
            for reading, came_at in zip(self.readings, self._came_at, strict=True):
                current = self.current_a(reading) if came_at > since else None
                if current is not None and fits(current):
                    found.append(came_at)
                    return True
            return False

        is_seen = await self.until(has_fitting, within_s)
        return (found[0] - since).total_seconds() if is_seen else None

    @property
    def behind(self) -> timedelta:
        """How far the charger's clock is behind ours, as far as its quickest message tells; negative when it is ahead."""
        ages = (came_at - reading.at for reading, came_at in zip(self.readings, self._came_at, strict=True))
        return min(ages, default=timedelta(0))

    def speaker(self) -> Dialect:
        """Return the open connection.

        Raises:
            PeerUnavailable: There is none.
        """
        if self.dialect is None:
            raise PeerUnavailable("the charger is not connected")
        return self.dialect
