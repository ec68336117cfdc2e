"""A contradiction between two sources waits for a person: the word is kept, audited, and holds for exactly this contradiction."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gateway.domain.bids import BidState, Order, OrderState
from gateway.domain.contradictions import Contradiction, ContradictionWord
from gateway.domain.errors import (
    ContentChanged,
    InvalidInput,
    NotFound,
    PermissionRefused,
    PreconditionFailed,
)
from gateway.domain.identity import Role, system_principal
from gateway.domain.price_check import compare_prices, contradiction_of
from gateway.domain.price_doubts import contradiction_in, waits_for_word
from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.services.gather_market_data import Contradictions
from gateway.storage.codec import decode, encode
from tests.services.market_scene import APPROVER, DAY, STRANGER, TENANT, TRADER, MarketScene
from tests.services.test_confirm_prices import Comparing, run_for
from tests.services.test_price_doubts import price_check

SDAC = PriceProduct.DAY_AHEAD_SDAC
PLACE = ("BE", SDAC, DAY)


def desk(some: Comparing | MarketScene) -> Contradictions:
    ids = some.gatherer.ids
    return Contradictions(store=some.store, clock=some.clock, ids=ids)


async def said(some: Comparing, found: Contradiction, *, request_id: str = "r", **changes: str) -> MarketDayStatus:
    word = {"contradiction": found.id, "believed": found.source, "reason": "the exchange's own page says so"}
    return await desk(some).acknowledge(TRADER, place=PLACE, request_id=request_id, **(word | changes))


async def contradicted(plus: str = "0.02") -> tuple[Comparing, Contradiction]:
    some = Comparing()
    some.answer(0, some.series())
    some.answer(1, some.series(1, plus=plus))
    await some.confirmed()
    found = (await some.status()).contradiction
    assert found is not None
    return some, found


async def test_m20_a_contradiction_waits_and_a_word_on_it_is_kept_and_audited() -> None:
    some, found = await contradicted()
    assert (found.source, found.other, found.is_open) == ("source-0", "source-1", True)
    assert [one.id for one in await desk(some).days(TRADER)] == [market_day_id(*PLACE)]
    status = await said(some, found, believed="source-1")
    assert status == await some.status()
    assert decode(MarketDayStatus, encode(status)) == status
    kept = status.contradiction
    assert kept is not None
    assert kept.word == ContradictionWord(
        actor=TRADER.actor,
        spoken_at=some.clock.now(),
        believed="source-1",
        reason="the exchange's own page says so",
    )
    assert not await desk(some).days(TRADER)
    assert await desk(some).days(TRADER, only_open=False) == [status]
    entry = (await some.store.audit_of(TENANT, "market-day", status.id))[-1].entry
    assert (entry.actor, entry.action, entry.request_id) == (TRADER.actor, "market-day.acknowledge", "r")
    assert entry.detail == {
        "contradiction": found.id,
        "told": status.cross_check,
        "believed": "source-1",
        "reason": "the exchange's own page says so",
    }


async def test_the_same_contradiction_found_again_keeps_its_word() -> None:
    some, found = await contradicted()
    await said(some, found)
    some.clock.move(seconds=60)
    await some.gatherer.confirm("BE", SDAC, DAY)
    assert not waits_for_word(await some.status())
    await some.gatherer.refresh("BE", SDAC, DAY)
    assert not waits_for_word(await some.status())


@pytest.mark.parametrize("what", ["other differences", "a revision of the prices in use", "another source"])
async def test_another_contradiction_asks_again(what: str) -> None:
    some, found = await contradicted()
    await said(some, found)
    some.clock.move(seconds=60)
    if what == "other differences":
        # As many periods, and the same one the worst: only a smaller one is elsewhere.
        some.answer(1, other_slot(some.series(1, plus="0.02"), 20))
    elif what == "another source":
        some.sources[1].name = "source-9"
        some.answer(1, replace(some.series(1, plus="0.02"), source="source-9"))
    else:
        some.answer(0, other_slot(some.series(), 30))
        await some.gatherer.refresh("BE", SDAC, DAY)
    await some.gatherer.confirm("BE", SDAC, DAY)
    status = await some.status()
    assert waits_for_word(status)
    with pytest.raises(ContentChanged):
        await said(some, found, request_id="again")
    now = contradiction_in(status)
    assert now is not None
    assert not waits_for_word(await said(some, now, request_id="again", believed=now.other))


def other_slot(series: PriceSeries, slot: int) -> PriceSeries:
    prices = list(series.prices_per_mwh)
    moved = prices[slot]
    assert moved is not None
    prices[slot] = moved + Decimal("0.015")
    return replace(series, id=f"{series.id}-{slot}", prices_per_mwh=tuple(prices))


async def test_a_contradiction_that_is_gone_needs_no_word() -> None:
    some, found = await contradicted()
    some.answer(1, some.series(1))
    await some.gatherer.confirm("BE", SDAC, DAY)
    assert (await some.status()).contradiction is None
    with pytest.raises(PreconditionFailed, match="any more"):
        await said(some, found)


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"reason": "  "}, "reason"), ({"reason": "x" * 501}, "reason"), ({"believed": "smard"}, "believed")],
    ids=["no reason", "a novel", "a third source"],
)
async def test_a_word_has_a_reason_and_believes_one_of_the_two(changes: dict[str, str], field: str) -> None:
    some, found = await contradicted()
    with pytest.raises(InvalidInput) as refusal:
        await said(some, found, **changes)
    assert refusal.value.field == field
    assert waits_for_word(await some.status())


async def test_only_people_who_trade_may_say_it_and_only_about_their_own() -> None:
    some, found = await contradicted()
    ask = desk(some).acknowledge
    word = {"contradiction": found.id, "believed": "source-0", "reason": "x"}
    for nobody in (system_principal(TENANT, "x"), replace(TRADER, roles=frozenset({Role.AUDITOR, Role.OPERATOR}))):
        with pytest.raises(PermissionRefused):
            await ask(nobody, place=PLACE, request_id="a", **word)
    with pytest.raises(NotFound):
        await ask(replace(STRANGER, roles=TRADER.roles), place=PLACE, request_id="b", **word)
    assert not await desk(some).days(STRANGER)


async def test_a_repeated_request_says_it_once() -> None:
    some, found = await contradicted()
    first = await said(some, found)
    some.clock.move(seconds=60)
    assert await said(some, found) == first
    key = market_day_id(*PLACE)
    actions = [one.entry.action for one in await some.store.audit_of(TENANT, "market-day", key)]
    assert actions.count("market-day.acknowledge") == 1


async def test_the_loop_leaves_a_word_alone() -> None:
    some, found = await contradicted()
    await said(some, found)
    await run_for(some, 5)
    assert not waits_for_word(await some.status())


# ------------------------------------------------------------ no bid leaves without it


async def contradict(scene: MarketScene, plus: str = "0.5") -> Contradiction:
    """Let another source contradict the prices of yesterday, from which forecasts learn."""
    day = DAY.next(-1)
    row = await scene.store.get(MarketDayStatus, TENANT, market_day_id("BE", SDAC, day))
    assert row is not None
    assert row.record.series_id is not None
    series = await scene.store.get(PriceSeries, TENANT, row.record.series_id)
    assert series is not None
    moved = tuple(None if one is None else one + Decimal(plus) for one in series.record.prices_per_mwh)
    comparison = compare_prices(series.record, replace(series.record, source="smard", prices_per_mwh=moved))
    assert comparison is not None
    found = contradiction_of(comparison, series.record, scene.clock.now())
    assert found is not None
    await scene.store.seed(TENANT, replace(row.record, cross_check=comparison.told(), contradiction=found))
    return found


async def acknowledged(scene: MarketScene, found: Contradiction, request_id: str) -> None:
    await desk(scene).acknowledge(
        TRADER,
        place=("BE", SDAC, DAY.next(-1)),
        contradiction=found.id,
        believed=found.source,
        reason="checked",
        request_id=request_id,
    )


async def test_no_bid_is_proposed_approved_or_sent_without_a_word_on_what_contradicts_its_prices_now() -> None:
    scene = await MarketScene().with_past()
    first = await contradict(scene)
    bid = await scene.drafted()
    assert "1 not acknowledged" in price_check(bid.checks).message
    who = {"bid_id": bid.id, "content_hash": bid.content_hash}
    with pytest.raises(PreconditionFailed, match="nobody has acknowledged it: BE:day-ahead-sdac"):
        await scene.reviewer.propose(TRADER, request_id="p", **who)
    assert [one.day for one in await scene.reviewer.contradicted_days(TRADER, bid.plan)] == [
        DAY.next(-1).day.isoformat()
    ]
    await acknowledged(scene, first, "w1")
    proposed = await scene.reviewer.propose(TRADER, request_id="p", **who)
    assert (
        f"acknowledged by {TRADER.actor}, who believes {first.source}: checked" in price_check(proposed.checks).message
    )
    second = await contradict(scene, "0.7")
    with pytest.raises(PreconditionFailed, match="nobody has acknowledged it"):
        await scene.reviewer.approve(APPROVER, request_id="a", **who)
    await acknowledged(scene, second, "w2")
    with pytest.raises(PreconditionFailed, match="look at its checks again"):
        await scene.reviewer.approve(APPROVER, request_id="a", **who)
    await scene.reviewer.approve(APPROVER, request_id="a", **who)
    third = await contradict(scene, "0.9")
    await scene.submitter.step()
    [order] = scene.store.all(Order, TENANT)
    assert order.state is OrderState.PENDING
    assert scene.exchange.submissions == 0
    await acknowledged(scene, third, "w3")
    scene.clock.move(seconds=timedelta(minutes=3).total_seconds())
    await scene.submitter.step()
    assert (await scene.bid(bid.id)).state is BidState.SUBMITTED
