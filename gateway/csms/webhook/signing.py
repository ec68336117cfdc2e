"""Signatures of webhook messages, both ways: HMAC-SHA256 over time stamp and body, with named keys that can be changed.

```
Voltbridge-Key: k2
Voltbridge-Timestamp: 1793271600
Voltbridge-Signature: v1=<hex of HMAC-SHA256(key, "1793271600." + body)>
```
A time stamp outside the window is refused, so that what was overheard cannot be sent again later. Two keys are taken while they are
changed; we sign with the newer one.
"""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gateway.domain.errors import InvalidInput, Unauthenticated

KEY_HEADER = "Voltbridge-Key"
TIME_HEADER = "Voltbridge-Timestamp"
SIGNATURE_HEADER = "Voltbridge-Signature"
_SCHEME = "v1="
_SHORTEST_KEY = 32
_MOST_SEEN = 10_000
_LONGEST_TIME = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKey:
    """One key and its name."""

    id: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        """Reject a key that could be guessed."""
        if len(self.secret) < _SHORTEST_KEY:
            raise InvalidInput("secret_file", f"must hold at least {_SHORTEST_KEY} characters")

    def sign(self, timestamp: str, body: bytes) -> str:
        """Return the signature of a body at a time stamp."""
        digest = hmac.new(self.secret.encode(), _bytes(timestamp) + b"." + body, hashlib.sha256)
        return _SCHEME + digest.hexdigest()


class Signer:
    """Signs what we send and checks what we are sent.

    Args:
        keys: The one in use first, then those that are still taken.
        window: How far a time stamp may be from our clock, both ways.
    """

    def __init__(self, keys: tuple[SigningKey, ...], window: timedelta) -> None:
        self._keys = {key.id: key for key in keys}
        self._current = keys[0]
        self._window = window
        self._seen: OrderedDict[str, None] = OrderedDict()

    def headers(self, body: bytes, now: datetime) -> dict[str, str]:
        """Return the headers of a message that leaves now."""
        timestamp = str(int(now.timestamp()))
        return {
            KEY_HEADER: self._current.id,
            TIME_HEADER: timestamp,
            SIGNATURE_HEADER: self._current.sign(timestamp, body),
        }

    def check(self, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
        """Check the signature of a message and tell whether it is new: one that came before counts once.

        Raises:
            Unauthenticated: The key is unknown, the signature is wrong or the time stamp is outside the window; not said which.
        """
        timestamp, shown = headers.get(TIME_HEADER, ""), headers.get(SIGNATURE_HEADER, "")
        key = self._keys.get(headers.get(KEY_HEADER, ""))
        wanted = (key or self._current).sign(timestamp, body)
        is_right = hmac.compare_digest(_bytes(wanted), _bytes(shown))
        if key is None or not is_right or not self._is_recent(timestamp, now):
            raise Unauthenticated("the signature is not valid")
        is_new = shown not in self._seen
        self._seen[shown] = None
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        return is_new

    def _is_recent(self, timestamp: str, now: datetime) -> bool:
        if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > _LONGEST_TIME:
            return False
        return abs(int(timestamp) - now.timestamp()) <= self._window.total_seconds()


def _bytes(header: str) -> bytes:
    """Return a header as bytes, also where it was no UTF-8."""
    return header.encode(errors="surrogatepass")
