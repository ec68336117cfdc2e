"""Strict reader of ENTSO-E generation documents (GL_MarketDocument, A75): mean MW by production type and slot.

A series of a zone's production names `inBiddingZone_Domain`, one of consumption (pumping) `outBiddingZone_Domain`; what is pumped
is not produced and is left out. A type that is silent in a slot is None there: unknown is never zero.
Source: IEC 62325-451-6 (generation and load document); code list StandardAssetTypeList of the EDI library.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.market_data.entsoe_elements import (
    Slots,
    children,
    curve_of,
    is_acknowledgement,
    lay_out,
    optional_text,
    points_of,
    require_area,
    require_kind,
    require_no_data,
    text_of,
)
from gateway.market_data.entsoe_xml import read_tree

DEFAULT_MAX_SPAN = timedelta(days=4)
PUMPED = "B10"
"""Pumped storage gives back what was produced before: counting it would count twice."""
_GENERATION = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:"
_TYPE = re.compile(r"B\d\d", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """What was produced in a zone."""

    by_type: Mapping[str, tuple[Slots, ...]]
    """Mean MW by production type, its Periods in document order."""
    point_count: int
    """Points that the reply has, consumption included: the platform cuts replies at a number of points."""
    series_count: int
    """TimeSeries that it has."""


def read_generation(document: bytes, *, area: str, max_span: timedelta = DEFAULT_MAX_SPAN) -> Generation | None:
    """Read a reply to an A75 request.

    Args:
        document: The body as received.
        area: EIC that was asked for; any other one is an error.
        max_span: Longest time a Period may cover.

    Returns:
        The production; None when the platform acknowledges that there is no matching data yet.

    Raises:
        PeerUnavailable: A web page or nothing came instead of a document.
        InvalidInput: The document breaks a rule; the field names the element.
    """
    root = read_tree(document)
    if is_acknowledgement(root):
        require_no_data(root)
        return None
    require_kind(root, "GL_MarketDocument", _GENERATION, "A75")
    found: dict[str, list[Slots]] = {}
    all_series = list(children(root, "TimeSeries"))
    point_count = sum(1 for _ in root.iter("{*}Point"))
    for series in all_series:
        if optional_text(series, "outBiddingZone_Domain.mRID") is not None:
            require_area(series, "outBiddingZone_Domain.mRID", area)
            continue
        require_area(series, "inBiddingZone_Domain.mRID", area)
        if text_of(series, "quantity_Measure_Unit.name") != "MAW":
            raise InvalidInput("quantity_Measure_Unit.name", "must be MAW")
        curve = curve_of(series)
        periods = found.setdefault(_production_type(series), [])
        for period in children(series, "Period"):
            points = points_of(period, "quantity", None)[None]
            _require_production(points)
            periods.append(lay_out(period, points, curve, max_span))
    return Generation(
        by_type={kind: tuple(periods) for kind, periods in found.items()},
        point_count=point_count,
        series_count=len(all_series),
    )


def _production_type(series: etree._Element) -> str:
    holders = list(children(series, "MktPSRType"))
    if len(holders) != 1:
        raise InvalidInput("MktPSRType", "must be there once")
    kind = text_of(holders[0], "psrType")
    if _TYPE.fullmatch(kind) is None:
        raise InvalidInput("psrType", "must be a production type such as B16")
    return kind


def _require_production(points: Mapping[int, Decimal]) -> None:
    if any(value < 0 for value in points.values()):
        raise InvalidInput("Point.quantity", "must be at least 0 MW: consumption is a series of its own")
