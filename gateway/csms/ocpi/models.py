"""Wire types of OCPI 2.2.1 and 2.3.0 as far as a smart charging provider needs them; the two are the same on the wire here.

Reading is lenient (unknown fields are passed over, `data` may be an object or a list of one), writing is strict. The published Python
models are not used: they take `charging_profile_period` as a single object, which no conforming platform sends. Nothing about the
driver is read: `cdr_token` is passed over.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from gateway.domain.charging_profiles import RateUnit
from gateway.domain.errors import InvalidInput

MOST_PERIODS = 1_000
_LONGEST_ID = 36
_LONGEST_URL = 2_048


class OcpiModel(BaseModel):
    """An OCPI object: fixed once read, unknown fields passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


ModelT = TypeVar("ModelT", bound=OcpiModel)


def _utc(value: datetime) -> datetime:
    """OCPI times are UTC and may leave the designator out (OCPI 2.2.1, section 16.4)."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from error


def _no_number(value: object) -> object:
    """Seconds since some epoch are not how OCPI writes an instant."""
    if isinstance(value, str | datetime):
        return value
    raise ValueError("must be a text")


def time_text(value: datetime) -> str:
    """Return an instant as OCPI writes it: UTC with `Z`, whole seconds or milliseconds."""
    timespec = "milliseconds" if value.microsecond else "seconds"
    return value.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


Instant = Annotated[datetime, BeforeValidator(_no_number), AfterValidator(_utc), PlainSerializer(time_text)]
Id = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]
Url = Annotated[str, Field(min_length=1, max_length=_LONGEST_URL)]
Tenths = Annotated[float, Field(ge=0.0, allow_inf_nan=False), PlainSerializer(lambda value: round(value, 1))]
"""A number with one decimal."""


class ChargingProfilePeriod(OcpiModel):
    """One step of a profile."""

    start_period: int = Field(ge=0)
    """Seconds since the start of the profile."""
    limit: Tenths
    """In the unit of the profile: amperes per phase or watts in total."""


class ChargingProfile(OcpiModel):
    """Limits over time; a maximum, never a target."""

    start_date_time: Instant | None = None
    """Left out: relative to when charging starts."""
    duration: int | None = Field(default=None, ge=0)
    """Seconds; left out: until the end of the session."""
    charging_rate_unit: RateUnit
    min_charging_rate: Tenths | None = None
    charging_profile_period: tuple[ChargingProfilePeriod, ...] = Field(default=(), max_length=MOST_PERIODS)


class SetChargingProfile(OcpiModel):
    """Body of PUT `{charging profiles}/{session}`."""

    charging_profile: ChargingProfile
    response_url: Url


class ProfileReply(StrEnum):
    """What the platform says at once."""

    ACCEPTED = "ACCEPTED"
    """It passes the request on; the result comes later."""
    NOT_SUPPORTED = "NOT_SUPPORTED"
    REJECTED = "REJECTED"
    TOO_OFTEN = "TOO_OFTEN"
    UNKNOWN_SESSION = "UNKNOWN_SESSION"


class ChargingProfileResponse(OcpiModel):
    """Answer to PUT, GET and DELETE of a profile."""

    result: ProfileReply
    timeout: int = Field(default=0, ge=0)
    """Seconds within which the result comes; OCPI forbids to repeat a result, so that after it the outcome is unknown."""


class ResultType(StrEnum):
    """What came of a request at the charger."""

    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"


class ActiveChargingProfile(OcpiModel):
    """What a charger follows now, all limits of everybody combined."""

    start_date_time: Instant
    charging_profile: ChargingProfile


class ProfileResult(OcpiModel):
    """ChargingProfileResult, ClearProfileResult and ActiveChargingProfileResult in one: `profile` is of the last only."""

    result: ResultType
    profile: ActiveChargingProfile | None = None


class SessionStatus(StrEnum):
    """State of a session."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    INVALID = "INVALID"
    PENDING = "PENDING"
    RESERVATION = "RESERVATION"


class Dimension(OcpiModel):
    """One quantity of a charging period."""

    type: str
    volume: float = Field(allow_inf_nan=False)


class ChargingPeriod(OcpiModel):
    """What was measured from an instant on."""

    start_date_time: Instant
    dimensions: tuple[Dimension, ...] = ()


class SessionObject(OcpiModel):
    """A session as far as it is read; who charges is not."""

    country_code: str = Field(min_length=2, max_length=2)
    party_id: str = Field(min_length=3, max_length=3)
    id: Id
    start_date_time: Instant
    end_date_time: Instant | None = None
    kwh: float = Field(ge=0.0, allow_inf_nan=False)
    location_id: Id
    evse_uid: Id
    connector_id: Id
    charging_periods: tuple[ChargingPeriod, ...] = Field(default=(), max_length=10_000)
    status: SessionStatus
    last_updated: Instant


class ProfileType(StrEnum):
    """What the driver prefers."""

    CHEAP = "CHEAP"
    FAST = "FAST"
    GREEN = "GREEN"
    REGULAR = "REGULAR"


class ChargingPreferences(OcpiModel):
    """What the driver asked for, as the platform passes it on."""

    profile_type: ProfileType
    departure_time: Instant | None = None
    energy_need: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    """kWh."""
    discharge_allowed: bool | None = None


class BusinessDetails(OcpiModel):
    """Name of a party."""

    name: str = Field(max_length=100)


class CredentialsRole(OcpiModel):
    """What a party is."""

    role: str
    business_details: BusinessDetails
    party_id: str = Field(min_length=3, max_length=3)
    country_code: str = Field(min_length=2, max_length=2)


class Credentials(OcpiModel):
    """How a party is reached. The token is a secret and not shown."""

    token: str = Field(min_length=1, max_length=64, repr=False)
    url: Url
    roles: tuple[CredentialsRole, ...] = Field(min_length=1, max_length=100)


class Version(OcpiModel):
    """A version that a party speaks."""

    version: str
    url: Url


class Endpoint(OcpiModel):
    """Where a module is."""

    identifier: str
    role: str = "RECEIVER"
    url: Url


class VersionDetails(OcpiModel):
    """Modules of a version."""

    version: str
    endpoints: tuple[Endpoint, ...] = Field(max_length=200)


def read_model(kind: type[ModelT], content: object) -> ModelT:
    """Return an object of a kind from parsed JSON; a list of one counts as the one.

    Raises:
        InvalidInput: A field is missing or wrong; it is named, its value is not.
    """
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"]) or "data"
        raise InvalidInput(path, str(first["msg"])) from error


def as_json(model: OcpiModel) -> dict[str, Any]:
    """Return an object as it is written: no fields without a value."""
    return model.model_dump(mode="json", exclude_none=True)


def merged(older: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object after a PATCH: named fields replace, others stay (OCPI 2.2.1, section 4.1.6)."""
    return {**older, **patch}
