"""What a certificate depends on, and its form as plain data: the file an auditor is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from bidding.arrays import FloatArray, finite_vector
from bidding.backtest.market_outcome import DayBid
from bidding.fleet.sessions import SessionArrays
from bidding.orders.blocks import BlockBid, ExclusiveGroup, ProfileBlock
from gateway.domain.bids import BidPeriod, CurvePoint
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid

SESSION_COLUMNS = ("arrival_slot", "departure_slot", "rate_kwh_per_slot", "energy_min_kwh")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BidScenario:
    """One way the delivery day may come."""

    name: str
    price_eur_per_mwh: FloatArray
    """Clearing price per delivery period."""
    sessions: SessionArrays
    """What cars need from the begin of the delivery day on, fitted to the horizon."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CertificateCase:
    """Everything a certificate depends on."""

    bid: DayBid
    periods: TimeGrid
    """Delivery periods of the day."""
    slots_per_period: int
    slot_count: int
    """Length of the horizon in slots; it begins with the delivery day and may be longer."""
    scenarios: tuple[BidScenario, ...]
    seed: int
    """What the scenarios were drawn with."""


def bid_document(bid: DayBid) -> dict[str, object]:
    """Return what a bid commits to as plain data: curves and groups, exact decimals as text."""
    groups = () if bid.blocks is None else bid.blocks.groups
    return {
        "curves": [
            [
                one.start.isoformat(),
                one.end.isoformat(),
                [[str(point.price_per_mwh), str(point.volume_mw)] for point in one.curve],
            ]
            for one in bid.curves
        ],
        "market": "" if bid.blocks is None else bid.blocks.market,
        "specification": "" if bid.blocks is None else bid.blocks.specification,
        "groups": [
            [
                group.name,
                [
                    [block.name, str(block.limit_price_per_mwh), [str(volume) for volume in block.volume_mw]]
                    for block in group.blocks
                ],
            ]
            for group in groups
        ],
    }


def case_document(case: CertificateCase) -> dict[str, object]:
    """Return everything a certificate depends on as plain data for JSON: what an auditor is given."""
    return {
        "bid": bid_document(case.bid),
        "periods": [case.periods.start.isoformat(), case.periods.step.total_seconds(), case.periods.count],
        "slots_per_period": case.slots_per_period,
        "slot_count": case.slot_count,
        "seed": case.seed,
        "scenarios": [scenario_document(one) for one in case.scenarios],
    }


def scenario_document(scenario: BidScenario) -> dict[str, object]:
    """Return one scenario as plain data."""
    columns = {name: getattr(scenario.sessions, name).tolist() for name in SESSION_COLUMNS}
    return {"name": scenario.name, "price_eur_per_mwh": scenario.price_eur_per_mwh.tolist(), **columns}


def parse_case(document: Mapping[str, object]) -> CertificateCase:
    """Return the case of plain data as `case_document` wrote it.

    Raises:
        InvalidInput: A field is missing or of the wrong kind.
    """
    try:
        return _parsed_case(document)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InvalidInput("case", f"is not one: {error}") from error


def _parsed_case(document: Mapping[str, object]) -> CertificateCase:
    given = _Plain(document)
    start, step_s, count = given.rows("periods")
    periods = TimeGrid(
        start=datetime.fromisoformat(str(start)), step=timedelta(seconds=float(str(step_s))), count=int(str(count))
    )
    scenarios = tuple(_parsed_scenario(_Plain(row), periods.count) for row in given.rows("scenarios"))
    return CertificateCase(
        bid=_parsed_bid(_Plain(given.value("bid")), periods),
        periods=periods,
        slots_per_period=int(str(given.value("slots_per_period"))),
        slot_count=int(str(given.value("slot_count"))),
        scenarios=scenarios,
        seed=int(str(given.value("seed"))),
    )


class _Plain:
    """Plain data whose fields are asked for by name."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, Mapping):
            raise InvalidInput("case", "must be an object")
        self._document = document

    def value(self, name: str) -> object:
        if name not in self._document:
            raise InvalidInput(f"case.{name}", "is missing")
        found: object = self._document[name]
        return found

    def rows(self, name: str) -> list[Any]:
        found = self.value(name)
        if not isinstance(found, list):
            raise InvalidInput(f"case.{name}", "must be a list")
        return list(found)


def _parsed_scenario(row: _Plain, period_count: int) -> BidScenario:
    price = np.array(row.rows("price_eur_per_mwh"), dtype=np.float64)
    energy = np.array(row.rows("energy_min_kwh"), dtype=np.float64)
    return BidScenario(
        name=str(row.value("name")),
        price_eur_per_mwh=finite_vector("price_eur_per_mwh", price, period_count),
        sessions=SessionArrays(
            arrival_slot=np.array(row.rows("arrival_slot"), dtype=np.int64),
            departure_slot=np.array(row.rows("departure_slot"), dtype=np.int64),
            rate_kwh_per_slot=np.array(row.rows("rate_kwh_per_slot"), dtype=np.float64),
            energy_min_kwh=energy,
            energy_max_kwh=energy,
        ),
    )


def _parsed_bid(row: _Plain, periods: TimeGrid) -> DayBid:
    curves = tuple(
        BidPeriod(
            start=datetime.fromisoformat(start),
            end=datetime.fromisoformat(end),
            curve=tuple(CurvePoint(price_per_mwh=Decimal(price), volume_mw=Decimal(volume)) for price, volume in curve),
        )
        for start, end, curve in row.rows("curves")
    )
    groups = tuple(
        ExclusiveGroup(
            name=name,
            blocks=tuple(
                ProfileBlock(
                    name=block, limit_price_per_mwh=Decimal(limit), volume_mw=tuple(Decimal(one) for one in volumes)
                )
                for block, limit, volumes in blocks
            ),
        )
        for name, blocks in row.rows("groups")
    )
    if not groups:
        return DayBid(curves=curves)
    blocks = BlockBid(
        market=str(row.value("market")),
        specification=str(row.value("specification")),
        periods=periods,
        groups=groups,
        rounding_mwh=0.0,
        left_over_mw=np.zeros(periods.count),
    )
    return DayBid(curves=curves, blocks=blocks)
