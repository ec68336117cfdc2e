"""Site tariffs in TOML: layers with validity, windows by season, weekday and wall clock; every amount as text, digit for digit.

```
name = "..."
currency = "EUR"
time_zone = "Europe/Berlin"
source = "..."
licence = "..."

[[layer]]
name = "network"
kind = "network"            # energy, network, tax or levy
unit = "per-kwh"            # per-kwh, per-kw-month, per-month, per-day or share
valid_from = 2025-01-01     # until = first day on which it holds no more
elsewhere = "0"             # outside all windows; left out: windows must cover everything
source = "..."              # where these amounts are published; left out: the tariff's source says
illustrative = true         # in place of `source`: only the structure is real, the amounts are examples of nobody
window = [{ season = ["01-01", "03-31"], days = "weekdays", hours = ["16:00", "19:00"], amount = "0.12" }]
```
`amount` in place of `window` holds always.
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

from gateway.domain.errors import InvalidInput
from gateway.domain.site_tariff import LayerKind, LayerUnit, SiteTariff, TariffLayer, TariffWindow

_DAYS = {"all": frozenset(range(7)), "weekdays": frozenset(range(5)), "weekends": frozenset({5, 6})}
_MONTH_DAY = re.compile(r"(\d{2})-(\d{2})", re.ASCII)
_CLOCK = re.compile(r"(\d{2}):(00|15|30|45)", re.ASCII)
_TARIFF_KEYS = frozenset({"name", "currency", "time_zone", "source", "licence", "layer"})
_LAYER_KEYS = frozenset(
    {"name", "kind", "unit", "valid_from", "until", "window", "amount", "elsewhere", "source", "illustrative"}
)
_WINDOW_KEYS = frozenset({"season", "days", "hours", "amount"})
_WordT = TypeVar("_WordT", LayerKind, LayerUnit)


def load_site_tariff(path: Path) -> SiteTariff:
    """Read a tariff from a TOML file of the format above.

    Raises:
        InvalidInput: The file is missing, is no TOML or breaks a rule; the field names where.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput("tariff", f"{path.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("tariff", f"{path.name} is not TOML: {error}") from error
    _require_keys("tariff", document, _TARIFF_KEYS)
    rows = document.get("layer")
    if not isinstance(rows, list):
        raise InvalidInput("tariff.layer", "must be a list of tables")
    return SiteTariff(
        name=_text("tariff.name", document.get("name")),
        currency=_text("tariff.currency", document.get("currency")),
        time_zone=_text("tariff.time_zone", document.get("time_zone")),
        source=_text("tariff.source", document.get("source")),
        licence=_text("tariff.licence", document.get("licence")),
        layers=tuple(_layer(f"tariff.layer[{i}]", row) for i, row in enumerate(rows)),
    )


def _layer(field: str, row: Mapping[str, Any]) -> TariffLayer:
    _require_keys(field, row, _LAYER_KEYS)
    if ("amount" in row) == ("window" in row):
        raise InvalidInput(field, "needs either an amount or windows")
    windows = row.get("window", [{"amount": row.get("amount")}])
    if not isinstance(windows, list):
        raise InvalidInput(f"{field}.window", "must be a list of tables")
    elsewhere = row.get("elsewhere")
    return TariffLayer(
        name=_text(f"{field}.name", row.get("name")),
        kind=_word(f"{field}.kind", row.get("kind"), LayerKind),
        unit=_word(f"{field}.unit", row.get("unit"), LayerUnit),
        valid_from=_date(f"{field}.valid_from", row.get("valid_from")),
        valid_until=_date(f"{field}.until", row["until"]) if "until" in row else None,
        windows=tuple(_window(f"{field}.window[{i}]", one) for i, one in enumerate(windows)),
        elsewhere=None if elsewhere is None else _amount(f"{field}.elsewhere", elsewhere),
        source=_text(f"{field}.source", row["source"]) if "source" in row else "",
        is_illustrative=_flag(f"{field}.illustrative", row.get("illustrative", False)),
    )


def _window(field: str, row: Mapping[str, Any]) -> TariffWindow:
    _require_keys(field, row, _WINDOW_KEYS)
    first, last = _pair(f"{field}.season", row.get("season", ["01-01", "12-31"]))
    start, end = _pair(f"{field}.hours", row.get("hours", ["00:00", "24:00"]))
    days = _DAYS.get(_text(f"{field}.days", row.get("days", "all")))
    if days is None:
        raise InvalidInput(f"{field}.days", f"must be one of {', '.join(_DAYS)}")
    return TariffWindow(
        amount=_amount(f"{field}.amount", row.get("amount")),
        first_day=_month_day(f"{field}.season", first),
        last_day=_month_day(f"{field}.season", last),
        weekdays=days,
        start=_clock(f"{field}.hours", start),
        end=None if end == "24:00" else _clock(f"{field}.hours", end),
    )


def _require_keys(field: str, row: object, known: frozenset[str]) -> None:
    if not isinstance(row, dict):
        raise InvalidInput(field, "must be a table")
    unknown = sorted(set(row) - known)
    if unknown:
        raise InvalidInput(f"{field}.{unknown[0]}", "is not a key of this table")


def _pair(field: str, value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, str) for one in value):
        raise InvalidInput(field, "must be a list of two texts")
    return value[0], value[1]


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidInput(field, "must be a text")
    return value


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(field, "must be true or false")
    return value


def _word(field: str, value: object, words: type[_WordT]) -> _WordT:
    try:
        return words(_text(field, value))
    except ValueError as error:
        raise InvalidInput(field, f"must be one of {', '.join(word.value for word in words)}") from error


def _date(field: str, value: object) -> date:
    if type(value) is not date:
        raise InvalidInput(field, "must be a date")
    return value


def _amount(field: str, value: object) -> Decimal:
    try:
        amount = Decimal(_text(field, value))
    except InvalidOperation as error:
        raise InvalidInput(field, "must be a decimal number as text") from error
    if not amount.is_finite():
        raise InvalidInput(field, "must be a finite number")
    return amount


def _month_day(field: str, text: str) -> tuple[int, int]:
    match = _MONTH_DAY.fullmatch(text)
    try:
        found = (
            None if match is None else date(2020, int(match[1]), int(match[2]))
        )  # a leap year, so that 02-29 is a day
    except ValueError as error:
        raise InvalidInput(field, f"{text!r} is no day of the year") from error
    if found is None:
        raise InvalidInput(field, "must be month and day such as 06-01")
    return found.month, found.day


def _clock(field: str, text: str) -> time:
    match = _CLOCK.fullmatch(text)
    if match is None or int(match[1]) > 23:
        raise InvalidInput(field, "must be quarter-hours of the wall clock such as 16:00, the end up to 24:00")
    return time(int(match[1]), int(match[2]))
