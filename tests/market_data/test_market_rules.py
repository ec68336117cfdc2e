from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.domain.errors import InvalidInput
from gateway.domain.market_time_units import day_ahead_product
from gateway.domain.series import PriceProduct
from gateway.market_data.areas import AREA_CODES
from gateway.market_data.market_rules import MarketRules, contract_of, load_market_rules

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "market_rules.toml"
DEFAULTS = """
[zone_defaults]
currencies = ["EUR"]
[zone_defaults.sequences]
day-ahead-sdac = ["none", "1"]
"""
LIMIT = """
[[price_limits]]
product = "day-ahead-sdac"
currency = "EUR"
valid_from = 2022-05-11
min_per_mwh = "-500"
max_per_mwh = "4000"
"""


@pytest.fixture
def rules() -> MarketRules:
    return load_market_rules(SHIPPED)


def load(text: str, folder: Path) -> MarketRules:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return load_market_rules(path)


def test_limits_hold_from_their_day_until_the_next(rules: MarketRules) -> None:
    def highest(day: date) -> Decimal | None:
        limits = rules.limits_on(PriceProduct.DAY_AHEAD_SDAC, "EUR", day)
        return None if limits is None else limits.max_per_mwh

    assert highest(date(2013, 1, 1)) is None
    assert highest(date(2022, 5, 10)) == 3000
    assert highest(date(2022, 5, 11)) == 4000
    assert highest(date(2025, 10, 15)) == 4000


def test_a_currency_without_limits_has_none(rules: MarketRules) -> None:
    assert rules.limits_on(PriceProduct.DAY_AHEAD_SDAC, "USD", date(2025, 10, 15)) is None
    assert rules.limits_on(PriceProduct.TARIFF_ENERGY, "EUR", date(2025, 10, 15)) is None


def test_imbalance_prices_have_limits_of_their_own(rules: MarketRules) -> None:
    limits = rules.limits_on(PriceProduct.IMBALANCE, "EUR", date(2025, 10, 15))
    assert limits is not None
    assert limits.min_per_mwh == -15000


def test_a_zone_with_two_auctions_has_its_own_rule(rules: MarketRules) -> None:
    assert rules.zone("DE_LU").sequences[PriceProduct.DAY_AHEAD_SDAC] == ("1",)
    assert rules.zone("DE_LU").sequences[PriceProduct.DAY_AHEAD_EXAA] == ("2",)
    assert rules.zone("BE").zone == "BE"
    assert rules.zone("BE").sequences[PriceProduct.DAY_AHEAD_SDAC] == ("none", "1")
    assert PriceProduct.DAY_AHEAD_EXAA not in rules.zone("BE").sequences


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("price_limits = 3", "zone_defaults"),
        (DEFAULTS + "[zones]\nBE = 3", "zones.BE"),
        ("zones = 3" + DEFAULTS, "zones"),
        ("price_limits = 3" + DEFAULTS, "price_limits"),
        (DEFAULTS + LIMIT.replace("day-ahead-sdac", "day-ahead"), "price_limits[0].product"),
        (DEFAULTS + LIMIT.replace('"EUR"', '"eur"'), "price_limits[0].currency"),
        (DEFAULTS + LIMIT.replace("2022-05-11", '"2022-05-11"'), "price_limits[0].valid_from"),
        (DEFAULTS + LIMIT.replace("2022-05-11", "2022-05-11T00:00:00Z"), "price_limits[0].valid_from"),
        (DEFAULTS + LIMIT.replace('"-500"', "-500"), "price_limits[0].min_per_mwh"),
        (DEFAULTS + LIMIT.replace('"-500"', '"many"'), "price_limits[0].min_per_mwh"),
        (DEFAULTS + LIMIT.replace('"4000"', '"-500"'), "price_limits.max_per_mwh"),
        (DEFAULTS + LIMIT.replace('"4000"', '"NaN"'), "price_limits"),
        (DEFAULTS.replace('["EUR"]', "[]"), "zone_defaults.currencies"),
        (DEFAULTS.replace('["none", "1"]', "[1]"), "zone_defaults.sequences.day-ahead-sdac"),
        (DEFAULTS.replace('["none", "1"]', '["1"]\nday-ahead-exaa = ["1"]'), "zone_defaults.sequences"),
        (DEFAULTS.replace("day-ahead-sdac", "weekly"), "zone_defaults.sequences"),
        ("not toml", "market_rules"),
    ],
)
def test_a_wrong_file_names_the_place(text: str, field: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        load(text, tmp_path)
    assert caught.value.field == field


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rules\.toml cannot be read"):
        load_market_rules(tmp_path / "rules.toml")


def test_zones_say_how_many_imbalance_prices_they_have(config: Path) -> None:
    rules = load_market_rules(config / "market_rules.toml")
    assert rules.zone("BE").imbalance_products == (PriceProduct.IMBALANCE,)
    assert rules.zone("NL").imbalance_products == (PriceProduct.IMBALANCE_LONG, PriceProduct.IMBALANCE_SHORT)


def test_positions_are_counted_per_contract(config: Path) -> None:
    """Position 1 of contract A01 is the coupling, position 1 of A07 the first intraday auction."""
    spain = load_market_rules(config / "market_rules.toml").zone("ES")
    assert "1" in spain.sequences[PriceProduct.DAY_AHEAD_SDAC]
    assert spain.sequences[PriceProduct.INTRADAY_IDA1] == ("1",)
    assert (contract_of(PriceProduct.DAY_AHEAD_SDAC), contract_of(PriceProduct.INTRADAY_IDA1)) == ("A01", "A07")


def test_no_other_scheme_of_imbalance_is_known(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[zone_defaults]\ncurrencies = ["EUR"]\nimbalance = "triple"\n[zone_defaults.sequences]\n')
    with pytest.raises(InvalidInput, match="single or dual"):
        load_market_rules(path)


def test_a_zone_outside_the_coupling_has_the_auction_of_its_own(rules: MarketRules, config: Path) -> None:
    """Switzerland and Great Britain by the file, all others by the table of who is coupled: the two never disagree."""
    shipped = load_market_rules(config / "market_rules.toml")
    for zone in AREA_CODES:
        sequences, own = shipped.zone(zone).sequences, day_ahead_product(zone)
        assert own in sequences, zone
        other = {PriceProduct.DAY_AHEAD_SDAC, PriceProduct.DAY_AHEAD_LOCAL} - {own}
        assert not other & set(sequences), zone
    assert shipped.zone("CH").sequences == {PriceProduct.DAY_AHEAD_LOCAL: ("none", "1")}
    assert shipped.zone("RS").zone == "RS"
    assert rules.zone("BE").sequences[PriceProduct.DAY_AHEAD_SDAC]
