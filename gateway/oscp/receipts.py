"""What is kept of a request: that it was answered, and its words."""

import hashlib
from datetime import datetime

from gateway.domain.oscp import OscpRequest
from gateway.domain.signals import RawSignal
from gateway.oscp.reading import Inbound
from gateway.oscp.surroundings import Surroundings
from gateway.oscp.wire import GroupCapacityForecast

PROTOCOL = "oscp-2.0"


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
        id=f"{authority}:{cause}",
        tenant=tenant,
        authority=authority,
        protocol=PROTOCOL,
        received_at=now,
        sha256=hashlib.sha256(body).hexdigest(),
        body=body,
    )


def remembered(around: Surroundings, inbound: Inbound, now: datetime) -> OscpRequest:
    """Return the row that answers the same request again."""
    authority, tenant = around.settings.authority, around.settings.tenant
    name = f"{authority}:{inbound.request_id}"
    return OscpRequest(id=name, tenant=tenant, authority=authority, at=now, sha256=inbound.digest)
