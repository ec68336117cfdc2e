"""Objects that keep their profiles, to be broken by tests."""

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
EAN18 = "871687110000000012"
EAN13 = "8716871000002"
GROUP = "GROUP-7"


def described(payload_type: str, **more: str) -> Json:
    """Return the descriptor of a payload type of events."""
    return {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": payload_type, **more}


def gac_program(version: str = "2.2.0") -> Json:
    return {
        "id": "p1",
        "objectType": "PROGRAM",
        "programName": "gac",
        "attributes": [
            {"type": "PROGRAM_TYPE", "values": [f"DSO_CPO_INTERFACE-{version}"]},
            {"type": "RETAILER_NAME", "values": ["Liander"]},
            {"type": "BINDING_EVENTS", "values": [True]},
        ],
    }


def gac20_program() -> Json:
    return {
        "id": "p1",
        "objectType": "PROGRAM",
        "programName": "gac",
        "programType": "DSO_CPO_INTERFACE-2.0.0",
        "retailerName": "Liander",
        "bindingEvents": True,
    }


def gac_event(event_id: str = "e1") -> Json:
    return {
        "id": event_id,
        "objectType": "EVENT",
        "createdDateTime": "2025-10-15T10:00:00Z",
        "programID": "p1",
        "eventName": "tomorrow",
        "targets": [EAN18],
        "payloadDescriptors": [described("IMPORT_CAPACITY_LIMIT", units="KW")],
        "intervalPeriod": {"start": "2025-10-16T00:00:00Z", "duration": "PT15M"},
        "intervals": [
            {"id": index, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [40.0 + index]}]}
            for index in range(4)
        ],
    }


def gac20_event() -> Json:
    return gac_event() | {
        "targets": [
            {"type": "POWER_SERVICE_LOCATION", "values": [EAN18]},
            {"type": "VEN_NAME", "values": ["NLABC"]},
        ]
    }


def safe_mode_event(event_id: str = "safe") -> Json:
    return gac_event(event_id) | {
        "eventName": "safe mode",
        "intervalPeriod": {"start": "0001-01-01T00:00:00Z", "duration": "P9999Y"},
        "intervals": [{"id": 0, "payloads": [{"type": "IMPORT_CAPACITY_LIMIT", "values": [11]}]}],
    }


def flex_program() -> Json:
    return {
        "id": "p1",
        "programName": "flex",
        "attributes": [
            {"type": "PROGRAM_TYPE", "values": ["DSO_SP_INTERFACE-1.0.0"]},
            {"type": "RETAILER_NAME", "values": [EAN13]},
            {"type": "RETAILER_LONG_NAME", "values": ["Liander"]},
            {"type": "COUNTRY", "values": ["NL"]},
            {"type": "BINDING_EVENTS", "values": [True]},
        ],
    }


def anchor_event() -> Json:
    wanted = ("REGISTRATION_REQUEST", "DE_REGISTRATION_REQUEST", "OPERATIONAL_STATUS")
    return {
        "id": "anchor",
        "programID": "p1",
        "reportDescriptors": [{"payloadType": one, "frequency": 0, "repeat": -1} for one in wanted],
    }


def baseline_event() -> Json:
    halves = ("ACTIVE", "RESERVED")
    asked = {"frequency": 0, "repeat": -1, "reportIntervals": "OPEN_INTERVALS"}
    return {
        "id": "base",
        "createdDateTime": "2025-10-15T08:00:00Z",
        "programID": "p1",
        "targets": [GROUP],
        "payloadDescriptors": [described(f"{half}_BASELINE", units="KW") for half in halves],
        "reportDescriptors": [{"payloadType": f"{half}_FLEX_DELTA", **asked} for half in halves],
        "intervals": [{"id": 0, "payloads": [{"type": f"{half}_BASELINE", "values": [20.25]} for half in halves]}],
    }


def dispatch_event() -> Json:
    def interval(number: int, hour: int, duration: str, kw: float) -> Json:
        period = {"start": f"2025-10-16T{hour:02d}:00:00Z", "duration": duration}
        return {"id": number, "intervalPeriod": period, "payloads": [{"type": "FLEX", "values": [kw]}]}

    return {
        "id": "call",
        "programID": "p1",
        "targets": [GROUP],
        "payloadDescriptors": [described("FLEX", units="KW")],
        "reportDescriptors": [{"payloadType": "ACK", "frequency": 0}, {"payloadType": "DELIVERED_FLEX"}],
        "intervalPeriod": {"start": "2025-10-16T00:00:00Z", "duration": "PT24H"},
        "intervals": [
            interval(0, 16, "PT1H", 0),
            interval(1, 17, "PT2H", 5.5),
            interval(2, 19, "PT1H", 0),
        ],
    }


def override_event() -> Json:
    said = {"ACTIVE_FLEX_DELTA_OVERRIDE": -3.5, "ACTIVE_FLEX_DELTA_OVERRIDE_REASON": "BASELINE_EXCEEDED"}
    payloads: list[Json] = [{"type": "REPORT_ID", "values": ["0f0e0d0c-0b0a-0908-0706-050403020100"]}]
    payloads += [{"type": name, "values": [value]} for name, value in said.items()]
    return {
        "id": "override",
        "programID": "p1",
        "targets": [GROUP],
        "payloadDescriptors": [described(one["type"], units="KW") for one in payloads],
        "intervals": [{"id": 0, "payloads": payloads}],
    }


def flex_resource() -> Json:
    said = {"DSO_ID": EAN13, "EAN": EAN18, "FLEX_TYPE": "EVSE"}
    return {
        "id": "r1",
        "objectType": "VEN_RESOURCE_REQUEST",
        "resourceName": "asset-1",
        "venID": "v1",
        "attributes": [{"type": name, "values": [value]} for name, value in said.items()],
    }


def flex_report(payloads: list[Json], *, name: str = "", period: Json | None = None) -> Json:
    interval: Json = {"id": 0, "payloads": payloads}
    if period is not None:
        interval["intervalPeriod"] = period
    return {
        "eventID": "call",
        "clientName": EAN13,
        "reportName": name,
        "resources": [{"resourceName": "AGGREGATED_REPORT", "intervals": [interval]}],
    }


def ack_report() -> Json:
    return flex_report([{"type": "ACK", "values": [True]}])


def delivery_report() -> Json:
    period = {"start": "2025-10-16T17:00:00Z", "duration": "PT2H"}
    return flex_report([{"type": "DELIVERED_FLEX", "values": [5.5] * 8}], period=period)


def limit_request() -> Json:
    """As in the public documentation of the Swedish platform."""
    return {
        "id": "1",
        "eventName": "powerLimit",
        "objectType": "EVENT",
        "createdDateTime": "2023-10-20T11:30:00Z",
        "programID": "1",
        "intervalPeriod": {"start": "2023-10-20T12:00:00Z", "duration": "PT15M"},
        "reportDescriptors": [{"payloadType": "POWER_LIMIT_ACKNOWLEDGEMENT", "startInterval": 0, "historical": False}],
        "payloadDescriptors": [
            {"payloadType": "CONSUMPTION_POWER_LIMIT", "units": "KW"},
            {"payloadType": "POWER_LIMIT_VERSION"},
        ],
        "intervals": [
            {
                "id": 0,
                "payloads": [
                    {"type": "CONSUMPTION_POWER_LIMIT", "values": [15000]},
                    {"type": "POWER_LIMIT_VERSION", "values": [1]},
                ],
            }
        ],
    }


def price_event(hours: int = 24) -> Json:
    """One day of hourly prices, export prices and carbon; the last interval holds three hours in one payload."""
    names = ("PRICE", "EXPORT_PRICE", "GHG")

    def interval(number: int, count: int) -> Json:
        period = {"start": f"2026-05-04T{number:02d}:00:00Z", "duration": f"PT{count}H"}
        payloads = [{"type": name, "values": [0.1] * count} for name in names]
        return {"id": number, "intervalPeriod": period, "payloads": payloads}

    return {
        "id": "day",
        "programID": "p1",
        "payloadDescriptors": [
            described("PRICE", units="KWH", currency="USD"),
            described("EXPORT_PRICE", units="KWH", currency="USD"),
            described("GHG", units="GHG"),
        ],
        "intervals": [*(interval(number, 1) for number in range(hours - 3)), interval(hours - 3, 3)],
    }


def changed(content: Json, change: Callable[[Json], object]) -> Json:
    """Return a copy on which a change was made."""
    mine = copy.deepcopy(content)
    change(mine)
    return mine


def put(content: Json, **fields: Any) -> Json:
    """Return a copy with other fields."""
    return copy.deepcopy(content) | fields
