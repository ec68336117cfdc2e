"""What would open without an authority, over gRPC: the same as on the operator's page, for who may release, and nothing is kept."""

import grpc
import pytest

from gateway.domain.limits import Limit
from gateway.v1 import signals_service_pb2 as pb
from tests.fakes.wired import PORTFOLIO, TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.test_services import WAIT, refused
from tests.services.scene import OPERATOR
from tests.web.test_operator import DSO, GRID
from tests.web.test_operator_release import lose


def question(authority: str = DSO) -> pb.SimulateReleaseRequest:
    return pb.SimulateReleaseRequest(authority=authority)


async def test_g9_what_would_open_is_told_as_the_page_shows_it_without_a_row(house: Wired, call: Caller) -> None:
    await lose(house)
    expected = await house.services.signals.simulate_release(OPERATOR, DSO)
    before = len(house.scene.store.applied)
    async with call("olga") as gateway:
        said = await gateway.signals.SimulateRelease(question(), timeout=WAIT)
    assert len(house.scene.store.applied) == before
    assert not [limit for limit in house.scene.store.all(Limit, TENANT) if limit.withdrawn_at is not None]
    assert (said.authority, said.is_lost, said.limit_count, said.place_count) == (DSO, True, 4, 2)
    assert said.change_time.ToDatetime(tzinfo=expected.changed_at.tzinfo) == expected.changed_at
    assert said.why == expected.why()
    assert {place.before.node_id for place in said.places} == {PORTFOLIO, "site-01"}
    for place, known in zip(said.places, expected.places, strict=True):
        assert (place.before.power_kw, place.after.power_kw) == (known.before.kw, known.after.kw)
        assert (place.before.authority, place.after.authority) == (known.before.authority, known.after.authority)
        assert (place.opened_power_kw, place.most_opened_power_kw) == (known.opened_kw, known.most_kw)
        assert place.most_opened_time.ToDatetime(tzinfo=known.most_at.tzinfo) == known.most_at


async def test_g9_who_can_be_reached_is_said_to_be(house: Wired, call: Caller) -> None:
    await lose(house)
    await house.services.signals.contact(GRID, DSO, is_lost=False)
    async with call("olga") as gateway:
        assert not (await gateway.signals.SimulateRelease(question(), timeout=WAIT)).is_lost


@pytest.mark.parametrize(
    ("actor", "authority", "code"),
    [
        ("tara", DSO, grpc.StatusCode.PERMISSION_DENIED),
        ("aud", DSO, grpc.StatusCode.PERMISSION_DENIED),
        ("olga", "oscp:nobody", grpc.StatusCode.NOT_FOUND),
        ("olga", "", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_g9_a_release_is_tried_by_who_may_release(
    house: Wired, call: Caller, actor: str, authority: str, code: grpc.StatusCode
) -> None:
    await lose(house)
    async with call(actor) as gateway:
        error = await refused(gateway.signals.SimulateRelease(question(authority), timeout=WAIT))
    assert error.code is code
