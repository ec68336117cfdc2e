"""Strict reader of ENTSO-E price documents: Publication_MarketDocument (A44) and Balancing_MarketDocument (A85).

What a document says is kept as it says it: one `PricePeriod` per Period with its own resolution, and None where it is silent.

```
A03, positions 1 3 given:   |--p1--|--p1--|--p3--|--p3--|   a point holds until the next one, inside its Period only
A03, position 1 missing:    | None |--p2--|--p2--|--p2--|   nothing is known before the first point
A01, position 3 missing:    |--p1--|--p2--| None |--p4--|   every point stands for itself
```

Nothing is guessed: text that is not a plain decimal number, an unknown resolution, a position outside the Period or given
twice, another area, currency or unit, and an interval longer than asked for are errors that name the element.
Sources: ENTSO-E Transparency Platform, Manual of Procedures; IEC 62325-451-3 (publication document, acknowledgement) and
IEC 62325-451-6 (balancing document); curve types of the EDI library's code list.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.market_data.entsoe_xml import read_tree

NO_SEQUENCE = "none"
"""Sequence of a series without a position element."""
DAY_AHEAD_CONTRACT = "A01"
"""contract_MarketAgreement.type: daily; A07 is intraday."""
DEFAULT_MAX_SPAN = timedelta(days=4)

_PUBLICATION = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:"
_BALANCING = "urn:iec62325.351:tc57wg16:451-6:balancingdocument:"
_ACKNOWLEDGEMENT = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:"
_RESOLUTIONS = {
    "PT15M": timedelta(minutes=15),
    "PT30M": timedelta(minutes=30),
    "PT60M": timedelta(minutes=60),
    "PT1H": timedelta(minutes=60),
}
_NUMBER = re.compile(r"-?\d{1,7}(\.\d{1,6})?", re.ASCII)
_POSITION = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2})(:\d{2})?Z", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class PricePeriod:
    """One Period: equal slots from `start`, a price or None in each."""

    start: datetime
    step: timedelta
    prices_per_mwh: tuple[Decimal | None, ...]
    repeated_tail_count: int
    """Slots at the end that repeat the last given point under the A03 rule: right, or a document cut short."""

    @property
    def end(self) -> datetime:
        """First instant after the last slot."""
        return self.start + self.step * len(self.prices_per_mwh)


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceTimeSeries:
    """One TimeSeries (of an A85 document: one price category of it)."""

    contract: str | None
    """contract_MarketAgreement.type, for example `A01`; None where the document type has none."""
    sequence: str
    """classificationSequence position as text, `none` without one."""
    category: str | None
    """imbalance_Price.category: `A04` surplus (long), `A05` deficit (short), None when one price holds for both."""
    currency: str
    periods: tuple[PricePeriod, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceDocument:
    """A document with its header."""

    created_at: datetime
    revision: int
    status: str | None
    """docStatus of an A85 document: `A01` intermediate, `A02` final; None when it does not say."""
    series: tuple[PriceTimeSeries, ...]


def read_publication(document: bytes, *, area: str, max_span: timedelta = DEFAULT_MAX_SPAN) -> PriceDocument | None:
    """Read a reply to an A44 request.

    Args:
        document: The body as received.
        area: EIC that was asked for; any other one is an error.
        max_span: Longest time a Period or the document may cover.

    Returns:
        The document, or None when the platform acknowledges that there is no matching data yet.

    Raises:
        PeerUnavailable: A web page or nothing came instead of a document.
        InvalidInput: The document breaks a rule, or the acknowledgement has another reason than missing data.
    """
    root = read_tree(document)
    if _is(root, "Acknowledgement_MarketDocument", _ACKNOWLEDGEMENT):
        _require_no_data(root)
        return None
    _require_kind(root, "Publication_MarketDocument", _PUBLICATION, "A44")
    _require_span(root, max_span)
    series: list[PriceTimeSeries] = []
    for element in _children(root, "TimeSeries"):
        for name in ("in_Domain.mRID", "out_Domain.mRID"):
            _require_area(element, name, area)
        series.append(
            PriceTimeSeries(
                contract=_text(element, "contract_MarketAgreement.type"),
                sequence=_sequence(element),
                category=None,
                currency=_currency(element),
                periods=tuple(
                    _period(period, _points(period, "price.amount", None)[None], _curve(element), max_span)
                    for period in _children(element, "Period")
                ),
            )
        )
    return _document(root, series)


def read_balancing(document: bytes, *, area: str, max_span: timedelta = DEFAULT_MAX_SPAN) -> PriceDocument | None:
    """Read an A85 document, or the acknowledgement that comes instead of the archive; see `read_publication`."""
    root = read_tree(document)
    if _is(root, "Acknowledgement_MarketDocument", _ACKNOWLEDGEMENT):
        _require_no_data(root)
        return None
    _require_kind(root, "Balancing_MarketDocument", _BALANCING, "A85")
    _require_span(root, max_span)
    _require_balancing_area(root, area)
    series: list[PriceTimeSeries] = []
    for element in _children(root, "TimeSeries"):
        series.extend(_category_series(element, max_span))
    return _document(root, series)


def _category_series(element: etree._Element, max_span: timedelta) -> Iterator[PriceTimeSeries]:
    """Split a TimeSeries by the category of its points: long and short may stand in one Period."""
    curve = _curve(element)
    periods: dict[str | None, list[PricePeriod]] = {}
    for period in _children(element, "Period"):
        by_category = _points(period, "imbalance_Price.amount", "imbalance_Price.category")
        for category, points in by_category.items():
            if curve == "A03" and len(by_category) > 1 and 1 not in points:
                raise InvalidInput("imbalance_Price.category", "changes inside a Period of curve A03")
            periods.setdefault(category, []).append(_period(period, points, curve, max_span))
    for category, found in periods.items():
        yield PriceTimeSeries(
            contract=None, sequence=NO_SEQUENCE, category=category, currency=_currency(element), periods=tuple(found)
        )


def _document(root: etree._Element, series: Sequence[PriceTimeSeries]) -> PriceDocument:
    status = root.find("{*}docStatus")
    return PriceDocument(
        created_at=_instant(_text(root, "createdDateTime"), "createdDateTime"),
        revision=_position(_text(root, "revisionNumber"), "revisionNumber"),
        status=None if status is None else _text(status, "value"),
        series=tuple(series),
    )


def _require_no_data(root: etree._Element) -> None:
    """Check that an acknowledgement says that there are no data; its code 999 alone does not say so.

    Raises:
        InvalidInput: The platform refused the request for another reason, for example a period that is too long.
    """
    for reason in _children(root, "Reason"):
        text = _text(reason, "text")
        if _optional(reason, "code") == "999" and text.startswith("No matching data found"):
            return
        shown = "".join(sign if sign.isprintable() else " " for sign in text[:160])
        raise InvalidInput("request", f"was refused by ENTSO-E: {shown}")
    raise InvalidInput("acknowledgement.Reason", "is missing")


def _points(period: etree._Element, amount: str, category: str | None) -> dict[str | None, dict[int, Decimal]]:
    """Return the given points by category and position; a category of None stands for all when the document has none."""
    found: dict[str | None, dict[int, Decimal]] = {}
    for point in _children(period, "Point"):
        position = _position(_text(point, "position"), "Point.position")
        kind = None if category is None else _optional(point, category)
        points = found.setdefault(kind, {})
        if position in points:
            raise InvalidInput("Point.position", f"{position} is given twice")
        points[position] = _number(_text(point, amount), amount)
    if not found:
        raise InvalidInput("Period", "has no point")
    return found


def _period(element: etree._Element, points: dict[int, Decimal], curve: str, max_span: timedelta) -> PricePeriod:
    """Lay the points of a Period onto its slots under its curve type."""
    start, end = _interval(element, "timeInterval")
    step = _RESOLUTIONS.get(_text(element, "resolution"))
    if step is None:
        raise InvalidInput("Period.resolution", "must be PT15M, PT30M or PT60M")
    if end - start > max_span:
        raise InvalidInput("Period.timeInterval", f"is longer than {max_span}")
    if (end - start) % step:
        raise InvalidInput("Period.timeInterval", "is no multiple of the resolution")
    count = (end - start) // step
    if max(points) > count:
        raise InvalidInput("Point.position", f"{max(points)} is outside the Period's {count} slots")
    prices: list[Decimal | None] = []
    for position in range(1, count + 1):
        held = prices[-1] if curve == "A03" and prices else None
        prices.append(points.get(position, held))
    tail = count - max(points) if curve == "A03" else 0
    return PricePeriod(start=start, step=step, prices_per_mwh=tuple(prices), repeated_tail_count=tail)


def _sequence(element: etree._Element) -> str:
    """Return the position of the auction in the day as text, `none` without such an element."""
    name = "classificationSequence_AttributeInstanceComponent.position"
    if _optional(element, name) is None:
        return NO_SEQUENCE
    return str(_position(_text(element, name), name))


def _curve(element: etree._Element) -> str:
    curve = _text(element, "curveType")
    if curve not in {"A01", "A03"}:
        raise InvalidInput("curveType", "must be A01 or A03")
    return curve


def _currency(element: etree._Element) -> str:
    """Return the currency of a series after checking that it is per MWh."""
    unit = _text(element, "price_Measure_Unit.name")
    if unit != "MWH":
        raise InvalidInput("price_Measure_Unit.name", "must be MWH")
    currency = _text(element, "currency_Unit.name")
    if re.fullmatch("[A-Z]{3}", currency) is None:
        raise InvalidInput("currency_Unit.name", "must be an ISO 4217 code")
    return currency


def _is(root: etree._Element, name: str, namespace: str) -> bool:
    found = etree.QName(root)
    return found.localname == name and (found.namespace or "").startswith(namespace)


def _require_kind(root: etree._Element, name: str, namespace: str, kind: str) -> None:
    if not _is(root, name, namespace):
        raise InvalidInput("document", f"is not a {name}")
    if _text(root, "type") != kind:
        raise InvalidInput("type", f"must be {kind}")


def _require_area(element: etree._Element, name: str, area: str) -> None:
    if _text(element, name) != area:
        raise InvalidInput(name, f"must be {area}")


def _require_balancing_area(root: etree._Element, area: str) -> None:
    """Check the area wherever a balancing document names it: in the header (since 4:1) or in each series (before)."""
    names = ("area_Domain.mRID", "controlArea_Domain.mRID")
    holders = [root, *_children(root, "TimeSeries")]
    named = [(holder, name) for holder in holders for name in names if _optional(holder, name) is not None]
    if not named:
        raise InvalidInput("area_Domain.mRID", "is missing")
    for holder, name in named:
        _require_area(holder, name, area)


def _require_span(root: etree._Element, max_span: timedelta) -> None:
    """Check the header's interval before any Period is laid out: an end in the year 2299 must not cost memory."""
    start, end = _interval(root, "period.timeInterval")
    if end - start > max_span:
        raise InvalidInput("period.timeInterval", f"is longer than {max_span}")


def _interval(element: etree._Element, name: str) -> tuple[datetime, datetime]:
    holder = element.find(f"{{*}}{name}")
    if holder is None:
        raise InvalidInput(name, "is missing")
    start = _instant(_text(holder, "start"), f"{name}.start")
    end = _instant(_text(holder, "end"), f"{name}.end")
    if end <= start:
        raise InvalidInput(f"{name}.end", "must be after start")
    return start, end


def _children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterchildren(f"{{*}}{name}")


def _optional(element: etree._Element, name: str) -> str | None:
    """Return the text of a child; None when there is no such child.

    Raises:
        InvalidInput: The child is there twice: which one counts would be a guess.
    """
    found = list(_children(element, name))
    if len(found) > 1:
        raise InvalidInput(name, "is given twice")
    return (found[0].text or "").strip() if found else None


def _text(element: etree._Element, name: str) -> str:
    text = _optional(element, name)
    if text is None or not text:
        raise InvalidInput(name, "is missing")
    return text


def _number(text: str, field: str) -> Decimal:
    """Return a plain decimal number; `1,5`, `NaN`, `inf` and `1e300` are not plain."""
    if _NUMBER.fullmatch(text) is None:
        raise InvalidInput(field, "must be a plain decimal number")
    return Decimal(text)


def _position(text: str, field: str) -> int:
    if _POSITION.fullmatch(text) is None:
        raise InvalidInput(field, "must be a whole number from 1")
    return int(text)


def _instant(text: str, field: str) -> datetime:
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise InvalidInput(field, "must be an instant in UTC such as 2025-10-14T22:00Z")
    try:
        return datetime.fromisoformat(match[1] + (match[2] or ":00")).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInput(field, "is no date") from error
