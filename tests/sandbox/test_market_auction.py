import itertools
import time as machine_time
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.clock import ClockAnchor, SandboxClock, write_anchor
from gateway.sandbox.market_auction import (
    LOT_MW,
    MAX_PRICE,
    MIN_PRICE,
    Auction,
    AuctionHouse,
    Block,
    BookOrder,
    Point,
    Refused,
)
from gateway.sandbox.market_recorded import MARKET_ZONE, RecordedSeries

DAY = DeliveryDay(day=date(2025, 10, 15), zone=MARKET_ZONE)
AUCTION = "CWE_QH_DA_1-20251014"
OPEN, LATE, CLEARED = DAY.next(-1).at(time(11)), DAY.next(-1).at(time(12)), DAY.next(-1).at(time(12, 45))


class Hand:
    """Reads of the monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.reading = 0.0

    def __call__(self) -> float:
        return self.reading


class House:
    """An auction house with prices 0, 1, 2 ... and a clock moved by hand."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock.json"
        self._hand = Hand()
        self._write(OPEN)
        prices = {
            DAY.next(offset).grid().start + timedelta(minutes=15) * i: Decimal(i)
            for offset in range(-7, 7)
            for i in range(96)
        }
        clock = SandboxClock(self._path, monotonic=self._hand)
        self.inner = AuctionHouse(RecordedSeries(prices), clock, np.random.default_rng(1), ("BE-EV", "BE-2"))

    def set(self, now: datetime) -> None:
        self._hand.reading += 1.0
        self._write(now)

    def _write(self, now: datetime) -> None:
        write_anchor(self._path, ClockAnchor(market_anchor=now, monotonic_anchor=self._hand.reading, speed=1e-9))
        machine_time.sleep(0.002)  # so that the file's time stamp differs

    def auction(self) -> Auction:
        return self.inner.auction(AUCTION)

    def contract(self, number: int) -> str:
        return self.auction().contracts[number].id

    def order(self, **changed: Any) -> BookOrder:
        fields: dict[str, Any] = {
            "id": "",
            "auction": AUCTION,
            "portfolio": "BE-EV",
            "area": "BE",
            "comment": "key",
            "modified": OPEN,
        }
        return BookOrder(**{**fields, **changed})

    def volumes(self) -> dict[str, Decimal]:
        return {trade.contract.id: trade.volume for trade in self.inner.trades(self.auction())}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def points(*pairs: tuple[object, object]) -> tuple[Point, ...]:
    return tuple((Decimal(str(price)), Decimal(str(volume))) for price, volume in pairs)


GOOD = points((-500, 50), (50, 50), ("50.1", 0), (4000, 0))


def block(name: str, *periods: tuple[str, object], price: object = 10, **changed: Any) -> Block:
    fields: dict[str, Any] = {
        "name": name,
        "price": Decimal(str(price)),
        "minimum_acceptance_ratio": Decimal(1),
        "linked_to": None,
        "exclusive_group": None,
        "periods": tuple((contract, Decimal(str(volume))) for contract, volume in periods),
    }
    return Block(**{**fields, **changed})


def refusal(house: House, **changed: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        house.inner.place(house.order(**changed))
    return caught.value


def test_an_auction_goes_from_open_to_published(house: House) -> None:
    auction = house.auction()
    states = [
        auction.state(at) for at in (OPEN, LATE - timedelta(seconds=1), LATE, CLEARED - timedelta(seconds=1), CLEARED)
    ]
    assert states == ["Open", "Open", "Closed", "Closed", "ResultsPublished"]
    assert auction.gate_closure == datetime(2025, 10, 14, 10, tzinfo=UTC)


@pytest.mark.parametrize(("gate_day", "count"), [("20260328", 92), ("20251014", 96), ("20251025", 100)])
def test_contracts_are_the_quarter_hours_of_the_delivery_day(house: House, gate_day: str, count: int) -> None:
    contracts = house.inner.auction(f"CWE_QH_DA_1-{gate_day}").contracts
    assert len(contracts) == len({contract.id for contract in contracts}) == count
    assert contracts[0].start.astimezone(UTC).hour in {22, 23}
    assert all(a.end == b.start for a, b in itertools.pairwise(contracts))


@pytest.mark.parametrize(
    "name", ["", "CWE_QH_DA_1", "CWE_QH_DA_1-", "CWE_QH_DA_1-20251332", "CWE_H_DA_1-20251014", "CWE_QH_DA_1-2025-10-14"]
)
def test_an_unknown_auction_is_not_found(house: House, name: str) -> None:
    with pytest.raises(Refused) as caught:
        house.inner.auction(name)
    assert caught.value.status == 404


def test_only_announced_auctions_are_listed(house: House) -> None:
    listed = [auction.id for auction in house.inner.closing_between(OPEN, OPEN + timedelta(days=61))]
    assert listed[0] == AUCTION
    assert len(listed) == 60


@pytest.mark.parametrize(
    ("curve", "at"),
    [
        (points((-500, 1)), "curves[0].curvePoints"),
        (points(*((i, 0) for i in range(201))), "curves[0].curvePoints"),
        (points((-499, 1), (4000, 0)), "curves[0].curvePoints"),
        (points((-500, 1), (3000, 0)), "curves[0].curvePoints"),
        (points((-500, 1), ("50.001", 1), (4000, 0)), "curves[0].curvePoints[1].price"),
        (points((-500, 1), (50, "0.55"), (4000, 0)), "curves[0].curvePoints[1].volume"),
        (points((-500, 1), (50, 1), (50, 0), (4000, 0)), "curves[0].curvePoints[2].price"),
        (points((-500, 1), (50, 2), (4000, 0)), "curves[0].curvePoints[1].volume"),
    ],
)
def test_a_curve_that_breaks_a_rule_is_refused_at_its_field(house: House, curve: tuple[Point, ...], at: str) -> None:
    found = refusal(house, curves={house.contract(0): curve})
    assert (found.status, found.at) == (400, at)


@pytest.mark.parametrize(
    ("changed", "status"),
    [({"portfolio": "NL-EV"}, 403), ({"area": "NL"}, 400), ({"auction": "CWE_QH_DA_1-20261014"}, 400)],
)
def test_an_order_for_somebody_or_something_else_is_refused(house: House, changed: dict[str, str], status: int) -> None:
    assert refusal(house, curves={house.contract(0): GOOD}, **changed).status == status


def test_a_contract_of_another_day_is_refused(house: House) -> None:
    other = house.inner.auction("CWE_QH_DA_1-20251015").contracts[0].id
    assert refusal(house, curves={other: GOOD}).at == "curves[0].contractId"


def test_after_the_gate_nothing_is_taken(house: House) -> None:
    placed = house.inner.place(house.order(curves={house.contract(0): GOOD}))
    house.set(LATE)
    assert refusal(house, portfolio="BE-2", curves={house.contract(0): GOOD}).kind == "gate-closed"
    with pytest.raises(Refused, match="closed"):
        house.inner.replace(placed)


def test_a_portfolio_has_one_curve_order(house: House) -> None:
    house.inner.place(house.order(curves={house.contract(0): GOOD}))
    assert refusal(house, curves={house.contract(1): GOOD}).status == 409
    house.inner.place(house.order(portfolio="BE-2", curves={house.contract(1): GOOD}))


def test_before_clearing_there_are_no_results(house: House) -> None:
    house.inner.place(house.order(curves={house.contract(0): GOOD}))
    house.set(LATE)
    with pytest.raises(Refused, match="not published"):
        house.inner.trades(house.auction())
    assert house.inner.net_volumes("BE-EV", DAY) is None


def test_a_curve_gets_its_volume_at_the_clearing_price_by_straight_lines(house: House) -> None:
    curve = points((-500, 10), (20, 10), (30, 5), (4000, 0))
    house.inner.place(house.order(curves={house.contract(n): curve for n in (0, 20, 25, 30, 95)}))
    house.set(CLEARED)
    expected = {0: "10.0", 20: "10.0", 25: "7.5", 30: "5.0", 95: "4.9"}
    assert house.volumes() == {house.contract(n): Decimal(volume) for n, volume in expected.items()}


def test_half_way_down_a_step_half_of_it_is_bought(house: House) -> None:
    curve = points((-500, 50), ("24.95", 50), ("25.05", 0), (4000, 0))
    house.inner.place(house.order(curves={house.contract(25): curve}))
    house.set(CLEARED)
    assert house.volumes() == {house.contract(25): Decimal(25)}


def test_a_cancelled_order_gets_nothing(house: House) -> None:
    placed = house.inner.place(house.order(curves={house.contract(0): GOOD}))
    house.inner.replace(house.order(id=placed.id, curves=placed.curves, is_cancelled=True))
    assert len(house.inner.versions(placed.id)) == 2
    house.set(CLEARED)
    assert house.volumes() == {}
    assert house.inner.net_volumes("BE-EV", DAY) is None


def test_a_block_is_all_or_nothing_against_the_mean_price(house: House) -> None:
    a, b = house.contract(8), house.contract(12)
    blocks = (
        block("in", (a, 1), (b, 1), price=10),
        block("out", (a, 1), (b, 1), price="9.99"),
        block("weighted", (a, 3), (b, 1), price=9),
        block("sells", (a, -1), (b, -1), price=10),
        block("sells-dear", (a, -1), (b, -1), price="10.01"),
    )
    house.inner.place(house.order(blocks=blocks))
    house.set(CLEARED)
    trades = house.inner.trades(house.auction())
    assert [(trade.contract.id, trade.volume) for trade in trades] == [
        (a, Decimal(1)), (b, Decimal(1)), (a, Decimal(3)), (b, Decimal(1)), (a, Decimal(-1)), (b, Decimal(-1)),
    ]  # fmt: skip


def test_one_block_of_an_exclusive_group_is_taken_the_one_that_gains_most(house: House) -> None:
    contract = house.contract(8)
    blocks = tuple(block(f"b{limit}", (contract, 1), price=limit, exclusive_group="g") for limit in (7, 9, 12))
    house.inner.place(house.order(blocks=blocks))
    house.set(CLEARED)
    assert house.volumes() == {contract: Decimal(1)}
    assert len(house.inner.trades(house.auction())) == 1


def test_a_child_needs_its_parent_all_the_way_up(house: House) -> None:
    contract = house.contract(8)
    blocks = (
        block("grandchild", (contract, 4), linked_to="child"),
        block("child", (contract, 2), linked_to="parent"),
        block("parent", (contract, 1), price=5),
        block("free", (contract, 8)),
    )
    house.inner.place(house.order(blocks=blocks))
    house.set(CLEARED)
    assert [trade.volume for trade in house.inner.trades(house.auction())] == [Decimal(8)]


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        ({"price": 4001}, "blocks[0].price"),
        ({"price": "10.005"}, "blocks[0].price"),
        ({"minimum_acceptance_ratio": Decimal("1.1")}, "blocks[0].minimumAcceptanceRatio"),
        ({"linked_to": "nobody"}, "blocks[0].linkedTo"),
        ({"linked_to": "b"}, "blocks[0].linkedTo"),
        ({"periods": ()}, "blocks[0].periods"),
        ({"periods": (("X", Decimal(1)),)}, "blocks[0].periods"),
        ({"periods": (("C", Decimal("0.05")),)}, "blocks[0].periods"),
        ({"periods": (("C", Decimal(0)),)}, "blocks[0].periods"),
        ({"periods": (("C", Decimal("900.1")),)}, "blocks[0].periods"),
        ({"periods": (("C", Decimal(1)), ("C", Decimal(1)))}, "blocks[0].periods"),
        ({"periods": (("C", Decimal(1)), ("D", Decimal(-1)))}, "blocks[0].periods"),
    ],
)
def test_a_block_that_breaks_a_rule_is_refused_at_its_field(house: House, changed: dict[str, Any], at: str) -> None:
    real = {"C": house.contract(0), "D": house.contract(1)}
    if "periods" in changed:
        changed = {**changed, "periods": tuple((real.get(name, name), volume) for name, volume in changed["periods"])}
    made = block("b", (house.contract(0), 1), **changed)
    assert refusal(house, blocks=(made,)).at == at


def test_blocks_have_different_names(house: House) -> None:
    twice = block("b", (house.contract(0), 1))
    assert refusal(house, blocks=(twice, twice)).at == "blocks"


def test_order_ids_come_from_the_seed(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        house = House(tmp_path / name)
        ids.append(house.inner.place(house.order(curves={house.contract(0): GOOD})).id)
    assert ids[0] == ids[1]


@given(data=st.data())
def test_what_is_bought_lies_between_the_points_around_the_price(data: st.DataObject, tmp_path_factory: Any) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    inner = sorted(data.draw(st.sets(st.integers(-49_999, 399_999), max_size=5)))
    prices = [MIN_PRICE, *(Decimal(tick) / 100 for tick in inner), MAX_PRICE]
    volumes = sorted((Decimal(data.draw(st.integers(0, 500))) / 10 for _ in prices), reverse=True)
    curve = tuple(zip(prices, volumes, strict=True))
    number = data.draw(st.integers(0, 95))
    house.inner.place(house.order(curves={house.contract(number): curve}))
    house.set(CLEARED)
    bought = house.volumes().get(house.contract(number), Decimal(0))
    above = next(volume for price, volume in curve if price >= number)
    below = [volume for price, volume in curve if price <= number][-1]
    assert above <= bought <= below
    assert bought % LOT_MW == 0
