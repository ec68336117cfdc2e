from collections.abc import Callable
from datetime import time, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from gateway.domain.bids import Nomination, NominationState, PositionPeriod
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.timegrid import DeliveryDay
from gateway.exchanges.brp import BrpAccount, BrpDesk
from gateway.exchanges.nord_pool import NordPoolAccount, NordPoolExchange, NordPoolMarket
from gateway.exchanges.transport import Timeouts
from tests.exchanges.orders import AUTUMN, DAY, SPRING, order_of
from tests.fakes.sandbox_market import MarketClock, SandboxMarket
from tests.fakes.scripted_peer import ScriptedPeer

Desk = Callable[..., BrpDesk]
POINTS = ("541448820000000011", "541448820000000028")


def nomination_of(day: DeliveryDay, point: str, volumes: list[Decimal], **changed: Any) -> Nomination:
    periods = tuple(
        PositionPeriod(start=start, end=start + timedelta(minutes=15), volume_mw=volume)
        for start, volume in zip(day.grid().starts(), volumes, strict=True)
    )
    fields: dict[str, Any] = {
        "id": f"award-{day.day}:{point}",
        "tenant": "demo",
        "award": f"award-{day.day}",
        "connection_point": point,
        "brp": "brp-demo",
        "delivery_day": day.day.isoformat(),
        "periods": periods,
        "state": NominationState.PENDING,
        "created_at": day.at(time(0)),
    }
    return Nomination(**{**fields, **changed})


@pytest.fixture
def make_desk(market: SandboxMarket, session: aiohttp.ClientSession) -> Desk:
    def make(**changed: Any) -> BrpDesk:
        fields = {
            "base_url": market.ready["brp_url"],
            "token": market.ready["brp_token"],
            "brp": "brp-demo",
            "portfolio": "BE-EV",
        }
        timeouts = Timeouts(connect_s=1.0, total_s=0.5)
        return BrpDesk(account=BrpAccount(**{**fields, **changed}), session=session, timeouts=timeouts)

    return make


@pytest.fixture
def desk(make_desk: Desk) -> BrpDesk:
    return make_desk()


async def listed(market: SandboxMarket, session: aiohttp.ClientSession, day: DeliveryDay) -> Any:
    url = f"{market.ready['brp_url']}/nominations"
    async with session.get(url, params={"deliveryDay": day.day.isoformat()}) as response:
        return await response.json()


async def award_on(market: SandboxMarket, session: aiohttp.ClientSession, day: DeliveryDay) -> list[Decimal]:
    """Buy at the sandbox exchange and return the award's volumes."""
    market.set(day.next(-1).at(time(11)))
    exchange = NordPoolExchange(
        account=NordPoolAccount(
            base_url=market.ready["exchange_url"],
            sts_url=market.ready["sts_url"],
            username=market.ready["exchange_username"],
            password=market.ready["exchange_password"],
        ),
        market=NordPoolMarket(products={"BE": "CWE_QH_DA_1"}, time_zone="Europe/Brussels"),
        session=session,
        clock=MarketClock(market),
    )
    order = order_of(day, bid="for-brp")
    await exchange.submit(order)
    market.set(day.next(-1).at(time(13)))
    award = await exchange.award(order, "award", market.now)
    assert award is not None
    return [period.volume_mw for period in award.periods]


@pytest.mark.parametrize("day", [SPRING.next(-7), DAY.next(20), AUTUMN.next(7)])
async def test_a_nomination_gets_one_reference_however_often_it_is_sent(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession, day: DeliveryDay
) -> None:
    market.set(day.next(-1).at(time(10)))
    nomination = nomination_of(day, POINTS[0], [Decimal("0.125")] * day.grid().count)
    first = await desk.nominate(nomination)
    assert await desk.nominate(nomination) == first
    held = await listed(market, session, day)
    assert [row["reference"] for row in held["nominations"]] == [first]
    assert held["nominations"][0]["periods"][0]["volumeMw"] == "0.125"
    assert held["balances"][0]["addsUp"] is None


async def test_nominations_add_up_to_the_award(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession
) -> None:
    day = DAY.next(2)
    volumes = await award_on(market, session, day)
    parts = [(volume * Decimal("0.4")).quantize(Decimal("0.001")) for volume in volumes]
    await desk.nominate(nomination_of(day, POINTS[0], parts))
    assert (await listed(market, session, day))["balances"][0]["addsUp"] is False
    rest = [volume - part for volume, part in zip(volumes, parts, strict=True)]
    await desk.nominate(nomination_of(day, POINTS[1], rest))
    balance = (await listed(market, session, day))["balances"][0]
    assert balance["addsUp"] is True
    assert Decimal(balance["largestDifferenceMw"]) == 0


async def test_more_than_was_bought_is_rejected_with_the_reason(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession
) -> None:
    day = DAY.next(3)
    volumes = await award_on(market, session, day)
    too_much = [volumes[0] + Decimal("0.1"), *volumes[1:]]
    with pytest.raises(InvalidInput, match="MW nominated") as caught:
        await desk.nominate(nomination_of(day, POINTS[0], too_much))
    assert caught.value.field == "nomination"
    assert (await listed(market, session, day))["nominations"] == []


async def test_other_content_under_the_same_id_is_rejected(market: SandboxMarket, desk: BrpDesk) -> None:
    day = DAY.next(21)
    await desk.nominate(nomination_of(day, POINTS[0], [Decimal(1)] * 96))
    with pytest.raises(InvalidInput, match="another nomination has this id"):
        await desk.nominate(nomination_of(day, POINTS[0], [Decimal(2)] * 96))


async def test_a_nomination_for_another_brp_does_not_leave(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession
) -> None:
    day = DAY.next(22)
    with pytest.raises(InvalidInput, match="must be brp-demo"):
        await desk.nominate(nomination_of(day, POINTS[0], [Decimal(1)] * 96, brp="brp-other"))
    assert (await listed(market, session, day))["nominations"] == []


async def test_an_id_with_any_signs_arrives_whole(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession
) -> None:
    day = DAY.next(23)
    name = "award:x/../y?z=1#%2F 1"
    await desk.nominate(nomination_of(day, POINTS[0], [Decimal(1)] * 96, id=name))
    assert (await listed(market, session, day))["nominations"][0]["id"] == name


@pytest.mark.parametrize(
    "kind", ["status-503", "status-500", "hang-after-accept", "html", "truncated", "reset-after-accept"]
)
async def test_a_lost_answer_may_be_asked_for_again(
    market: SandboxMarket, desk: BrpDesk, session: aiohttp.ClientSession, kind: str
) -> None:
    nomination = nomination_of(DAY.next(24), POINTS[0], [Decimal(1)] * 96, id=f"n-{kind}")
    # A PUT whose connection breaks is repeated once by the HTTP client.
    count = 2 if kind.startswith("reset") else 1
    await market.fault(session, door="brp", kind=kind, method="PUT", path=f"n-{kind}", count=count)
    with pytest.raises(PeerUnavailable):
        await desk.nominate(nomination)
    assert (await desk.nominate(nomination)).startswith("BRP-")


async def test_a_wrong_token_is_the_peers_failure(market: SandboxMarket, make_desk: Desk) -> None:
    with pytest.raises(PeerUnavailable, match="status 401"):
        await make_desk(token="wrong").nominate(nomination_of(DAY, POINTS[0], [Decimal(1)] * 96))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"state": "acknowledged"}',
        b'{"state": "acknowledged", "reference": ""}',
        b'{"state": "maybe", "reference": "r"}',
    ],
)
async def test_an_acknowledgement_without_reference_is_none(make_desk: Desk, peer: ScriptedPeer, body: bytes) -> None:
    peer.reply(body, status=201)
    with pytest.raises(PeerUnavailable, match="nonsense"):
        await make_desk(base_url=peer.url).nominate(nomination_of(DAY, POINTS[0], [Decimal(1)] * 96))


async def test_a_rejection_in_prose_is_shown(make_desk: Desk, peer: ScriptedPeer) -> None:
    peer.reply(b"gate closed\n", status=422)
    with pytest.raises(InvalidInput, match=r"rejects it: gate closed$"):
        await make_desk(base_url=peer.url).nominate(nomination_of(DAY, POINTS[0], [Decimal(1)] * 96))


@pytest.mark.parametrize(("url", "token"), [("http://brp.example", "t"), ("https://brp.example", "")])
def test_an_account_must_be_safe(url: str, token: str) -> None:
    with pytest.raises(InvalidInput, match="brp"):
        BrpAccount(base_url=url, token=token, brp="b", portfolio="p")
