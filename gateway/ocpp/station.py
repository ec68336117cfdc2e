"""One charging station: what it says, and the profiles that it is kept at, over any number of connections.

A connection begins with BootNotification, or is taken for a return without one after a few seconds; then every profile is
written anew (case o44). Commands that arrive while it is away are kept and go in when it is back.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from typing_extensions import override

from gateway.domain.errors import InvalidInput, VoltbridgeError
from gateway.ocpp.charger_clock import ChargerClock
from gateway.ocpp.connector import Connector
from gateway.ocpp.conversation import Conversation
from gateway.ocpp.installer import Installer
from gateway.ocpp.journal import ConnectorRecord, Journal, NoticeRecord, TransactionRecord
from gateway.ocpp.layers import Command
from gateway.ocpp.settings import StationSettings, TimeSettings
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.waiting import first_of
from gateway.ocpp.words import (
    WHOLE_STATION,
    Answer,
    Dialect,
    LimitNotice,
    Plug,
    Reading,
    Stage,
    StationEvents,
    TransactionNews,
    Verdict,
)

_LOG = logging.getLogger(__name__)
_MOST_DOUBLINGS = 10
_MOST_OVER = 64
_MOST_NOTICES = 100
_SOON = timedelta(seconds=1)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Report(Protocol):
    """Who is told what became of commands and that there is something to tell the gateway."""

    def settled(self, charger: str, sequence: int, answer: Answer) -> None:
        """Take note of what a charger did with a command."""
        ...

    def has_news(self) -> None:
        """Take note that sessions or announced limits wait to be told."""
        ...


@dataclass(kw_only=True, slots=True)
class _Link:
    """One connection."""

    dialect: Dialect
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    has_booted: asyncio.Event = field(default_factory=asyncio.Event)
    installers: dict[int, Installer] = field(default_factory=dict)
    is_reset: bool = True
    """Whether nothing in the charger is to be trusted."""
    to_ask: set[int] = field(default_factory=set)
    """Connectors whose announced limits must be asked for."""


@dataclass(kw_only=True, slots=True)
class _Trial:
    """What became of the newest try to settle a connector."""

    told: tuple[int, Verdict] | None = None
    refusals: int = 0
    retry_at: datetime = _LONG_AGO
    refused_kw: float = 0.0
    answer: Answer | None = None


class Station(StationEvents):
    """One station of the settings."""

    def __init__(
        self, settings: StationSettings, times: TimeSettings, clock: Clock, journal: Journal, report: Report
    ) -> None:
        """Go on from what was kept.

        Args:
            settings: Of this station.
            times: Durations.
            clock: Time.
            journal: Where records are.
            report: Who is told.
        """
        self._settings = settings
        self.record = journal.station(settings.identity)
        records = self.record.connectors
        self.connectors = {
            entry.id: Connector(entry, settings, records.setdefault(entry.id, ConnectorRecord()))
            for entry in settings.connectors
        }
        self._times = times
        self._clock = clock
        self._journal = journal
        self._report = report
        self._link: _Link | None = None
        self._over = {ended.number: ended.ended_at or ended.started_at for _, ended in self.record.ended}
        """When the transactions ended that ended last, by number."""
        self._trials = {number: _Trial() for number in self.connectors}
        self._charger_clock = ChargerClock(self.record.clock_behind_s)

    @property
    def settings(self) -> StationSettings:
        """Its settings."""
        return self._settings

    @property
    def is_open(self) -> bool:
        """Whether it may connect: always."""
        return True

    @property
    def is_connected(self) -> bool:
        """Whether it is there now."""
        return self._link is not None

    def installer(self, connector: int) -> Installer | None:
        """Return who writes a connector's profiles; None before the station was asked what it can do."""
        return None if self._link is None else self._link.installers.get(connector)

    async def converse(self, conversation: Conversation, dialect: Dialect) -> None:
        """Serve one connection until it ends."""
        link = _Link(dialect=dialect)
        self._link = link
        self._charger_clock.begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                tending = tasks.create_task(self._tend(link))
                await conversation.run()
                tending.cancel()
        finally:
            if self._link is link:
                self._link = None

    def take_command(self, charger: str, command: Command) -> bool:
        """Take the newest command for a charger; False when it has this one or a newer one.

        `keep` makes it durable, then `wake` lets it act.
        """
        return any(c.charger == charger and c.take_command(command) for c in self.connectors.values())

    def answer_to(self, charger: str, sequence: int) -> Answer | None:
        """Return what became of the newest command of a charger; None when it is another one or nothing did yet."""
        for connector in self.connectors.values():
            trial = self._trials[connector.id]
            if connector.charger == charger and trial.told is not None and trial.told[0] == sequence:
                return trial.answer
        return None

    def forget_sequences(self) -> None:
        """Take the next command of every charger whatever its number: the gateway counts anew."""
        for connector in self.connectors.values():
            if connector.record.command is not None:
                connector.record.command.sequence = 0

    def wake(self) -> None:
        """Let what was kept act."""
        if self._link is not None:
            self._link.wake.set()

    async def keep(self) -> None:
        """Return once the station's record is on disk."""
        await self._journal.keep_station(self.settings.identity, self.record)

    # ------------------------------------------------------------------ what the charger says

    @override
    async def booted(self, why: str) -> None:
        _LOG.info("%s booted (%s)", self.settings.identity, why)
        if self._link is not None:
            self._link.is_reset = True
            self._link.has_booted.set()
            self._link.wake.set()
        self._charger_clock.begin()
        self._charger_clock.told()

    @override
    async def told_time(self) -> None:
        self._charger_clock.told()

    async def _see_clock(self, stamped: datetime) -> None:
        """Compare the charger's clock with ours; profiles are written anew when it is not where it was taken to be."""
        known = self._charger_clock.behind
        if not self._charger_clock.see(stamped, self._clock.now()):
            return
        behind = self._charger_clock.behind
        if not behind.is_as(known):
            say = _LOG.error if behind.is_absurd else _LOG.warning
            say("%s: its clock is %s; profiles are written by it", self.settings.identity, behind.told())
            self.record.clock_behind_s = behind.most.total_seconds()
            await self.keep()
        for trial in self._trials.values():
            trial.retry_at = _LONG_AGO
        self.wake()

    @override
    async def plugged(self, connector: int, plug: Plug, at: datetime) -> None:
        known = self.connectors.get(connector)
        if known is not None:
            known.plug = plug

    @override
    async def begin_transaction(self, connector: int, at: datetime, meter_kwh: float) -> int:
        known = self._connector(connector)
        await self._see_clock(at)
        running = known.transaction
        if running is not None and running.started_at == at and running.start_kwh == meter_kwh:
            return int(running.number)
        if running is not None:
            self._end(known, at)
        number = self.record.next_number
        self.record.next_number += 1
        known.begin(str(number), at, meter_kwh)
        await self._tell()
        return number

    @override
    async def transaction(self, news: TransactionNews) -> None:
        known = self._find(news.transaction) or self._connector(news.connector)
        if self._is_over(news):
            return
        await self._see_clock(max((reading.at for reading in news.readings), default=news.at))
        is_news = known.transaction is None or known.transaction.number != news.transaction
        if is_news:
            self._end(known, news.at)
            known.begin(news.transaction, news.at, None)
        changes = [known.take(reading) for reading in news.readings]
        if is_news or any(changes):
            await self._tell()

    @override
    async def end_transaction(self, transaction: str, at: datetime, readings: Sequence[Reading]) -> None:
        known = self._find(transaction)
        if known is None:
            return
        for reading in readings:
            known.take(reading)
        self._end(known, at)
        await self._tell()

    @override
    async def measured(self, connector: int, readings: Sequence[Reading]) -> None:
        known = self.connectors.get(connector)
        if known is None:
            return
        if readings:
            await self._see_clock(max(reading.at for reading in readings))
        changes = [known.take(reading) for reading in readings]
        if any(changes):
            await self._tell()

    @override
    async def limit_announced(self, notice: LimitNotice) -> None:
        """Keep it for the gateway; a bound of the station as a whole is shared evenly, so that its connectors together keep it."""
        is_whole = notice.connector == WHOLE_STATION
        concerned = list(self.connectors.values()) if is_whole else [self._connector(notice.connector)]
        if not notice.blocks and not notice.is_cleared:
            if self._link is not None:
                self._link.to_ask.add(notice.connector)
                self._link.wake.set()
            return
        for connector in concerned:
            self._make_room((connector.charger, notice.source, is_whole))
            supply = connector.supply()
            self.record.notices.append(
                NoticeRecord(
                    request=f"notice-{connector.charger}-{self.record.next_number}",
                    charger=connector.charger,
                    source=notice.source,
                    is_grid_critical=notice.is_grid_critical,
                    is_cleared=notice.is_cleared,
                    is_of_station=is_whole,
                    blocks=[(b.start, b.end, supply.power_kw(b.limit, b.unit) / len(concerned)) for b in notice.blocks],
                )
            )
            self.record.next_number += 1
        await self._tell()

    def _make_room(self, word: tuple[str, str, bool]) -> None:
        """Where many notices wait for the gateway, forget those that a newer word of the same source has replaced.

        Raises:
            InvalidInput: Too many sources wait.
        """
        if len(self.record.notices) < _MOST_NOTICES:
            return
        newest = {(one.charger, one.source, one.is_of_station): one for one in self.record.notices}
        newest.pop(word, None)
        if len(newest) >= _MOST_NOTICES:
            raise InvalidInput("chargingLimitSource", f"must be one of at most {_MOST_NOTICES} that wait")
        self.record.notices = list(newest.values())

    def _connector(self, number: int) -> Connector:
        """Return a connector; the station as a whole, or one that is not in the settings, is the only one it has."""
        known = self.connectors.get(number)
        if known is not None:
            return known
        if number == WHOLE_STATION and len(self.connectors) == 1:
            return next(iter(self.connectors.values()))
        raise _UnknownConnector(f"{self.settings.identity} has no connector {number} in the settings")

    def _is_over(self, news: TransactionNews) -> bool:
        """Tell whether a word is about a transaction that has ended: it was under way then, or the charger was offline.

        A charger that counts anew says that a transaction of an old number has started since.
        """
        ended_at = self._over.get(news.transaction)
        if ended_at is None or self._find(news.transaction) is not None:
            return False
        return news.stage is not Stage.STARTED or news.at <= ended_at

    def _find(self, transaction: str) -> Connector | None:
        running = (c for c in self.connectors.values() if c.transaction is not None)
        return next((c for c in running if c.transaction is not None and c.transaction.number == transaction), None)

    def _end(self, connector: Connector, at: datetime) -> TransactionRecord | None:
        ended = connector.end(at)
        if ended is not None:
            self.record.ended.append((connector.charger, ended))
            self._over.pop(ended.number, None)
            self._over[ended.number] = at
            while len(self._over) > _MOST_OVER:
                del self._over[next(iter(self._over))]
        return ended

    async def _tell(self) -> None:
        await self.keep()
        self._report.has_news()
        self.wake()

    # ------------------------------------------------------------------ what it is told

    async def _tend(self, link: _Link) -> None:
        """Keep the profiles of one connection where they shall be."""
        await first_of(self._clock, link.has_booted, self._clock.now() + timedelta(seconds=self._times.boot_wait))
        while True:
            link.wake.clear()
            if link.is_reset:
                await self._learn(link)
            for connector in self.connectors.values():
                await self._settle(link, connector)
            while link.to_ask:
                await link.dialect.ask_announced(link.to_ask.pop())
            await first_of(self._clock, link.wake, self._due(link))

    async def _learn(self, link: _Link) -> None:
        """Ask what the charger can do; trust nothing that it may still hold."""
        link.is_reset = False
        abilities = await link.dialect.abilities()
        link.installers = {
            connector.id: Installer(
                link.dialect,
                self._clock,
                connector.means(abilities),
                self._times.renew_share,
                may_change_unit=self.settings.unit == "auto",
            )
            for connector in self.connectors.values()
        }
        self._trials = {number: _Trial() for number in self.connectors}
        await self._settle_all(link)
        await link.dialect.configure(self._times.meter_interval)

    async def _settle_all(self, link: _Link) -> None:
        for connector in self.connectors.values():
            await self._settle(link, connector)

    async def _settle(self, link: _Link, connector: Connector) -> None:
        command, trial = connector.command(), self._trials[connector.id]
        installer = link.installers[connector.id]
        if command is None:
            return
        if self._clock.now() < trial.retry_at and command.limit_kw >= trial.refused_kw:
            if trial.answer is not None:
                self._tell_answer(connector, command, trial, trial.answer)
            return
        supply, wired = connector.supply(), connector.wired_supply()
        behind = self._charger_clock.behind
        installer.means = replace(
            installer.means, supply=supply, wired=wired, phases=connector.bounded_phases(), behind=behind
        )
        running = connector.transaction
        now = self._clock.now()
        wanted = command.without_lease(now) if behind.is_absurd else command
        try:
            answer = await installer.settle(wanted, None if running is None else running.number)
        except VoltbridgeError as error:
            answer = Answer(verdict=Verdict.REJECTED, reason=str(error))
        if answer.is_accepted and command.lease_until > now and wanted.limit_kw < command.limit_kw:
            answer = Answer(verdict=Verdict.REJECTED, reason=f"its clock is {behind.told()}: no lease would end there")
        self._judge(connector, command, trial, answer)

    def _judge(self, connector: Connector, command: Command, trial: _Trial, answer: Answer) -> None:
        """Remember what became of a try; a refused one is tried again later and later: writing too often wears (TOO_OFTEN)."""
        if answer.is_accepted:
            trial.refusals, trial.retry_at = 0, _LONG_AGO
        else:
            wait_s = self._times.first_retry * 2.0 ** min(trial.refusals, _MOST_DOUBLINGS)
            trial.retry_at = self._clock.now() + timedelta(seconds=min(wait_s, self._times.longest_retry))
            trial.refusals += 1
            trial.refused_kw = command.limit_kw
            _LOG.warning("%s has not the command %d: %s", connector.charger, command.sequence, answer.reason)
        trial.answer = answer
        self._tell_answer(connector, command, trial, answer)

    def _tell_answer(self, connector: Connector, command: Command, trial: _Trial, answer: Answer) -> None:
        word = (command.sequence, answer.verdict)
        if command.sequence > 0 and trial.told != word:
            trial.told = word
            self._report.settled(connector.charger, command.sequence, answer)

    def _due(self, link: _Link) -> datetime | None:
        """Return when something must be written although nothing is said: a lease ends, a renewal or a retry is due."""
        now = self._clock.now()
        dues: list[datetime] = []
        for connector in self.connectors.values():
            command = connector.command()
            if command is None:
                continue
            trial = self._trials[connector.id]
            if trial.refusals > 0:
                dues.append(trial.retry_at)
                continue
            dues.append(command.lease_until)
            renewal = link.installers[connector.id].renewal_at(command.lease_until)
            if renewal is not None:
                dues.append(max(renewal, now + _SOON))
        return min((due for due in dues if due > now), default=None)


class _UnknownConnector(VoltbridgeError):
    reason = "NOT_FOUND"
