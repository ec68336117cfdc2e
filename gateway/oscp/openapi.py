"""The published OpenAPI: made of the same classes that read the messages, so that it cannot drift from them."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from gateway.oscp.names import (
    ADJUST_FORECAST,
    ASSET_MEASUREMENTS,
    HANDSHAKE,
    HANDSHAKE_ACKNOWLEDGE,
    HANDSHAKE_ACKNOWLEDGMENT,
    HEARTBEAT,
    REGISTER,
    UPDATE_FORECAST,
)
from gateway.oscp.reading import MOST_SEGMENTS
from gateway.oscp.wire import (
    GroupCapacityForecast,
    Handshake,
    Heartbeat,
    Message,
    Problem,
    Register,
    UpdateAssetMeasurements,
)

BODIES: dict[str, type[Message]] = {
    REGISTER: Register,
    HANDSHAKE: Handshake,
    HANDSHAKE_ACKNOWLEDGE: Handshake,
    HANDSHAKE_ACKNOWLEDGMENT: Handshake,
    HEARTBEAT: Heartbeat,
    UPDATE_FORECAST: GroupCapacityForecast,
    ADJUST_FORECAST: GroupCapacityForecast,
    ASSET_MEASUREMENTS: UpdateAssetMeasurements,
}
"""What the body of each message is."""
_REFUSALS = {
    400: "The message breaks a rule; old limits stand.",
    401: "No token, or one that is not valid.",
    403: "A partner of this role may not say this.",
    404: "The partner knows no such group.",
    409: "The X-Request-ID was used for another request.",
    413: "Longer than one request may be; send it in segments.",
    415: "Not application/json, or compressed.",
    429: "Too many messages are incomplete.",
    501: "No version that is spoken here.",
    503: "Nothing was kept; try again.",
}
_REF = "#/components/schemas/{model}"
_TEXT = {"type": "string", "minLength": 1, "maxLength": 128}
_COUNT = {"type": "integer", "minimum": 1, "maximum": MOST_SEGMENTS}


def operation(own_role: str, method: str, message: str) -> dict[str, Any]:
    """Return how a message is described, as arguments of a route."""
    extra: dict[str, Any] = {
        "parameters": [
            _header("X-Request-ID", _TEXT, is_required=True),
            _header("X-Correlation-ID", _TEXT),
            _header("X-Segment-Index", _COUNT),
            _header("X-Segment-Count", _COUNT),
        ],
        "security": [{"token": []}],
    }
    if method != "DELETE":
        schema = {"$ref": _REF.format(model=BODIES[message].__name__)}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {
        "openapi_extra": extra,
        "operation_id": f"{own_role}_{message}_{method.lower()}",
        "summary": f"{method} {message}",
        "response_description": "Taken, and on disk; what follows comes as a message of ours.",
        "responses": {code: {"description": text, "content": _problem_content()} for code, text in _REFUSALS.items()},
    }


def published(door: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what FastAPI asks for the document: its own, with the messages and the token."""

    def document() -> dict[str, Any]:
        if door.openapi_schema is None:
            found = get_openapi(title=door.title, version=door.version, routes=door.routes)
            parts = found.setdefault("components", {})
            parts["schemas"] = {**parts.get("schemas", {}), **_schemas()}
            parts["securitySchemes"] = {"token": {"type": "apiKey", "in": "header", "name": "Authorization"}}
            door.openapi_schema = found
        return door.openapi_schema

    return document


def _schemas() -> dict[str, Any]:
    models: list[type[Message]] = [*dict.fromkeys(BODIES.values()), Problem]
    _, found = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _header(name: str, schema: dict[str, Any], *, is_required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": is_required, "schema": schema}


def _problem_content() -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=Problem.__name__)}}}
