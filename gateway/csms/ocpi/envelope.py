"""The envelope around everything OCPI says, its headers and its tokens."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.csms.ocpi.models import time_text
from gateway.domain.errors import InvalidInput, VoltbridgeError
from gateway.json_guard import JsonPolicy, read_json
from gateway.sealing import is_token

POLICY = JsonPolicy(max_bytes=2_000_000, max_depth=16, max_values=200_000)
"""How much one message of a platform may hold."""
SUCCESS = 1000
CLIENT_ERROR = 2000
INVALID = 2001
SERVER_ERROR = 3000
CANNOT_USE_CLIENT = 3001
_SUCCESSES = range(1000, 2000)
_SCHEME = "token "


class OcpiRefused(VoltbridgeError):
    """The platform answered, and said no.

    Attributes:
        http_status: Of the answer.
        status_code: Of the envelope; 0 without one.
    """

    reason = "OCPI_REFUSED"

    def __init__(self, http_status: int, status_code: int) -> None:
        super().__init__(f"the platform answered {http_status} with OCPI status {status_code}")
        self.http_status = http_status
        self.status_code = status_code


@dataclass(frozen=True, kw_only=True, slots=True)
class Parties:
    """From whom to whom a message of a functional module goes (OCPI 2.2.1, section 4.1.3)."""

    from_country: str
    from_party: str
    to_country: str
    to_party: str

    def headers(self) -> dict[str, str]:
        """Return the routing headers."""
        return {
            "OCPI-from-country-code": self.from_country,
            "OCPI-from-party-id": self.from_party,
            "OCPI-to-country-code": self.to_country,
            "OCPI-to-party-id": self.to_party,
        }


def authorization(token: str) -> str:
    """Return the Authorization header of a token: `Token` and its base64 (OCPI 2.2.1, section 4.1.2; case o38)."""
    return "Token " + base64.b64encode(token.encode()).decode()


def is_authorized(header: str, kept_hash: str) -> bool:
    """Tell in constant time whether a header carries the token of a hash, encoded as OCPI wants it or plain as some send it."""
    return matching_token(header, kept_hash) is not None


def matching_token(header: str, kept_hash: str) -> str | None:
    """Return the token in a header when it is the one of a hash; None otherwise."""
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    shown = header[len(_SCHEME) :].strip()
    checked = [(candidate, is_token(candidate, kept_hash)) for candidate in (shown, _decoded(shown))]
    return next((candidate for candidate, is_right in checked if is_right), None)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""


def envelope(now: datetime, data: object = None, *, status_code: int = SUCCESS, message: str = "") -> bytes:
    """Return a message as it is written."""
    content: dict[str, Any] = {"status_code": status_code, "timestamp": time_text(now)}
    if data is not None:
        content["data"] = data
    if message:
        content["status_message"] = message
    return json.dumps(content).encode()


def read_envelope(http_status: int, body: bytes) -> Any:  # noqa: ANN401  # whatever `data` is
    """Return the data of an answer.

    Raises:
        OcpiRefused: The answer is not a success.
        InvalidInput: It is no envelope.
    """
    try:
        content = read_json(body, POLICY)
    except InvalidInput:
        if not 200 <= http_status < 300:
            raise OcpiRefused(http_status, 0) from None
        raise
    if not isinstance(content, Mapping):
        raise InvalidInput("body", "must be an OCPI envelope")
    code = _status_code(content)
    if not 200 <= http_status < 300 or code not in _SUCCESSES:
        raise OcpiRefused(http_status, code)
    return content.get("data")


def _status_code(content: Mapping[str, Any]) -> int:
    try:
        return int(content.get("status_code", 0))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput("status_code", "must be a number") from error
