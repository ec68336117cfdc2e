"""What the process counts about itself, for a Prometheus on this machine.

The numbers are of the process, not of a tenant, and need no login; so they are told to loopback only, and anybody else finds no such
page. A reverse proxy in front of the pages must not pass this path on: behind it everybody comes from loopback.
"""

import ipaddress

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

router = APIRouter()


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return all metrics in the text format of Prometheus."""
    if request.client is None or not _is_loopback(request.client.host) or "x-forwarded-for" in request.headers:
        raise HTTPException(404)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
