"""What fields are called on the pages: a person who typed something wrong reads the label, a program the field."""

from gateway.domain.errors import InvalidInput, VoltbridgeError

LABELS = {
    "node_id": "Node",
    "max_kw": "At most, kW",
    "max_power_kw": "At most, kW",
    "minutes": "For, minutes",
    "expire_time": "For, minutes",
    "reason": "Reason",
    "opt": "Answer",
    "authority": "Partner",
    "start": "From",
    "end": "Until",
    "second_start": "And from",
    "second_end": "And until",
    "windows": "From and until",
    "market_context": "Market context",
    "resource": "Resource, as the partner knows it",
    "wish": "We",
    "believed": "I believe",
    "day": "Delivery day",
    "volume_mw": "Volume MW",
    "actor": "Name",
    "password": "Password",
}
"""Label by field; the services' names of what a form says are here too."""


def told(error: VoltbridgeError) -> str:
    """Return an error for people: a wrong field by its label, `volume_mw[02:15 +02:00]` as `Volume MW at 02:15 +02:00`."""
    if not isinstance(error, InvalidInput):
        return str(error)
    field, _, place = error.field.partition("[")
    label = LABELS.get(field, field)
    where = f" at {place.removesuffix(']')}" if place else ""
    return f"{label}{where}: {error.problem}"
