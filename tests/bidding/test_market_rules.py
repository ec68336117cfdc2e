"""Rules of markets come from dated configuration; a slip of the pen is named, never guessed around."""

import copy
import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bidding.orders.market_file import parse_markets
from bidding.orders.market_products import MarketBook, ReserveKind
from gateway.domain.errors import InvalidInput

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "markets" / "europe.toml"
DAY = date(2026, 5, 4)


def shipped() -> dict[str, Any]:
    return tomllib.loads(SHIPPED.read_text(encoding="utf-8"))


def specification(**changes: Any) -> dict[str, Any]:
    return {
        "valid_from": date(2025, 10, 1),
        "specification": "Test exchange, 1 January 2026",
        "max_blocks_per_group": 24,
        "max_groups": 5,
        "max_block_mw": "500",
        "min_block_minutes": 15,
        "max_block_minutes": 1500,
        "takes_gaps": True,
        **changes,
    }


def book() -> MarketBook:
    return parse_markets(shipped())


@pytest.mark.parametrize(
    ("day", "minutes", "periods"),
    [
        (date(2019, 3, 31), 60, 23),
        (date(2023, 10, 29), 60, 25),
        (date(2025, 9, 30), 60, 24),
        (date(2025, 10, 1), 15, 96),
        (date(2025, 10, 26), 15, 100),
        (date(2026, 3, 29), 15, 92),
    ],
)
def test_the_coupling_sells_hours_and_then_quarter_hours(day: date, minutes: int, periods: int) -> None:
    rules = book().auction("sdac", day)
    assert rules.mtu_minutes == minutes
    grid = rules.periods(day)
    assert grid.count == periods
    assert grid.step == timedelta(minutes=minutes)
    assert rules.curve_rules(15).slots_per_period == minutes // 15


def test_the_coupling_has_its_lot_tick_prices_points_and_gate() -> None:
    rules = book().auction("sdac", DAY)
    assert (rules.curve.lot_mw, rules.curve.min_volume_mw, rules.curve.price_tick) == (
        Decimal("0.1"),
        Decimal("0.1"),
        Decimal("0.01"),
    )
    assert (rules.curve.min_price_per_mwh, rules.curve.max_price_per_mwh) == (Decimal(-500), Decimal(4000))
    assert rules.curve.max_points == 200
    assert rules.gate_closure(DAY) == datetime(2026, 5, 3, 10, 0, tzinfo=UTC)
    assert rules.gate_closure(date(2026, 1, 5)) == datetime(2026, 1, 4, 11, 0, tzinfo=UTC)
    assert book().auction("sdac", date(2019, 5, 4)).curve.max_price_per_mwh == 3000
    assert rules.blocks is None


def test_blocks_come_with_the_members_specification_and_only_while_it_holds() -> None:
    document = shipped()
    document["auctions"]["sdac"]["specifications"] = [specification(valid_to=date(2026, 7, 1))]
    with_blocks = parse_markets(document)
    blocks = with_blocks.auction("sdac", date(2026, 6, 30)).blocks
    assert blocks is not None
    assert (blocks.max_blocks_per_group, blocks.max_groups, blocks.max_block_mw) == (24, 5, Decimal(500))
    assert with_blocks.auction("sdac", date(2026, 7, 1)).blocks is None
    assert with_blocks.auction("sdac", date(2025, 9, 30)).blocks is None


def test_reserve_products_and_their_blocks_on_days_when_the_clock_changes() -> None:
    fcr = book().reserve("fcr", DAY)
    assert fcr.kind is ReserveKind.SYMMETRIC
    assert fcr.needs_local_frequency
    assert (fcr.min_bid_mw, fcr.step_mw, fcr.sustain_minutes) == (Decimal(1), Decimal(1), 30)
    assert fcr.gate.local_time == time(8)
    lengths = {
        day: [int((b.end - b.start).total_seconds()) // 3600 for b in fcr.blocks(day) if b.end is not None]
        for day in (DAY, date(2026, 3, 29), date(2025, 10, 26))
    }
    assert lengths == {
        DAY: [4] * 6,
        date(2026, 3, 29): [3, 4, 4, 4, 4, 4],
        date(2025, 10, 26): [5, 4, 4, 4, 4, 4],
    }
    assert book().reserve("afrr-capacity-up", DAY).kind is ReserveKind.UP
    assert book().reserve("afrr-capacity-down", DAY).gate.local_time == time(9)


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda b: b.auction("moon", DAY), "market"),
        (lambda b: b.auction("sdac", date(2014, 2, 3)), "sdac.rules"),
        (lambda b: b.reserve("mfrr", DAY), "product"),
        (lambda b: b.reserve("fcr", date(2019, 1, 1)), "fcr.rules"),
        (lambda b: b.auction("sdac", DAY).curve_rules(10), "slot_minutes"),
    ],
)
def test_an_unknown_market_or_a_day_without_rules_is_refused(ask: Callable[[MarketBook], object], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask(book())
    assert refused.value.field == field
    assert str(copy.deepcopy(refused.value)) == str(refused.value)


def change(document: dict[str, Any], *path: Any) -> dict[str, Any]:
    """Set (last but one) to (last) along a path of keys; `...` as the value deletes."""
    changed = copy.deepcopy(document)
    place: Any = changed
    for key in path[:-2]:
        place = place[key]
    if path[-1] is ...:
        del place[path[-2]]
    else:
        place[path[-2]] = path[-1]
    return changed


RULE = ("auctions", "sdac", "rules", 2)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ((*RULE, "lot_mw", ...), "sdac.rules[2].lot_mw"),
        ((*RULE, "lot_mw", 0.1), "sdac.rules[2].lot_mw"),
        ((*RULE, "lot_mw", "a tenth"), "sdac.rules[2].lot_mw"),
        ((*RULE, "lot_mw", "NaN"), "sdac.rules[2].lot_mw"),
        ((*RULE, "lot_mw", "0"), "sdac.rules[2].lot_mw"),
        ((*RULE, "min_volume_mw", "0.05"), "sdac.rules[2].min_volume_mw"),
        ((*RULE, "max_price_per_mwh", "-501"), "sdac.rules[2].max_price_per_mwh"),
        ((*RULE, "max_curve_points", 1), "sdac.rules[2].max_points"),
        ((*RULE, "max_curve_points", True), "sdac.rules[2].max_curve_points"),
        ((*RULE, "mtu_minutes", 7), "sdac.rules[2].mtu_minutes"),
        ((*RULE, "gate_days_before", -1), "sdac.rules[2].gate_days_before"),
        ((*RULE, "gate_local_time", "12:00"), "sdac.rules[2].gate_local_time"),
        ((*RULE, "valid_from", "2025-10-01"), "sdac.rules[2].valid_from"),
        ((*RULE, "valid_from", datetime(2025, 10, 1, tzinfo=UTC)), "sdac.rules[2].valid_from"),
        ((*RULE, "valid_to", date(2025, 10, 1)), "sdac.rules[2].valid_to"),
        ((*RULE, "lot", "0.1"), "sdac.rules[2].lot"),
        ((*RULE, "valid_from", date(2025, 9, 30)), "sdac.rules"),
        (("auctions", "sdac", "time_zone", "Europe/Nowhere"), "sdac.rules[0].time_zone"),
        (("auctions", "sdac", "currency", ""), "sdac.currency"),
        (("auctions", "sdac", "colour", "blue"), "sdac.colour"),
        (("auctions", "sdac", "rules", {}), "sdac.rules"),
        (("auctions", "sdac", "rules", ["x"]), "sdac.rules[0]"),
        (("auctions", "sdac", 5), "sdac"),
        (("auctions", 5), "auctions"),
        (("weather", {}), "markets.weather"),
        (("reserves", "fcr", "kind", "sideways"), "fcr.kind"),
        (("reserves", "fcr", "rules", 0, "block_hours", 5), "fcr.rules[0].block_hours"),
        (("reserves", "fcr", "rules", 0, "min_bid_mw", "0"), "fcr.rules[0].min_bid_mw"),
        (("reserves", "fcr", "rules", 0, "needs_local_frequency", 1), "fcr.rules[0].needs_local_frequency"),
        (("auctions", "sdac", "specifications", [specification(max_groups=0)]), "sdac.specifications[0].max_groups"),
        (
            ("auctions", "sdac", "specifications", [specification(max_block_minutes=10)]),
            "sdac.specifications[0].max_block_minutes",
        ),
        (
            ("auctions", "sdac", "specifications", [specification(specification=" ")]),
            "sdac.specifications[0].specification",
        ),
        (("auctions", "sdac", "specifications", [specification(), specification()]), "sdac.specifications"),
    ],
)
def test_a_slip_of_the_pen_is_named(path: tuple[Any, ...], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_markets(change(shipped(), *path))
    assert refused.value.field == field


def test_an_empty_document_has_no_markets() -> None:
    assert parse_markets({}) == MarketBook()
