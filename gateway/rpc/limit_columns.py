"""Limits as a message: long columns are laid into it as the bytes that they have on the wire, without a Python number for each value.

A packed column is its field's key, its length in bytes, and its values: 32-bit floats little-endian, and integers as varints, seven
bits a byte from the lowest on, the eighth telling that another byte follows (protobuf encoding, "Packed repeated fields").
"""

import functools

import numpy as np
import numpy.typing as npt

from gateway.rpc import convert
from gateway.services.plan_dispatch import LinkBatch
from gateway.v1 import dispatch_service_pb2 as pb

FloatArray = npt.NDArray[np.float64]
PositionArray = npt.NDArray[np.int32]

_LEAST_CHARGERS = 64
"""Shorter columns are as fast as lists."""
_PACKED = 2
"""Wire type of everything that has a length."""
_FLOAT = np.dtype("<f4")
_FIELDS = {field.name: field.number for field in pb.Limits.DESCRIPTOR.fields}


def limits_response(batch: LinkBatch) -> pb.ConnectResponse:
    """Return the message that lays the commands of a batch upon a platform."""
    head = pb.Limits(
        dispatch_id=batch.dispatch_id,
        sequence=batch.sequence,
        resume_token=batch.resume_token,
        lease_expire_time=convert.timestamp(batch.lease_until),
        cause=batch.cause,
    )
    response = pb.ConnectResponse(limits=head)
    limits = response.limits
    if len(batch.charger_index) < _LEAST_CHARGERS:
        limits.charger_index.extend(batch.charger_index.tolist())
        limits.limit_power_kw.extend(batch.limit_kw.tolist())
        limits.fallback_power_kw.extend(batch.fallback_kw.tolist())
    else:
        limits.MergeFromString(
            _column("charger_index", _positions(batch.charger_index))
            + _column("limit_power_kw", batch.limit_kw.astype(_FLOAT).tobytes())
            + _column("fallback_power_kw", batch.fallback_kw.astype(_FLOAT).tobytes())
        )
    return response


def _column(name: str, packed: bytes) -> bytes:
    """Return a column of `pb.Limits` as it is on the wire."""
    return varints(np.array([_FIELDS[name] << 3 | _PACKED, len(packed)])) + packed


def _positions(index: PositionArray) -> bytes:
    """Return positions, which rise, as varints; a platform is mostly told about all of its chargers."""
    count = len(index)
    return _first(count) if int(index[-1]) == count - 1 else varints(index)


@functools.lru_cache(maxsize=64)
def _first(count: int) -> bytes:
    return varints(np.arange(count))


def varints(values: npt.NDArray[np.integer]) -> bytes:
    """Return whole numbers from 0 below 2^31, one after the other, as varints."""
    longest = max(1, -(-int(values.max(initial=0)).bit_length() // 7))
    shifts = np.arange(0, 7 * longest, 7)
    rest = values[:, None] >> shifts
    goes_on = rest >= 1 << 7
    # The first byte is always there, another one when the byte before says so.
    is_there = np.concatenate((np.ones((len(values), 1), dtype=bool), goes_on[:, :-1]), axis=1)
    encoded: bytes = ((rest & 0x7F) | goes_on << 7).astype(np.uint8)[is_there].tobytes()
    return encoded
