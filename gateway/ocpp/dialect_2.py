"""OCPP 2.0.1 and 2.1 with one charging station: its messages become words, our words its messages.

An EVSE is what the rest of the CSMS calls a connector. `idToken` is answered and dropped.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from typing_extensions import override

from gateway.domain.charging_profiles import RateUnit
from gateway.domain.errors import InvalidInput
from gateway.ocpp.conversation import CallRefused, Conversation, Handler, NoAnswer, Payload
from gateway.ocpp.dialect_16 import MEASURANDS, ask, whole
from gateway.ocpp.profile_wire import profile_2, read_composite, read_periods
from gateway.ocpp.readings import read_instant, readings_of, write_instant
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import (
    WHOLE_STATION,
    Abilities,
    AnnouncedBlock,
    Answer,
    Composite,
    Dialect,
    LimitNotice,
    Plug,
    Profile,
    Stage,
    StationEvents,
    TransactionNews,
)

_CONTROLLER = "SmartChargingCtrlr"
_VARIABLES = ("ProfileStackLevel", "RateUnit", "PeriodsPerSchedule")
_MOST_TRANSACTIONS = 200
"""Of a station at a time, and then some: a station that ends none is not remembered for ever."""
_STAGES = {"Started": Stage.STARTED, "Updated": Stage.UPDATED, "Ended": Stage.ENDED}
_PLUGS = {"Available": Plug.FREE, "Reserved": Plug.FREE, "Occupied": Plug.TAKEN}
_ANSWERS_NOTHING = (
    "FirmwareStatusNotification",
    "LogStatusNotification",
    "NotifyEvent",
    "NotifyEVChargingSchedule",
    "NotifyMonitoringReport",
    "NotifyReport",
    "SecurityEventNotification",
)


class Dialect2(Dialect):
    """One connection that speaks OCPP 2.0.1 or 2.1."""

    def __init__(self, conversation: Conversation, events: StationEvents, clock: Clock, heartbeat_s: int) -> None:
        """Answer the station's calls from now on."""
        self._conversation = conversation
        self._events = events
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._evse_of: dict[str, int] = {}
        self._requests = 0
        handlers: dict[str, Handler] = {
            "Authorize": self._authorize,
            "BootNotification": self._boot,
            "ClearedChargingLimit": self._cleared_limit,
            "DataTransfer": self._data_transfer,
            "Heartbeat": self._heartbeat,
            "MeterValues": self._meter_values,
            "NotifyChargingLimit": self._notify_limit,
            "NotifyEVChargingNeeds": self._charging_needs,
            "ReportChargingProfiles": self._report_profiles,
            "StatusNotification": self._status,
            "TransactionEvent": self._transaction,
        }
        conversation.answer_with(dict.fromkeys(_ANSWERS_NOTHING, _accepted_silently) | handlers)

    @property
    @override
    def version(self) -> str:
        return self._conversation.version

    @override
    async def abilities(self) -> Abilities:
        asked = [{"component": {"name": _CONTROLLER}, "variable": {"name": name}} for name in _VARIABLES]
        try:
            answer = await self._conversation.call("GetVariables", {"getVariableData": asked})
        except (CallRefused, NoAnswer):
            return Abilities(has_max_offline=self.version == "2.1")
        values = {
            entry["variable"]["name"]: entry.get("attributeValue") or ""
            for entry in answer["getVariableResult"]
            if entry.get("attributeStatus") == "Accepted"
        }
        named = {RateUnit(word) for word in _list(values.get("RateUnit", "")) if word in set(RateUnit)}
        return Abilities(
            max_stack=whole(values.get("ProfileStackLevel")),
            units=frozenset(named or RateUnit),
            max_periods=max(1, whole(values.get("PeriodsPerSchedule")) or 1),
            has_max_offline=self.version == "2.1",
        )

    @override
    async def configure(self, meter_interval_s: int) -> None:
        wanted = (("TxUpdatedMeasurands", MEASURANDS), ("TxUpdatedInterval", str(meter_interval_s)))
        for name, value in wanted:
            variable = {"component": {"name": "SampledDataCtrlr"}, "variable": {"name": name}, "attributeValue": value}
            await ask(self._conversation, "SetVariables", {"setVariableData": [variable]})

    @override
    async def set_profile(self, profile: Profile) -> Answer:
        payload = {"evseId": profile.connector, "chargingProfile": profile_2(profile)}
        return await ask(self._conversation, "SetChargingProfile", payload)

    @override
    async def clear_profile(self, profile_id: int) -> Answer:
        return await ask(self._conversation, "ClearChargingProfile", {"chargingProfileId": profile_id})

    @override
    async def composite(self, connector: int, duration_s: int, unit: RateUnit) -> Composite | None:
        payload = {"evseId": connector, "duration": duration_s, "chargingRateUnit": unit.value}
        try:
            answer = await self._conversation.call("GetCompositeSchedule", payload)
        except (CallRefused, NoAnswer):
            return None
        schedule = answer.get("schedule")
        if answer.get("status") != "Accepted" or schedule is None:
            return None
        return read_composite(schedule)

    @override
    async def ask_announced(self, connector: int) -> None:
        self._requests += 1
        criterion = {"chargingProfilePurpose": "ChargingStationExternalConstraints"}
        payload = {"requestId": self._requests, "evseId": connector, "chargingProfile": criterion}
        await ask(self._conversation, "GetChargingProfiles", payload)

    async def _boot(self, payload: Payload) -> Payload:
        await self._events.booted(str(payload["reason"]))
        return {"status": "Accepted", "currentTime": write_instant(self._clock.now()), "interval": self._heartbeat_s}

    async def _heartbeat(self, payload: Payload) -> Payload:
        await self._events.told_time()
        return {"currentTime": write_instant(self._clock.now())}

    async def _authorize(self, payload: Payload) -> Payload:
        return {"idTokenInfo": {"status": "Accepted"}}

    async def _data_transfer(self, payload: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _charging_needs(self, payload: Payload) -> Payload:
        return {"status": "Accepted"}

    async def _status(self, payload: Payload) -> Payload:
        at = read_instant("timestamp", payload["timestamp"])
        plug = _PLUGS.get(payload["connectorStatus"], Plug.BROKEN)
        await self._events.plugged(payload["evseId"], plug, at)
        return {}

    async def _meter_values(self, payload: Payload) -> Payload:
        await self._events.measured(payload["evseId"], readings_of(payload["meterValue"]))
        return {}

    async def _transaction(self, payload: Payload) -> Payload:
        transaction = str(payload["transactionInfo"]["transactionId"])
        evse = payload.get("evse")
        if evse is not None:
            self._evse_of[transaction] = int(evse["id"])
            while len(self._evse_of) > _MOST_TRANSACTIONS:
                del self._evse_of[next(iter(self._evse_of))]
        stage = _STAGES[payload["eventType"]]
        at = read_instant("timestamp", payload["timestamp"])
        readings = readings_of(payload.get("meterValue") or ())
        if stage is Stage.ENDED:
            await self._events.end_transaction(transaction, at, readings)
            self._evse_of.pop(transaction, None)
        else:
            await self._events.transaction(
                TransactionNews(
                    connector=self._evse_of.get(transaction, WHOLE_STATION),
                    transaction=transaction,
                    stage=stage,
                    at=at,
                    readings=readings,
                )
            )
        return {"idTokenInfo": {"status": "Accepted"}} if "idToken" in payload else {}

    async def _notify_limit(self, payload: Payload) -> Payload:
        limit = payload["chargingLimit"]
        blocks = [
            block
            for schedule in payload.get("chargingSchedule") or ()
            for block in _blocks(schedule, self._clock.now())
        ]
        await self._events.limit_announced(
            LimitNotice(
                connector=int(payload.get("evseId") or WHOLE_STATION),
                source=str(limit["chargingLimitSource"]),
                is_grid_critical=bool(limit.get("isGridCritical")),
                blocks=tuple(blocks),
            )
        )
        return {}

    async def _report_profiles(self, payload: Payload) -> Payload:
        """Take the profiles of others in; our own are known."""
        now = self._clock.now()
        blocks = [
            block
            for profile in payload["chargingProfile"]
            if profile["chargingProfilePurpose"] == "ChargingStationExternalConstraints"
            for schedule in profile["chargingSchedule"]
            for block in _standing(_blocks(schedule, now), now, kind=profile["chargingProfileKind"])
        ]
        if blocks:
            await self._events.limit_announced(
                LimitNotice(
                    connector=int(payload["evseId"]), source=str(payload["chargingLimitSource"]), blocks=tuple(blocks)
                )
            )
        return {}

    async def _cleared_limit(self, payload: Payload) -> Payload:
        await self._events.limit_announced(
            LimitNotice(
                connector=int(payload.get("evseId") or WHOLE_STATION),
                source=str(payload["chargingLimitSource"]),
                is_cleared=True,
            )
        )
        return {}


def _blocks(schedule: Mapping[str, Any], now: datetime) -> list[AnnouncedBlock]:
    """Return a schedule's periods as blocks; without a start it begins now, without a duration it goes on.

    A negative limit asks the car to feed in: as a bound on what is drawn it is 0.

    Raises:
        InvalidInput: A limit is not a finite number.
    """
    text = schedule.get("startSchedule")
    start = now if text is None else read_instant("startSchedule", text)
    duration = schedule.get("duration")
    end = None if duration is None else start + timedelta(seconds=int(duration))
    periods = read_periods(schedule)
    if not all(math.isfinite(period.limit) for period in periods):
        raise InvalidInput("chargingSchedulePeriod.limit", "must be a finite number")
    starts = [start + timedelta(seconds=period.start_s) for period in periods]
    ends = [*starts[1:], end]
    unit = RateUnit(schedule["chargingRateUnit"])
    return [
        AnnouncedBlock(start=begin, end=finish, unit=unit, limit=max(period.limit, 0.0))
        for period, begin, finish in zip(periods, starts, ends, strict=True)
        if finish is None or finish > begin
    ]


def _standing(blocks: list[AnnouncedBlock], now: datetime, *, kind: str) -> list[AnnouncedBlock]:
    """Return blocks as they are, and of a schedule that recurs its lowest limit from now on, until it is taken back."""
    if kind != "Recurring":
        return blocks
    lowest = min(blocks, key=lambda block: block.limit, default=None)
    return [] if lowest is None else [replace(lowest, start=now, end=None)]


async def _accepted_silently(payload: Payload) -> Payload:
    return {}


def _list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]
