"""Messages of the webhook: columnar limits out, acknowledgements back. Their JSON schema is in `scripts/examples`."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError

from gateway.domain.errors import InvalidInput
from gateway.json_guard import JsonPolicy, read_json

POLICY = JsonPolicy(max_bytes=2_000_000, max_depth=6, max_values=400_000)
MOST_CHARGERS = 200_000


def _time_text(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Instant = Annotated[datetime, PlainSerializer(_time_text)]
"""RFC 3339, UTC."""


class Limits(BaseModel):
    """Limits for some chargers of a platform: absolute, never deltas; the newest sequence wins for each charger.

    The platform promises two things with its acknowledgement: it lets a charger draw at most `limit_kw` until `lease_until`, and at
    most `fallback_kw` from then on unless a newer message says otherwise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal["voltbridge.limits.v1"] = "voltbridge.limits.v1"
    id: str = Field(description="Id of the dispatch; the same in every repetition.")
    sequence: int = Field(ge=1, description="Grows for ever; what is not newer than what a charger has is ignored.")
    csms: str = Field(description="The platform that is addressed.")
    issued_at: Instant = Field(description="When it was first sent.")
    lease_until: Instant = Field(description="After it the fallback applies.")
    charger_ids: tuple[str, ...] = Field(max_length=MOST_CHARGERS)
    limit_kw: tuple[float, ...] = Field(description="Upper bound per charger in kW; 0 pauses.")
    fallback_kw: tuple[float, ...] = Field(description="Upper bound per charger in kW once the lease is over.")
    cause: str = Field(description="Limit, schedule or renewal behind it, for logs.")
    ack_url: str = Field(description="Where a later acknowledgement is posted, signed with the same key.")


class Refusal(BaseModel):
    """A charger at which a limit did not take effect."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    charger_id: str = Field(max_length=256)
    reason: str = Field(default="no reason given", max_length=200)


class Ack(BaseModel):
    """What became of a message: every charger in it is accepted that is not refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sequence: int = Field(ge=1)
    rejected: tuple[Refusal, ...] = Field(default=(), max_length=MOST_CHARGERS)
    applied: tuple[str, ...] = Field(
        default=(), max_length=MOST_CHARGERS, description="Chargers that were asked and show the limit."
    )


def read_ack(body: bytes) -> Ack:
    """Return an acknowledgement.

    Raises:
        InvalidInput: It is none; the field is named.
    """
    try:
        return Ack.model_validate(read_json(body, POLICY))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidInput(".".join(str(part) for part in first["loc"]) or "ack", str(first["msg"])) from error
