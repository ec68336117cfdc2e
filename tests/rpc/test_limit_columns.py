"""Limits with columns laid in as bytes are the same message as one built of lists."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rpc import convert
from gateway.rpc.limit_columns import limits_response, varints
from gateway.services.plan_dispatch import LinkBatch
from gateway.v1 import dispatch_service_pb2 as pb

LEASE = datetime(2026, 1, 5, 12, 2, tzinfo=UTC)
MOST = 2**31 - 1


def batch_of(index: list[int]) -> LinkBatch:
    rng = np.random.default_rng(len(index))
    return LinkBatch(
        dispatch_id="dispatch-1",
        sequence=7,
        resume_token="7@csms",
        charger_index=np.array(index, dtype=np.int32),
        limit_kw=np.round(rng.random(len(index)) * 22.0, 2),
        fallback_kw=np.round(rng.random(len(index)) * 4.2, 2),
        lease_until=LEASE,
        cause="limit:1",
    )


def plain(batch: LinkBatch) -> pb.ConnectResponse:
    return pb.ConnectResponse(
        limits=pb.Limits(
            dispatch_id=batch.dispatch_id,
            sequence=batch.sequence,
            resume_token=batch.resume_token,
            charger_index=batch.charger_index.tolist(),
            limit_power_kw=batch.limit_kw.tolist(),
            fallback_power_kw=batch.fallback_kw.tolist(),
            lease_expire_time=convert.timestamp(batch.lease_until),
            cause=batch.cause,
        )
    )


@pytest.mark.parametrize(
    "index",
    [[0], [3], list(range(63)), list(range(64)), list(range(20_000)), list(range(5, 200_000, 7)), [*range(99), MOST]],
    ids=["first", "fourth", "63", "64", "20000-all", "many-of-200000", "largest"],
)
def test_columns_are_the_same_on_the_wire(index: list[int]) -> None:
    batch = batch_of(index)
    assert limits_response(batch) == plain(batch)
    assert limits_response(batch).SerializeToString() == plain(batch).SerializeToString()


@given(st.lists(st.integers(0, MOST), min_size=1, max_size=80))
def test_varints_are_those_of_protobuf(values: list[int]) -> None:
    packed = varints(np.array(values, dtype=np.int64))
    message = pb.Limits(charger_index=values).SerializeToString()
    assert message.endswith(packed)
    assert len(message) - len(packed) <= 3  # key and length
