"""What a simulated charger says and answers in OCPP 1.6 and in OCPP 2.0.1 and 2.1; codecs of its own, plain JSON.

A payload is a dict as it is on the wire. The charger itself knows no version: it asks its tongue.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from typing_extensions import override

from gateway.sandbox.charge_point_profiles import Installed

Payload = dict[str, Any]
Call = tuple[str, Payload]
TOKEN = "04E91C5A123B80"  # noqa: S105  # what a driver's card says: nobody outside the CSMS may ever see it
"""The identity of the driver at this charger."""


def instant(at: datetime) -> str:
    """Return an instant as OCPP writes it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Sample:
    """What is measured at an EVSE."""

    def __init__(self, at: datetime, current_a: tuple[float, float, float], voltage_v: float, energy_wh: float) -> None:
        """Remember what was measured."""
        self.at = at
        self.current_a = current_a
        self.voltage_v = voltage_v
        self.energy_wh = energy_wh

    @property
    def power_w(self) -> float:
        """Power drawn."""
        return sum(self.current_a) * self.voltage_v

    def values(self, *, as_text: bool) -> list[Payload]:
        """Return the sampled values: 1.6 writes numbers as text."""

        def number(value: float, digits: int) -> str | float:
            return f"{value:.{digits}f}" if as_text else round(value, digits)

        phases = [
            {"measurand": "Current.Import", "phase": f"L{n}", "value": number(amperes, 2)}
            for n, amperes in enumerate(self.current_a, start=1)
        ]
        volts = [{"measurand": "Voltage", "phase": f"L{n}-N", "value": number(self.voltage_v, 1)} for n in range(1, 4)]
        return [
            {"measurand": "Energy.Active.Import.Register", "value": number(self.energy_wh, 1)},
            {"measurand": "Power.Active.Import", "value": number(self.power_w, 1)},
            *phases,
            *volts,
        ]


class Tongue(Protocol):
    """One version of OCPP."""

    subprotocol: str

    def boot(self) -> Call:
        """Return BootNotification."""
        ...

    def status(self, evse: int, *, is_taken: bool, at: datetime) -> Call:
        """Return StatusNotification."""
        ...

    def started(self, evse: int, number: str, sample: Sample) -> Call:
        """Return the message that begins a transaction."""
        ...

    def metered(self, evse: int, number: str, sample: Sample) -> Call:
        """Return the message with a transaction's measurements."""
        ...

    def stopped(self, evse: int, number: str, sample: Sample) -> Call:
        """Return the message that ends a transaction."""
        ...

    def number_of(self, answer: Payload, own: str) -> str:
        """Return the number of a transaction: given out by the CSMS in 1.6, our own later."""
        ...

    def profile(self, payload: Payload) -> Installed:
        """Return the profile that SetChargingProfile holds."""
        ...

    def cleared_id(self, payload: Payload) -> int:
        """Return which profile ClearChargingProfile names."""
        ...

    def composite(self, payload: Payload, limit: float | None, at: datetime) -> Payload:
        """Return the answer to GetCompositeSchedule; None: nothing binds."""
        ...

    def abilities(self, action: str, payload: Payload, known: Mapping[str, str]) -> Payload:
        """Return the answer to GetConfiguration or GetVariables."""
        ...

    def announced(self, payload: Payload, schedules: list[Payload]) -> Call:
        """Return ReportChargingProfiles with what others put on it (2.x)."""
        profiles = [
            {
                "id": number,
                "stackLevel": 0,
                "chargingProfilePurpose": "ChargingStationExternalConstraints",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [schedule],
            }
            for number, schedule in enumerate(schedules, start=1)
        ]
        report = {"requestId": payload["requestId"], "chargingLimitSource": "EMS", "evseId": payload["evseId"]}
        return "ReportChargingProfiles", report | {"chargingProfile": profiles}

    def changed(self, action: str, payload: Payload) -> tuple[Payload, dict[str, str]]:
        """Return the answer to ChangeConfiguration or SetVariables, and what they change."""
        ...


class Tongue16(Tongue):
    """OCPP 1.6J."""

    subprotocol = "ocpp1.6"

    @override
    def boot(self) -> Call:
        return "BootNotification", {"chargePointVendor": "Voltbridge", "chargePointModel": "Sandbox"}

    @override
    def status(self, evse: int, *, is_taken: bool, at: datetime) -> Call:
        status = "Preparing" if is_taken else "Available"
        payload = {"connectorId": evse, "errorCode": "NoError", "status": status, "timestamp": instant(at)}
        return "StatusNotification", payload

    @override
    def started(self, evse: int, number: str, sample: Sample) -> Call:
        return "StartTransaction", {
            "connectorId": evse,
            "idTag": TOKEN,
            "meterStart": round(sample.energy_wh),
            "timestamp": instant(sample.at),
        }

    @override
    def metered(self, evse: int, number: str, sample: Sample) -> Call:
        values = [{"timestamp": instant(sample.at), "sampledValue": sample.values(as_text=True)}]
        return "MeterValues", {"connectorId": evse, "transactionId": int(number), "meterValue": values}

    @override
    def stopped(self, evse: int, number: str, sample: Sample) -> Call:
        return "StopTransaction", {
            "transactionId": int(number),
            "idTag": TOKEN,
            "meterStop": round(sample.energy_wh),
            "timestamp": instant(sample.at),
        }

    @override
    def number_of(self, answer: Payload, own: str) -> str:
        return str(answer.get("transactionId", own))

    @override
    def profile(self, payload: Payload) -> Installed:
        return Installed(evse=int(payload["connectorId"]), wire=payload["csChargingProfiles"])

    @override
    def cleared_id(self, payload: Payload) -> int:
        return int(payload["id"])

    @override
    def composite(self, payload: Payload, limit: float | None, at: datetime) -> Payload:
        if limit is None:
            return {"status": "Rejected"}
        schedule = {
            "duration": payload["duration"],
            "chargingRateUnit": payload.get("chargingRateUnit", "A"),
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        }
        evse, start = payload["connectorId"], instant(at)
        return {"status": "Accepted", "connectorId": evse, "scheduleStart": start, "chargingSchedule": schedule}

    @override
    def abilities(self, action: str, payload: Payload, known: Mapping[str, str]) -> Payload:
        asked = payload.get("key") or list(known)
        entries = [{"key": key, "readonly": True, "value": known[key]} for key in asked if key in known]
        return {"configurationKey": entries, "unknownKey": [key for key in asked if key not in known]}

    @override
    def changed(self, action: str, payload: Payload) -> tuple[Payload, dict[str, str]]:
        return {"status": "Accepted"}, {payload["key"]: payload["value"]}


class Tongue2(Tongue):
    """OCPP 2.0.1 and 2.1."""

    def __init__(self, version: str) -> None:
        """Speak one of both."""
        self.subprotocol = f"ocpp{version}"
        self._sequence = 0

    @override
    def boot(self) -> Call:
        station = {"vendorName": "Voltbridge", "model": "Sandbox"}
        return "BootNotification", {"reason": "PowerUp", "chargingStation": station}

    @override
    def status(self, evse: int, *, is_taken: bool, at: datetime) -> Call:
        status = "Occupied" if is_taken else "Available"
        return "StatusNotification", {
            "timestamp": instant(at),
            "connectorStatus": status,
            "evseId": evse,
            "connectorId": 1,
        }

    @override
    def started(self, evse: int, number: str, sample: Sample) -> Call:
        token = {"idToken": TOKEN, "type": "ISO14443"}
        return "TransactionEvent", self._event("Started", evse, number, sample, reason="CablePluggedIn") | {
            "idToken": token
        }

    @override
    def metered(self, evse: int, number: str, sample: Sample) -> Call:
        return "TransactionEvent", self._event("Updated", evse, number, sample, reason="MeterValuePeriodic")

    @override
    def stopped(self, evse: int, number: str, sample: Sample) -> Call:
        return "TransactionEvent", self._event("Ended", evse, number, sample, reason="EVCommunicationLost")

    def _event(self, kind: str, evse: int, number: str, sample: Sample, *, reason: str) -> Payload:
        self._sequence += 1
        return {
            "eventType": kind,
            "timestamp": instant(sample.at),
            "triggerReason": reason,
            "seqNo": self._sequence,
            "transactionInfo": {"transactionId": number},
            "evse": {"id": evse, "connectorId": 1},
            "meterValue": [{"timestamp": instant(sample.at), "sampledValue": sample.values(as_text=False)}],
        }

    @override
    def number_of(self, answer: Payload, own: str) -> str:
        return own

    @override
    def profile(self, payload: Payload) -> Installed:
        return Installed(evse=int(payload["evseId"]), wire=payload["chargingProfile"])

    @override
    def cleared_id(self, payload: Payload) -> int:
        return int(payload["chargingProfileId"])

    @override
    def composite(self, payload: Payload, limit: float | None, at: datetime) -> Payload:
        if limit is None:
            return {"status": "Rejected"}
        schedule = {
            "evseId": payload["evseId"],
            "duration": payload["duration"],
            "scheduleStart": instant(at),
            "chargingRateUnit": payload.get("chargingRateUnit", "A"),
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        }
        return {"status": "Accepted", "schedule": schedule}

    @override
    def abilities(self, action: str, payload: Payload, known: Mapping[str, str]) -> Payload:
        names = {
            "ProfileStackLevel": "ChargeProfileMaxStackLevel",
            "RateUnit": "RateUnit",
            "PeriodsPerSchedule": "ChargingScheduleMaxPeriods",
        }
        results = []
        for asked in payload["getVariableData"]:
            value = known.get(names.get(asked["variable"]["name"], ""))
            status = {"attributeStatus": "UnknownVariable"}
            answer = status if value is None else {"attributeStatus": "Accepted", "attributeValue": value}
            results.append({"component": asked["component"], "variable": asked["variable"]} | answer)
        return {"getVariableResult": results}

    @override
    def changed(self, action: str, payload: Payload) -> tuple[Payload, dict[str, str]]:
        asked = payload["setVariableData"]
        results = [
            {"component": one["component"], "variable": one["variable"], "attributeStatus": "Accepted"} for one in asked
        ]
        names = {"TxUpdatedInterval": "MeterValueSampleInterval"}
        changes = {
            names.get(one["variable"]["name"], one["variable"]["name"]): str(one["attributeValue"]) for one in asked
        }
        return {"setVariableResult": results}, changes


def tongue_of(version: str) -> Tongue:
    """Return the tongue of a version: `1.6`, `2.0.1` or `2.1`."""
    return Tongue16() if version == "1.6" else Tongue2(version)
