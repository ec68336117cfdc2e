"""Randomised starts that are the same after a redelivery, a restart or a lost database: chance from a kept seed and a name."""

import hashlib

from gateway.openadr.v3.timing import Draw

_BITS = 64


def draws(seed: str, event_id: str) -> Draw:
    """Return the shares of an event's ranges, in [-1, 1), evenly spread over events and VENs.

    Args:
        seed: Chosen at random once for each VTN, and kept.
        event_id: The partner's id of the event.
    """

    def share(name: str) -> float:
        digest = hashlib.sha256("\0".join((seed, event_id, name)).encode()).digest()
        return int.from_bytes(digest[: _BITS // 8], "big") / 2.0 ** (_BITS - 1) - 1.0

    return share
