"""The messages of OSCP 2.0 as we read and write them; the published OpenAPI is made of these classes.

Strict where the schemas of the standard are loose, loose where partners in the field are, and both on purpose:

| the schemas say | we |
| --- | --- |
| a capacity is a number | also take a number in a text (a public SDK sends one); refuse true and false, NaN and infinity |
| `measurement_configuration` is required | take a message without it (pyoscp leaves it out) as `[]` |
| `required_behaviour` is optional | take its absence as no wish, and always send it |
| at least one measurement | take an empty list: nothing was measured |
| a time is a date-time | refuse one without zone, unless the partner's `naive_datetimes` names the zone; years 2000 to 2200 |
| nothing about the order of times | refuse a block that ends before it has begun |
| `heartbeat_interval` is a number | refuse less than 1 s |
| nothing about unknown fields | pass over them |
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    ValidationInfo,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from gateway.oscp.names import (
    AssetCategory,
    CapacityUnit,
    EnergyFlow,
    EnergyType,
    EnergyUnit,
    ForecastType,
    MeasurementConfiguration,
    Phase,
)

ZONE_KEY = "naive_zone"
"""Key of the validation context: zone of times that have none; None refuses them."""
MOST_BLOCKS = 3_000
"""A month of quarter-hours."""
MOST_MEASUREMENTS = 5_000
_MOST_VERSIONS = 20
_LONGEST_NAME = 255
_LONGEST_TEXT = 4_000
_LARGEST = 1e12
_YEARS = range(2000, 2201)
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d{0,9})?(Z|z|[+-]\d\d:\d\d)?", re.ASCII)


def _read_number(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number")
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            raise PydanticCustomError("number", "must be a number")
        return float(value)
    return value


def _read_instant(value: object, info: ValidationInfo) -> datetime:
    if isinstance(value, datetime):
        return value
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise PydanticCustomError("instant", "must be a date-time of RFC 3339")
    day, clock, fraction, offset = found.groups()
    zone: ZoneInfo | None = (info.context or {}).get(ZONE_KEY)
    if offset is None and zone is None:
        raise PydanticCustomError("instant", "must have a time zone")
    try:
        read = datetime.fromisoformat(f"{day}T{clock}.{(fraction or '0').ljust(6, '0')}{(offset or '').upper()}")
    except ValueError as error:
        raise PydanticCustomError("instant", "must be a date-time of RFC 3339") from error
    if read.year not in _YEARS:
        raise PydanticCustomError("instant", "must be in the years 2000 to 2200")
    return (read.replace(tzinfo=zone) if offset is None else read).astimezone(UTC)


Number = Annotated[float, BeforeValidator(_read_number), Field(allow_inf_nan=False, le=_LARGEST)]
Instant = Annotated[datetime, BeforeValidator(_read_instant)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=_LONGEST_NAME)]
Text = Annotated[StrictStr, Field(max_length=_LONGEST_TEXT)]


class Message(BaseModel):
    """Base of all messages: unknown fields are passed over, as the standard's schemas ask."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def as_json(self) -> str:
        """Return the message as it is sent: without what is not said."""
        return self.model_dump_json(exclude_none=True)


class VersionUrl(Message):
    """A version that the sender speaks, and where."""

    version: Name
    base_url: Annotated[StrictStr, Field(min_length=1, max_length=2_000)]


class Register(Message):
    """Begins, answers or changes a registration: the receiver shall show `token` to the sender from now on."""

    token: Annotated[StrictStr, Field(min_length=1, max_length=1_024, pattern=r"^[\x21-\x7e]+$", repr=False)]
    version_url: Annotated[tuple[VersionUrl, ...], Field(min_length=1, max_length=_MOST_VERSIONS)]


class RequiredBehaviour(Message):
    """What the sender wants of the receiver."""

    heartbeat_interval: Annotated[Number, Field(ge=1.0)] | None = None
    """How often, in seconds; absent when it wants none."""
    measurement_configuration: Annotated[tuple[MeasurementConfiguration, ...], Field(max_length=2)] = ()

    @field_serializer("heartbeat_interval")
    def _whole(self, interval: float | None) -> float | int | None:
        """Write whole seconds without a fraction: partners in the field take an integer only."""
        return int(interval) if interval is not None and interval.is_integer() else interval


class Handshake(Message):
    """Agrees on behaviour; may be repeated at any time."""

    required_behaviour: RequiredBehaviour | None = None


class Heartbeat(Message):
    """Says until when the sender may be taken to be there."""

    offline_mode_at: Instant


class ForecastedBlock(Message):
    """A capacity over a time."""

    capacity: Annotated[Number, Field(ge=0.0)]
    phase: Phase
    unit: CapacityUnit
    start_time: Instant
    end_time: Instant

    @model_validator(mode="after")
    def _is_a_span(self) -> Self:
        if self.end_time <= self.start_time:
            raise PydanticCustomError("span", "end_time must be after start_time")
        return self


class GroupCapacityForecast(Message):
    """A forecast for one group (UpdateGroupCapacityForecast and AdjustGroupCapacityForecast)."""

    group_id: Name
    type: ForecastType
    forecasted_blocks: Annotated[tuple[ForecastedBlock, ...], Field(min_length=1, max_length=MOST_BLOCKS)]


class GroupCapacityComplianceError(Message):
    """Says that a forecast cannot be kept; which one, X-Correlation-ID says."""

    message: Text
    forecasted_blocks: Annotated[tuple[ForecastedBlock, ...], Field(min_length=1)] | None = None


class EnergyMeasurement(Message):
    """A value of an energy register."""

    value: Number
    phase: Phase
    unit: EnergyUnit
    direction: EnergyFlow
    measure_time: Instant
    energy_type: EnergyType | None = None
    initial_measure_time: Instant | None = None
    """Since when an intermittent register counts."""


class UpdateGroupMeasurements(Message):
    """Registers of a group."""

    group_id: Name
    measurements: Annotated[tuple[EnergyMeasurement, ...], Field(max_length=MOST_MEASUREMENTS)]


class InstantaneousMeasurement(Message):
    """What an asset draws at an instant."""

    value: Number
    phase: Phase
    unit: CapacityUnit
    measure_time: Instant


class AssetMeasurement(Message):
    """Measurements of one asset."""

    asset_id: Name
    asset_category: AssetCategory
    energy_measurement: EnergyMeasurement | None = None
    instantaneous_measurement: InstantaneousMeasurement | None = None


class UpdateAssetMeasurements(Message):
    """Measurements of the assets of a group."""

    group_id: Name
    measurements: Annotated[tuple[AssetMeasurement, ...], Field(max_length=MOST_MEASUREMENTS)]


class Problem(Message):
    """Body of a refusal."""

    message: Text
