"""Dated rules of the markets, read from a file: price limits, and which auction is which in a zone's documents."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

from gateway.domain.errors import InvalidInput
from gateway.domain.market_time_units import day_ahead_product
from gateway.domain.series import PriceProduct

DAILY_CONTRACT = "A01"
"""contract_MarketAgreement.type of day-ahead auctions."""
INTRADAY_CONTRACT = "A07"
"""contract_MarketAgreement.type of intraday auctions."""
_INTRADAY = frozenset({PriceProduct.INTRADAY_IDA1, PriceProduct.INTRADAY_IDA2, PriceProduct.INTRADAY_IDA3})


def contract_of(product: PriceProduct) -> str:
    """Return the contract type under which ENTSO-E files the auction of a product; its positions are counted per contract."""
    return INTRADAY_CONTRACT if product in _INTRADAY else DAILY_CONTRACT


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceLimits:
    """Smallest and largest price of a product from a delivery day on, in `currency` per MWh."""

    product: PriceProduct
    currency: str
    valid_from: date
    min_per_mwh: Decimal
    max_per_mwh: Decimal

    def __post_init__(self) -> None:
        """Reject limits that are not finite or in the wrong order."""
        if not (self.min_per_mwh.is_finite() and self.max_per_mwh.is_finite()):
            raise InvalidInput("price_limits", "must be finite numbers")
        if self.min_per_mwh >= self.max_per_mwh:
            raise InvalidInput("price_limits.max_per_mwh", "must be above min_per_mwh")


@dataclass(frozen=True, kw_only=True, slots=True)
class ZoneRule:
    """How the documents of a bidding zone are read."""

    zone: str
    currencies: tuple[str, ...]
    """ISO 4217 codes that prices of the zone may come in."""
    sequences: Mapping[PriceProduct, tuple[str, ...]]
    """Classification sequences that are the auction of a product; `none` means a series without a position."""
    imbalance: Literal["single", "dual"] = "single"
    """Whether long and short are settled at one price, or each at its own."""

    @property
    def imbalance_products(self) -> tuple[PriceProduct, ...]:
        """What the imbalance prices of the zone are kept as."""
        if self.imbalance == "single":
            return (PriceProduct.IMBALANCE,)
        return (PriceProduct.IMBALANCE_LONG, PriceProduct.IMBALANCE_SHORT)


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketRules:
    """All rules of one file."""

    limits: tuple[PriceLimits, ...]
    default_zone: ZoneRule
    zones: Mapping[str, ZoneRule]

    def zone(self, name: str) -> ZoneRule:
        """Return the rule of a zone: its own, or the default one under its name."""
        own = self.zones.get(name)
        if own is not None:
            return own
        default = dataclasses.replace(self.default_zone, zone=name)
        coupled = default.sequences.get(PriceProduct.DAY_AHEAD_SDAC)
        if coupled is None or day_ahead_product(name) is PriceProduct.DAY_AHEAD_SDAC:
            return default
        # The zone is outside the coupling: its one auction is its own.
        sequences = dict(default.sequences)
        del sequences[PriceProduct.DAY_AHEAD_SDAC]
        sequences[PriceProduct.DAY_AHEAD_LOCAL] = coupled
        return dataclasses.replace(default, sequences=sequences)

    def limits_on(self, product: PriceProduct, currency: str, day: date) -> PriceLimits | None:
        """Return the price limits in force on a delivery day; None when the market has no known limit."""
        known = [
            rule
            for rule in self.limits
            if rule.product is product and rule.currency == currency and rule.valid_from <= day
        ]
        return max(known, key=lambda rule: rule.valid_from, default=None)


def load_market_rules(path: Path) -> MarketRules:
    """Read the rules from a TOML file.

    Raises:
        InvalidInput: The file is missing, is no TOML or breaks a rule; the field names where.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput("market_rules", f"{path.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("market_rules", f"{path.name} is not TOML: {error}") from error
    default = _zone_rule("zone_defaults", "", _table("zone_defaults", document.get("zone_defaults")))
    zones = _table("zones", document.get("zones", {}))
    limits = document.get("price_limits", [])
    if not isinstance(limits, list):
        raise InvalidInput("price_limits", "must be a list of tables")
    return MarketRules(
        limits=tuple(_price_limits(f"price_limits[{i}]", _table("price_limits", row)) for i, row in enumerate(limits)),
        default_zone=default,
        zones={name: _zone_rule(f"zones.{name}", name, _table(f"zones.{name}", zones[name])) for name in zones},
    )


def _table(field: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(field, "must be a table")
    return value


def _price_limits(field: str, row: Mapping[str, Any]) -> PriceLimits:
    valid_from = row.get("valid_from")
    if type(valid_from) is not date:
        raise InvalidInput(f"{field}.valid_from", "must be a date")
    return PriceLimits(
        product=_product(f"{field}.product", row.get("product")),
        currency=_currency(f"{field}.currency", row.get("currency")),
        valid_from=valid_from,
        min_per_mwh=_decimal(f"{field}.min_per_mwh", row.get("min_per_mwh")),
        max_per_mwh=_decimal(f"{field}.max_per_mwh", row.get("max_per_mwh")),
    )


def _zone_rule(field: str, zone: str, row: Mapping[str, Any]) -> ZoneRule:
    currencies = row.get("currencies")
    if not isinstance(currencies, list) or not currencies:
        raise InvalidInput(f"{field}.currencies", "must be a list of ISO 4217 codes")
    sequences: dict[PriceProduct, tuple[str, ...]] = {}
    for name, positions in _table(f"{field}.sequences", row.get("sequences")).items():
        product = _product(f"{field}.sequences", name)
        if not isinstance(positions, list) or not all(isinstance(position, str) for position in positions):
            raise InvalidInput(f"{field}.sequences.{name}", "must be a list of texts")
        sequences[product] = tuple(positions)
    listed = [(contract_of(product), position) for product, positions in sequences.items() for position in positions]
    if len(set(listed)) != len(listed):
        raise InvalidInput(f"{field}.sequences", "gives one position to two auctions")
    return ZoneRule(
        zone=zone,
        currencies=tuple(_currency(f"{field}.currencies", currency) for currency in currencies),
        sequences=sequences,
        imbalance=_scheme(f"{field}.imbalance", row.get("imbalance", "single")),
    )


def _scheme(field: str, value: object) -> Literal["single", "dual"]:
    if value == "dual":
        return "dual"
    if value != "single":
        raise InvalidInput(field, "must be single or dual")
    return "single"


def _product(field: str, value: object) -> PriceProduct:
    for product in PriceProduct:
        if product.value == value:
            return product
    raise InvalidInput(field, f"{value!r} is not a price product")


def _currency(field: str, value: object) -> str:
    if not isinstance(value, str) or len(value) != 3 or not value.isalpha() or value.upper() != value:
        raise InvalidInput(field, "must be an ISO 4217 code")
    return value


def _decimal(field: str, value: object) -> Decimal:
    if not isinstance(value, str):
        raise InvalidInput(field, "must be a decimal number as text")
    try:
        return Decimal(value)
    except InvalidOperation as error:
        raise InvalidInput(field, "must be a decimal number as text") from error
