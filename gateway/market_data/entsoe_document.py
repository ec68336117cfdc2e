"""Strict reader of ENTSO-E price documents: Publication_MarketDocument (A44) and Balancing_MarketDocument (A85).

What a document says is kept as it says it: one `PricePeriod` per Period with its own resolution, and None where it is silent.


Nothing is guessed: text that is not a plain decimal number, an unknown resolution, a position outside the Period or given
twice, another area, currency or unit, and an interval longer than asked for are errors that name the element.
Sources: ENTSO-E Transparency Platform, Manual of Procedures; IEC 62325-451-3 (publication document, acknowledgement) and
IEC 62325-451-6 (balancing document); curve types of the EDI library's code list.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.market_data.entsoe_elements import (
    children,
    curve_of,
    instant_of,
    is_acknowledgement,
    lay_out,
    optional_text,
    points_of,
    position_of,
    require_area,
    require_kind,
    require_no_data,
    require_span,
    text_of,
)
from gateway.market_data.entsoe_xml import read_tree

NO_SEQUENCE = "none"
"""Sequence of a series without a position element."""
DEFAULT_MAX_SPAN = timedelta(days=4)

_PUBLICATION = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:"
_BALANCING = "urn:iec62325.351:tc57wg16:451-6:balancingdocument:"


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
    if is_acknowledgement(root):
        require_no_data(root)
        return None
    require_kind(root, "Publication_MarketDocument", _PUBLICATION, "A44")
    require_span(root, max_span)
    series: list[PriceTimeSeries] = []
    for element in children(root, "TimeSeries"):
        for name in ("in_Domain.mRID", "out_Domain.mRID"):
            require_area(element, name, area)
        series.append(
            PriceTimeSeries(
                contract=text_of(element, "contract_MarketAgreement.type"),
                sequence=_sequence(element),
                category=None,
                currency=_currency(element),
                periods=tuple(
                    _price_period(period, points_of(period, "price.amount", None)[None], curve_of(element), max_span)
                    for period in children(element, "Period")
                ),
            )
        )
    return _document(root, series)


def read_balancing(document: bytes, *, area: str, max_span: timedelta = DEFAULT_MAX_SPAN) -> PriceDocument | None:
    """Read an A85 document, or the acknowledgement that comes instead of the archive; see `read_publication`."""
    root = read_tree(document)
    if is_acknowledgement(root):
        require_no_data(root)
        return None
    require_kind(root, "Balancing_MarketDocument", _BALANCING, "A85")
    require_span(root, max_span)
    _require_balancing_area(root, area)
    series: list[PriceTimeSeries] = []
    for element in children(root, "TimeSeries"):
        series.extend(_category_series(element, max_span))
    return _document(root, series)


def _price_period(element: etree._Element, points: dict[int, Decimal], curve: str, max_span: timedelta) -> PricePeriod:
    slots = lay_out(element, points, curve, max_span)
    return PricePeriod(
        start=slots.start,
        step=slots.step,
        prices_per_mwh=slots.values,
        repeated_tail_count=slots.repeated_tail_count,
    )


def _category_series(element: etree._Element, max_span: timedelta) -> Iterator[PriceTimeSeries]:
    """Split a TimeSeries by the category of its points: long and short may stand in one Period."""
    curve = curve_of(element)
    periods: dict[str | None, list[PricePeriod]] = {}
    for period in children(element, "Period"):
        by_category = points_of(period, "imbalance_Price.amount", "imbalance_Price.category")
        for category, points in by_category.items():
            if curve == "A03" and len(by_category) > 1 and 1 not in points:
                raise InvalidInput("imbalance_Price.category", "changes inside a Period of curve A03")
            periods.setdefault(category, []).append(_price_period(period, points, curve, max_span))
    for category, found in periods.items():
        yield PriceTimeSeries(
            contract=None, sequence=NO_SEQUENCE, category=category, currency=_currency(element), periods=tuple(found)
        )


def _document(root: etree._Element, series: Sequence[PriceTimeSeries]) -> PriceDocument:
    status = root.find("{*}docStatus")
    return PriceDocument(
        created_at=instant_of(text_of(root, "createdDateTime"), "createdDateTime"),
        revision=position_of(text_of(root, "revisionNumber"), "revisionNumber"),
        status=None if status is None else text_of(status, "value"),
        series=tuple(series),
    )


def _sequence(element: etree._Element) -> str:
    """Return the position of the auction in the day as text, `none` without such an element."""
    name = "classificationSequence_AttributeInstanceComponent.position"
    if optional_text(element, name) is None:
        return NO_SEQUENCE
    return str(position_of(text_of(element, name), name))


def _currency(element: etree._Element) -> str:
    """Return the currency of a series after checking that it is per MWh."""
    unit = text_of(element, "price_Measure_Unit.name")
    if unit != "MWH":
        raise InvalidInput("price_Measure_Unit.name", "must be MWH")
    currency = text_of(element, "currency_Unit.name")
    if re.fullmatch("[A-Z]{3}", currency) is None:
        raise InvalidInput("currency_Unit.name", "must be an ISO 4217 code")
    return currency


def _require_balancing_area(root: etree._Element, area: str) -> None:
    """Check the area wherever a balancing document names it: in the header (since 4:1) or in each series (before)."""
    names = ("area_Domain.mRID", "controlArea_Domain.mRID")
    holders = [root, *children(root, "TimeSeries")]
    named = [(holder, name) for holder in holders for name in names if optional_text(holder, name) is not None]
    if not named:
        raise InvalidInput("area_Domain.mRID", "is missing")
    for holder, name in named:
        require_area(holder, name, area)
