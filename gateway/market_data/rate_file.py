"""Exchange rates in files: those of the European Central Bank as it publishes them, and a table of one's own.

```
Date,USD,JPY,            eurofxref-hist.csv: newest first, N/A where there is none; also as .zip with that one file
2025-10-15,1.1623,176.0,
Date, USD, JPY,          eurofxref.csv: one day, written out
15 October 2025, 1.1623, 176.0,
<Cube time='2025-10-15'><Cube currency='USD' rate='1.1623'/>...     eurofxref-daily.xml, eurofxref-hist-90d.xml
date,base,quote,rate,source                                        a table of one's own, any source
2025-10-15,EUR,GBP,0.8701,contract
```

The bank's rates are units of the currency for one euro. Source: ecb.europa.eu, Euro foreign exchange reference rates.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.domain.exchange_rates import ExchangeRate
from gateway.market_data.entsoe_xml import read_tree
from gateway.market_data.zip_guard import is_zip, read_members

ECB = "ecb"
"""Source of the bank's own files."""
MAX_BYTES = 20_000_000
"""The whole history since 1999 has about 3 MB as CSV."""
_EURO = "EUR"
_GESMES = "{http://www.gesmes.org/xml/2002-08-01}Envelope"
_CUBE = "{http://www.ecb.int/vocabulary/2002-08-01/eurofxref}Cube"
_OWN_COLUMNS = ("date", "base", "quote", "rate", "source")
_NOTHING = frozenset({"", "N/A"})


def read_rate_file(path: Path, *, fetched_at: datetime) -> tuple[ExchangeRate, ...]:
    """Read the exchange rates of a file; see `read_rates`.

    Raises:
        InvalidInput: The file cannot be read, is too large, or breaks a rule.
    """
    try:
        with path.open("rb") as stream:
            body = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput("file", f"{path.name} cannot be read ({type(error).__name__})") from error
    return read_rates(body, fetched_at=fetched_at)


def read_rates(body: bytes, *, fetched_at: datetime) -> tuple[ExchangeRate, ...]:
    """Return the exchange rates of a document, whichever of the forms above it has, in its order.

    Args:
        body: CSV, a zip archive of one CSV, or XML.
        fetched_at: When it was got.

    Raises:
        PeerUnavailable: A web page or nothing came instead of a document.
        InvalidInput: It is too large, of no known form, states a pair twice for a day, or a value breaks a rule.
    """
    if len(body) > MAX_BYTES:
        raise InvalidInput("document", f"has more than {MAX_BYTES} bytes")
    if is_zip(body):
        (body,) = read_members(body, suffix=".csv", max_bytes=MAX_BYTES, max_members=1)
    found = tuple(_of_xml(body, fetched_at) if body.lstrip()[:1] == b"<" else _of_csv(body, fetched_at))
    if not found:
        raise InvalidInput("document", "states no exchange rate")
    if len({rate.id for rate in found}) != len(found):
        raise InvalidInput("document", "states a pair twice for a day")
    return found


def _of_xml(body: bytes, fetched_at: datetime) -> Iterator[ExchangeRate]:
    root = read_tree(body, peer="ECB")
    if root.tag != _GESMES:
        raise InvalidInput("Envelope", "is not the root of the document")
    for holder in root.iter(_CUBE):
        day = holder.get("time")
        if day is not None:
            for cube in holder.iterchildren(_CUBE):
                yield _rate(
                    (_iso_day("Cube.time", day), _EURO, cube.get("currency", ""), cube.get("rate", ""), ECB),
                    "Cube",
                    fetched_at,
                )


def _of_csv(body: bytes, fetched_at: datetime) -> Iterator[ExchangeRate]:
    try:
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True)
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput("file", f"is no CSV in UTF-8 ({type(error).__name__})") from error
    head, table = (rows[0] if rows else []), [row for row in rows[1:] if row]
    if tuple(head) == _OWN_COLUMNS:
        yield from _own_rows(table, fetched_at)
    elif head[:1] == ["Date"]:
        yield from _bank_rows(head, table, fetched_at)
    else:
        raise InvalidInput("file", f"must begin with the columns {','.join(_OWN_COLUMNS)}, or with Date and currencies")


def _own_rows(table: Sequence[Sequence[str]], fetched_at: datetime) -> Iterator[ExchangeRate]:
    for number, row in enumerate(table, start=2):
        if len(row) != len(_OWN_COLUMNS):
            raise InvalidInput(f"row[{number}]", f"has {len(row)} values, {len(_OWN_COLUMNS)} columns")
        day, base, quote, rate, source = row
        yield _rate((_iso_day(f"row[{number}].date", day), base, quote, rate, source), f"row[{number}]", fetched_at)


def _bank_rows(head: Sequence[str], table: Sequence[Sequence[str]], fetched_at: datetime) -> Iterator[ExchangeRate]:
    for number, row in enumerate(table, start=2):
        if len(row) != len(head):
            raise InvalidInput(f"row[{number}]", f"has {len(row)} values, {len(head)} columns")
        day = _bank_day(f"row[{number}].Date", row[0])
        for quote, rate in zip(head[1:], row[1:], strict=True):
            if quote and rate not in _NOTHING:
                yield _rate((day, _EURO, quote, rate, ECB), f"row[{number}].{quote}", fetched_at)


def _rate(values: tuple[date, str, str, str, str], place: str, fetched_at: datetime) -> ExchangeRate:
    day, base, quote, rate, source = values
    try:
        number = Decimal(rate)
        return ExchangeRate(base=base, quote=quote, rate=number, day=day, source=source, fetched_at=fetched_at)
    except InvalidOperation as error:
        raise InvalidInput(f"{place}.rate", "must be a decimal number") from error
    except InvalidInput as error:
        raise InvalidInput(f"{place}.{error.field.rpartition('.')[2]}", error.problem) from error


def _bank_day(field: str, text: str) -> date:
    """Return the day of a row: ISO in the history, written out in the file of one day."""
    try:
        return datetime.strptime(text, "%d %B %Y").date()  # noqa: DTZ007  # a day, not an instant
    except ValueError:
        return _iso_day(field, text)


def _iso_day(field: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(field, "must be an ISO date") from error
