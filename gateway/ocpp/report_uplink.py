"""What the CSMS tells the gateway: sessions, limits that chargers announce, measurements.

Sessions and announced limits are kept until the gateway has them; measurements are not: the next one tells more.
"""

import asyncio
import hashlib
import logging
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.client import Gateway
from gateway.ocpp.connector import Connector
from gateway.ocpp.journal import ChargerFacts, Journal, NoticeRecord, TransactionRecord, UplinkRecord
from gateway.ocpp.settings import TimeSettings
from gateway.ocpp.station import Station
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import Plug, Reading
from gateway.v1 import fleet_service_pb2 as pb
from gateway.v1 import types_pb2

_LOG = logging.getLogger(__name__)
CALL_REAL_SECONDS = 15.0
_PAGE_SIZE = 1000
_ALL_PHASES = 3
_Block = tuple[datetime, datetime | None, float]
_MOST_BLOCKS = 1_000
"""What the gateway takes of one source at a time."""
_ABOUT_CONTENT = frozenset(
    {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.PERMISSION_DENIED}
)
"""Refusals of one thing that was said, which say nothing of others."""


class ReportUplink:
    """Reports of all stations."""

    def __init__(
        self, *, clock: Clock, times: TimeSettings, journal: Journal, record: UplinkRecord, stations: Sequence[Station]
    ) -> None:
        """Remember whose reports they are.

        Args:
            clock: Time.
            times: Durations.
            journal: Keeps what the gateway says of chargers.
            record: Of the uplink.
            stations: All of them.
        """
        self._clock = clock
        self._times = times
        self._journal = journal
        self._record = record
        self._stations = stations
        self._connectors = [connector for station in stations for connector in station.connectors.values()]
        self._charger_ids = [connector.charger for connector in self._connectors]
        self._news = asyncio.Event()
        self._news.set()
        self.use_facts()

    def has_news(self) -> None:
        """Let sessions and announced limits be told."""
        self._news.set()

    def use_facts(self) -> None:
        """Give connectors what is known of their chargers."""
        for connector in self._connectors:
            connector.facts = self._record.chargers.get(connector.charger)

    async def learn(self, gateway: Gateway) -> None:
        """Ask the gateway what it knows of our chargers and keep it for a start without the gateway.

        Raises:
            grpc.aio.AioRpcError: It does not say.
        """
        token = ""
        while True:
            request = pb.ListChargersRequest(page=types_pb2.PageRequest(page_size=_PAGE_SIZE, page_token=token))
            answer = await gateway.fleet.ListChargers(request, timeout=CALL_REAL_SECONDS)
            for charger in answer.chargers:
                self._record.chargers[charger.id] = ChargerFacts(
                    max_power_kw=charger.max_power_kw,
                    min_power_kw=charger.min_power_kw,
                    phases=charger.phase_count,
                    fallback_kw=charger.fallback_power_kw,
                )
            token = answer.next_page_token
            if not token:
                break
        unknown = [charger for charger in self._charger_ids if charger not in self._record.chargers]
        if unknown:
            _LOG.error("the gateway does not know %s", ", ".join(unknown))
        await self._journal.keep_uplink(self._record)
        self.use_facts()
        for station in self._stations:
            station.wake()

    async def tell_news(self, gateway: Gateway) -> None:
        """Tell sessions and announced limits as they come, for ever.

        Raises:
            grpc.aio.AioRpcError: The gateway did not take them; they wait.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._tell_all(gateway)
            except BaseException:
                self._news.set()
                raise

    async def _tell_all(self, gateway: Gateway) -> None:
        refusals = [refusal for station in self._stations for refusal in await self._tell(gateway, station)]
        if refusals:
            raise refusals[0]

    async def _tell(self, gateway: Gateway, station: Station) -> list[grpc.aio.AioRpcError]:
        """Tell what one station has to say and return what the gateway refused: that holds up nothing else."""
        refusals = []
        for tell in (self._tell_sessions, self._tell_notices):
            try:
                await tell(gateway, station)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _ABOUT_CONTENT:
                    raise
                refusals.append(error)
        return refusals

    async def _tell_sessions(self, gateway: Gateway, station: Station) -> None:
        running = [(c.charger, c.transaction) for c in station.connectors.values() if c.transaction is not None]
        told = [(charger, t) for charger, t in (*running, *station.record.ended) if not t.is_told]
        known = [(charger, t) for charger, t in told if charger in self._record.chargers]
        for charger, transaction in known:
            await self._tell_session(gateway, charger, transaction)
        if known:
            station.record.ended = [entry for entry in station.record.ended if not entry[1].is_told]
            await station.keep()

    async def _tell_session(self, gateway: Gateway, charger: str, transaction: TransactionRecord) -> None:
        sessions = [self._session(charger, transaction)]
        transaction.is_told = True  # a change while the call is under way makes it false again
        request = pb.ReportSessionsRequest(request_id=_request_id(sessions), sessions=sessions)
        try:
            await gateway.fleet.ReportSessions(request, timeout=CALL_REAL_SECONDS)
        except grpc.aio.AioRpcError as error:
            transaction.is_told = _is_senseless(error)
            if not transaction.is_told:
                raise
            _LOG.error("the gateway refuses %s of %s for good: %s", transaction.session, charger, error.details())
        except BaseException:
            transaction.is_told = False
            raise

    def _session(self, charger: str, transaction: TransactionRecord) -> pb.Session:
        facts = self._record.chargers[charger]
        phases = min(facts.phases, transaction.phases)
        message = pb.Session(
            id=transaction.session,
            charger_id=charger,
            arrival_time=_timestamp(transaction.started_at),
            max_power_kw=facts.max_power_kw * phases / facts.phases,
            phase_count=1 if phases == 1 else _ALL_PHASES,
            delivered_energy_kwh=_delivered_kwh(transaction),
        )
        if transaction.ended_at is not None:
            message.departure_time.CopyFrom(_timestamp(transaction.ended_at))
        return message

    async def _tell_notices(self, gateway: Gateway, station: Station) -> None:
        while station.record.notices:
            notice = station.record.notices[0]
            try:
                await gateway.fleet.ReportChargerLimits(_notice_request(notice), timeout=CALL_REAL_SECONDS)
            except grpc.aio.AioRpcError as error:
                if not _is_senseless(error):
                    raise
                what = f"what {notice.source} says of {notice.charger}"
                _LOG.error("the gateway refuses %s for good: %s", what, error.details())
            station.record.notices = [one for one in station.record.notices if one.request != notice.request]
            await station.keep()

    async def stream_telemetry(self, gateway: Gateway) -> None:
        """Send measurements every few seconds, for ever.

        Raises:
            grpc.aio.AioRpcError: The stream broke.
        """
        async for _ in gateway.fleet.StreamTelemetry(self._batches()):
            pass

    async def _batches(self) -> AsyncIterator[pb.StreamTelemetryRequest]:
        sequence, is_first = 0, True
        while True:
            batch = self._batch(self._clock.now())
            if batch is not None:
                sequence += 1
                batch.sequence = sequence
                if is_first:
                    batch.charger_ids.extend(self._charger_ids)
                    is_first = False
                yield batch
            await self._clock.sleep(timedelta(seconds=self._times.telemetry))

    def _batch(self, now: datetime) -> pb.StreamTelemetryRequest | None:
        """Return what is new; None when nothing is."""
        batch = pb.StreamTelemetryRequest()
        batch.measure_time.CopyFrom(_timestamp(now))
        for place, connector in enumerate(self._connectors):
            reading = self._fresh(connector, now)
            if reading is not None and reading.power_kw is not None and reading.energy_kwh is not None:
                batch.charger_index.append(place)
                batch.power_kw.append(reading.power_kw)
                batch.energy_register_kwh.append(reading.energy_kwh)
                batch.phase_current_a.extend(_or_nan(reading.phase_current_a))
                batch.phase_voltage_v.extend(_or_nan(reading.phase_voltage_v))
        return batch if batch.charger_index else None

    def _fresh(self, connector: Connector, now: datetime) -> Reading | None:
        """Return what the gateway was not told yet; a connected charger without a car draws nothing."""
        reading = connector.measured.reading
        if reading is None or reading.energy_kwh is None:
            return None
        if connector.is_fresh and reading.power_kw is not None:
            connector.is_fresh = False
            connector.zero_at = now
            return reading
        is_idle = connector.transaction is None and connector.plug is Plug.FREE and self._is_connected(connector)
        if is_idle and now - connector.zero_at >= timedelta(seconds=self._times.idle_zero):
            connector.zero_at = now
            return Reading(at=now, power_kw=0.0, energy_kwh=reading.energy_kwh)
        return None

    def _is_connected(self, connector: Connector) -> bool:
        return any(s.is_connected for s in self._stations if connector in s.connectors.values())


def _is_senseless(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether the gateway would refuse the same words again, whenever they are said."""
    return error.code() is grpc.StatusCode.INVALID_ARGUMENT


def _or_nan(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _delivered_kwh(transaction: TransactionRecord) -> float:
    if transaction.start_kwh is None or transaction.latest_kwh is None:
        return 0.0
    return max(0.0, transaction.latest_kwh - transaction.start_kwh)


def _request_id(sessions: Sequence[pb.Session]) -> str:
    """Return an id that is the same for the same content: a retry has one effect."""
    content = b"".join(message.SerializeToString(deterministic=True) for message in sessions)
    return f"csms-{hashlib.sha256(content).hexdigest()[:32]}"


def _notice_request(notice: NoticeRecord) -> pb.ReportChargerLimitsRequest:
    request = pb.ReportChargerLimitsRequest(
        request_id=notice.request,
        charger_id=notice.charger,
        source=notice.source,
        is_grid_critical=notice.is_grid_critical,
        is_cleared=notice.is_cleared,
        is_of_station=notice.is_of_station,
    )
    for start, end, max_kw in _fewer(notice.blocks):
        block = request.blocks.add(start_time=_timestamp(start), max_power_kw=max_kw)
        if end is not None:
            block.expire_time.CopyFrom(_timestamp(end))
    return request


def _fewer(blocks: Sequence[_Block]) -> list[_Block]:
    """Return as many blocks as the gateway takes: the later ones become one that allows no more than any of them."""
    if len(blocks) <= _MOST_BLOCKS:
        return list(blocks)
    near, far = list(blocks[: _MOST_BLOCKS - 1]), blocks[_MOST_BLOCKS - 1 :]
    ends = [end for _, end, _ in far]
    latest = None if None in ends else max(end for end in ends if end is not None)
    return [*near, (min(start for start, _, _ in far), latest, min(kw for _, _, kw in far))]


def _timestamp(instant: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(instant)
    return message
