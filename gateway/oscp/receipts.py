"""What is kept of a request: that it was answered, and its words."""

import hashlib
from datetime import datetime

from gateway.domain.oscp import OscpRequest
from gateway.domain.signals import RawSignal
from gateway.oscp.reading import Inbound
from gateway.oscp.surroundings import Surroundings
from gateway.oscp.wire import GroupCapacityForecast

PROTOCOL = "oscp-2.0"
_AT = "@"
"""Between a request's id and the second at which it came: an id may be used again once it is forgotten, and its words stay."""


def raw_of(
    around: Surroundings, inbound: Inbound, forecast: GroupCapacityForecast | None, now: datetime, cause: str
) -> RawSignal:
    """Return the words of a request.

    Args:
        around: Of the partner that said them.
        inbound: The request, or the last segment of what it said.
        forecast: What it said as a whole; None for anything else.
        now: The instant.
        cause: Names it among the partner's.
    """
    authority, tenant = around.settings.authority, around.settings.tenant
    body = inbound.body if forecast is None or inbound.segment is None else forecast.as_json().encode()
    return RawSignal(
        id=f"{authority}:{cause}{_AT}{now:%Y%m%dT%H%M%S}",
        tenant=tenant,
        authority=authority,
        protocol=PROTOCOL,
        received_at=now,
        sha256=hashlib.sha256(body).hexdigest(),
        body=body,
    )


def request_of(raw_id: str, authority: str) -> str | None:
    """Return the request whose words are kept under an id; None when another authority said them."""
    said_by = f"{authority}:"
    if not raw_id.startswith(said_by):
        return None
    return raw_id.removeprefix(said_by).rpartition(_AT)[0]


def remembered(around: Surroundings, inbound: Inbound, now: datetime) -> OscpRequest:
    """Return the row that answers the same request again."""
    authority, tenant = around.settings.authority, around.settings.tenant
    name = f"{authority}:{inbound.request_id}"
    return OscpRequest(id=name, tenant=tenant, authority=authority, at=now, sha256=inbound.digest)
