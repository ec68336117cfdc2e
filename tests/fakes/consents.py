"""Consents of facilities to programs, for tests."""

from datetime import datetime
from typing import Any

from gateway.domain.programs import Enrolment
from gateway.domain.timegrid import Interval


def consent(consented_at: datetime, node: str, **fields: Any) -> Enrolment:
    """Return a consent for a node, valid from when it was given and for ever unless told otherwise."""
    wanted: dict[str, Any] = {
        "id": f"consent-{node}",
        "node": node,
        "resource": node,
        "owner": "facility@carpark.example",
        "purpose": "reduce in emergencies",
        "valid": Interval(start=consented_at, end=None),
        "consented_at": consented_at,
        **fields,
    }
    return Enrolment(**wanted)
