"""OCPP 1.6J with one charger: its messages become words, our words its messages.

`idTag` is answered and dropped. Chargers ask for transaction numbers; ours come from what is on disk, so that a repeated
StartTransaction gets the number that it got before.
"""

from collections.abc import Sequence
from datetime import datetime

from typing_extensions import override

from gateway.domain.charging_profiles import RateUnit
from gateway.ocpp.conversation import CallRefused, Conversation, Handler, NoAnswer, Payload
from gateway.ocpp.profile_wire import profile_16, read_composite
from gateway.ocpp.readings import read_instant, readings_of, write_instant
from gateway.ocpp.surroundings import Clock
from gateway.ocpp.words import (
    Abilities,
    Answer,
    Composite,
    Dialect,
    Plug,
    Profile,
    Reading,
    Stage,
    StationEvents,
    TransactionNews,
    Verdict,
)

MEASURANDS = "Energy.Active.Import.Register,Power.Active.Import,Current.Import,Voltage"
_PLUGS = {
    "Available": Plug.FREE,
    "Reserved": Plug.FREE,
    "Preparing": Plug.TAKEN,
    "Charging": Plug.TAKEN,
    "SuspendedEV": Plug.TAKEN,
    "SuspendedEVSE": Plug.TAKEN,
    "Finishing": Plug.TAKEN,
    "Faulted": Plug.BROKEN,
    "Unavailable": Plug.BROKEN,
}
_UNITS = {"current": RateUnit.AMPERE, "a": RateUnit.AMPERE, "power": RateUnit.WATT, "w": RateUnit.WATT}
_KEYS = (
    "ChargeProfileMaxStackLevel",
    "ChargingScheduleAllowedChargingRateUnit",
    "ChargingScheduleMaxPeriods",
    "MaxChargingProfilesInstalled",
)
_NOT_NOW = ("often", "rate", "busy", "throttl")
"""In reason codes of 2.x, which every vendor makes up: writing was too frequent (OCPI says TOO_OFTEN), or is under way."""
_NOT_SUPPORTED = frozenset({"NotImplemented", "NotSupported"})


def verdict_of(status: str) -> Verdict:
    """Return what a status of SetChargingProfile, ClearChargingProfile and their like means."""
    match status:
        case "Accepted":
            return Verdict.ACCEPTED
        case "NotSupported":
            return Verdict.NOT_SUPPORTED
        case _:
            return Verdict.REJECTED


async def ask(conversation: Conversation, action: str, payload: Payload) -> Answer:
    """Call the charger and return its answer by the field `status`."""
    try:
        result = await conversation.call(action, payload)
    except CallRefused as refused:
        is_unknown = refused.code in _NOT_SUPPORTED
        return Answer(
            verdict=Verdict.NOT_SUPPORTED if is_unknown else Verdict.REJECTED, reason=f"{action}: {refused.code}"
        )
    except NoAnswer as error:
        return Answer(verdict=Verdict.NO_ANSWER, reason=str(error))
    status = str(result.get("status", ""))
    why = str((result.get("statusInfo") or {}).get("reasonCode") or "")
    verdict = verdict_of(status)
    if verdict is Verdict.REJECTED and any(word in why.lower() for word in _NOT_NOW):
        verdict = Verdict.TOO_OFTEN
    return Answer(verdict=verdict, reason=f"{action}: {status}" + (f" ({why})" if why else ""))


class Dialect16(Dialect):
    """One connection that speaks OCPP 1.6J."""

    def __init__(self, conversation: Conversation, events: StationEvents, clock: Clock, heartbeat_s: int) -> None:
        """Answer the charger's calls from now on."""
        self._conversation = conversation
        self._events = events
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        handlers: dict[str, Handler] = {
            "Authorize": self._authorize,
            "BootNotification": self._boot,
            "DataTransfer": self._data_transfer,
            "DiagnosticsStatusNotification": _nothing,
            "FirmwareStatusNotification": _nothing,
            "Heartbeat": self._heartbeat,
            "MeterValues": self._meter_values,
            "SecurityEventNotification": _nothing,
            "StartTransaction": self._start,
            "StatusNotification": self._status,
            "StopTransaction": self._stop,
        }
        conversation.answer_with(handlers)

    @property
    @override
    def version(self) -> str:
        return self._conversation.version

    @override
    async def abilities(self) -> Abilities:
        try:
            answer = await self._conversation.call("GetConfiguration", {"key": list(_KEYS)})
        except (CallRefused, NoAnswer):
            return Abilities()
        values = {entry["key"]: entry.get("value") or "" for entry in answer.get("configurationKey") or []}
        named = {_UNITS[word] for word in _words(values.get(_KEYS[1], "")) if word in _UNITS}
        return Abilities(
            max_stack=whole(values.get(_KEYS[0])),
            units=frozenset(named or RateUnit),
            max_periods=max(1, whole(values.get(_KEYS[2])) or 1),
            max_profiles=whole(values.get(_KEYS[3])),
        )

    @override
    async def configure(self, meter_interval_s: int) -> None:
        for key, value in (("MeterValuesSampledData", MEASURANDS), ("MeterValueSampleInterval", str(meter_interval_s))):
            await ask(self._conversation, "ChangeConfiguration", {"key": key, "value": value})

    @override
    async def set_profile(self, profile: Profile) -> Answer:
        payload = {"connectorId": profile.connector, "csChargingProfiles": profile_16(profile)}
        return await ask(self._conversation, "SetChargingProfile", payload)

    @override
    async def clear_profile(self, profile_id: int) -> Answer:
        return await ask(self._conversation, "ClearChargingProfile", {"id": profile_id})

    @override
    async def composite(self, connector: int, duration_s: int, unit: RateUnit) -> Composite | None:
        payload = {"connectorId": connector, "duration": duration_s, "chargingRateUnit": unit.value}
        try:
            answer = await self._conversation.call("GetCompositeSchedule", payload)
        except (CallRefused, NoAnswer):
            return None
        schedule = answer.get("chargingSchedule")
        if answer.get("status") != "Accepted" or schedule is None:
            return None
        return read_composite(schedule)

    @override
    async def ask_announced(self, connector: int) -> None:
        """Do nothing: in 1.6 nobody announces limits."""

    async def _boot(self, payload: Payload) -> Payload:
        await self._events.booted("BootNotification")
        return {"status": "Accepted", "currentTime": write_instant(self._clock.now()), "interval": self._heartbeat_s}

    async def _heartbeat(self, payload: Payload) -> Payload:
        await self._events.told_time()
        return {"currentTime": write_instant(self._clock.now())}

    async def _authorize(self, payload: Payload) -> Payload:
        return {"idTagInfo": {"status": "Accepted"}}

    async def _data_transfer(self, payload: Payload) -> Payload:
        return {"status": "UnknownVendorId"}

    async def _status(self, payload: Payload) -> Payload:
        at = self._when(payload.get("timestamp"))
        await self._events.plugged(payload["connectorId"], _PLUGS.get(payload["status"], Plug.UNKNOWN), at)
        return {}

    async def _start(self, payload: Payload) -> Payload:
        at = self._when(payload["timestamp"])
        number = await self._events.begin_transaction(payload["connectorId"], at, payload["meterStart"] / 1000.0)
        return {"transactionId": number, "idTagInfo": {"status": "Accepted"}}

    async def _stop(self, payload: Payload) -> Payload:
        at = self._when(payload["timestamp"])
        readings: Sequence[Reading] = readings_of(payload.get("transactionData") or ())
        last = Reading(at=at, power_kw=0.0, energy_kwh=payload["meterStop"] / 1000.0)
        await self._events.end_transaction(str(payload["transactionId"]), at, (*readings, last))
        return {"idTagInfo": {"status": "Accepted"}}

    async def _meter_values(self, payload: Payload) -> Payload:
        readings = readings_of(payload["meterValue"])
        transaction, connector = payload.get("transactionId"), payload["connectorId"]
        if transaction is None or not readings:
            await self._events.measured(connector, readings)
        else:
            await self._events.transaction(
                TransactionNews(
                    connector=connector,
                    transaction=str(transaction),
                    stage=Stage.UPDATED,
                    at=readings[-1].at,
                    readings=readings,
                )
            )
        return {}

    def _when(self, text: str | None) -> datetime:
        return self._clock.now() if text is None else read_instant("timestamp", text)


async def _nothing(payload: Payload) -> Payload:
    return {}


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


def whole(text: str | None) -> int | None:
    """Return a whole number of at least 0; None when the text is none."""
    stripped = (text or "").strip()
    return int(stripped) if stripped.isascii() and stripped.isdigit() else None
