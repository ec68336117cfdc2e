"""A person's word on a contradiction over a real connection."""

from dataclasses import replace

import grpc

from gateway.domain.contradictions import Contradiction
from gateway.domain.series import MarketDayStatus, PriceProduct, market_day_id
from gateway.v1 import market_data_service_pb2 as pb
from tests.fakes.wired import Wired
from tests.rpc.conftest import Caller
from tests.rpc.test_services import refused
from tests.services.market_scene import DAY, TENANT

YESTERDAY = DAY.next(-1)
KEY = market_day_id("BE", PriceProduct.DAY_AHEAD_SDAC, YESTERDAY)


async def contradict(house: Wired, key: str = "c1") -> None:
    row = await house.scene.store.get(MarketDayStatus, TENANT, KEY)
    assert row is not None
    told = "smard differs from entsoe in 1 of 96 periods, most at 2025-10-14 10:00Z: 1 instead of 2"
    found = Contradiction(id=key, source="entsoe", other="smard", told=told, found_at=house.scene.clock.now())
    await house.scene.store.seed(TENANT, replace(row.record, cross_check=told, contradiction=found))


def word(key: str = "c1", **changes: str) -> pb.AcknowledgeContradictionRequest:
    fields = {
        "request_id": "word-1",
        "zone": "BE",
        "delivery_day": YESTERDAY.day.isoformat(),
        "contradiction_id": key,
        "believed_source": "entsoe",
        "reason": "the exchange says the same",
    }
    return pb.AcknowledgeContradictionRequest(product=pb.PRICE_PRODUCT_DAY_AHEAD_SDAC, **(fields | changes))


async def test_a_contradiction_is_listed_acknowledged_and_asked_again_when_it_is_another(
    house: Wired, call: Caller
) -> None:
    await contradict(house)
    async with call("tara") as gateway:
        market = gateway.market_data
        [day] = (await market.ListContradictions(pb.ListContradictionsRequest())).days
        assert (day.zone, day.delivery_day, day.product) == (
            "BE",
            YESTERDAY.day.isoformat(),
            pb.PRICE_PRODUCT_DAY_AHEAD_SDAC,
        )
        assert (day.contradiction.source, day.contradiction.other_source) == ("entsoe", "smard")
        assert not day.contradiction.HasField("word")
        kept = (await market.AcknowledgeContradiction(word(), timeout=5.0)).contradiction
        assert (kept.word.actor, kept.word.believed_source, kept.word.reason) == (
            "tara",
            "entsoe",
            "the exchange says the same",
        )
        assert (await market.AcknowledgeContradiction(word(), timeout=5.0)).contradiction == kept
        assert not (await market.ListContradictions(pb.ListContradictionsRequest())).days
        everything = await market.ListContradictions(pb.ListContradictionsRequest(with_acknowledged=True))
        assert [one.contradiction for one in everything.days] == [kept]
        prices = pb.GetPricesRequest(
            zone="BE", delivery_day=YESTERDAY.day.isoformat(), product=pb.PRICE_PRODUCT_DAY_AHEAD_SDAC
        )
        assert (await market.GetPrices(prices)).contradiction == kept
        await contradict(house, "c2")
        seen = await refused(market.AcknowledgeContradiction(word(request_id="word-2"), timeout=5.0))
        assert (seen.code, seen.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONTENT_CHANGED")
        assert len((await market.ListContradictions(pb.ListContradictionsRequest())).days) == 1


async def test_who_does_not_trade_may_look_and_not_speak(house: Wired, call: Caller) -> None:
    await contradict(house)
    async with call("aud") as gateway:
        market = gateway.market_data
        assert len((await market.ListContradictions(pb.ListContradictionsRequest())).days) == 1
        assert (
            await refused(market.AcknowledgeContradiction(word(), timeout=5.0))
        ).code is grpc.StatusCode.PERMISSION_DENIED
    async with call("ann") as gateway:
        market = gateway.market_data
        for missing in ("request_id", "contradiction_id", "believed_source", "reason"):
            seen = await refused(market.AcknowledgeContradiction(word(**{missing: ""}), timeout=5.0))
            assert seen.code is grpc.StatusCode.INVALID_ARGUMENT
