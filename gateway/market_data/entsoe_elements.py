"""Elements of ENTSO-E documents, read strictly: what price, generation and load documents have in common.

```
A03, positions 1 3 given:   |--v1--|--v1--|--v3--|--v3--|   a point holds until the next one, inside its Period only
A03, position 1 missing:    | None |--v2--|--v2--|--v2--|   nothing is known before the first point
A01, position 3 missing:    |--v1--|--v2--| None |--v4--|   every point stands for itself
```

Sources: ENTSO-E Transparency Platform, Manual of Procedures; curve types of the EDI library's code list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from lxml import etree

from gateway.domain.errors import InvalidInput

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


_TOO_MUCH = ("exceeds the allowed maximum", "exceeds allowed limit", "time period is too long", "period is too long")
"""How the platform says that an answer would be over its caps; the code is 999 as for everything else."""


class TooMuchAsked(InvalidInput):
    """The platform refuses because the answer would be over one of its caps: a smaller question may be answered."""

    @property
    def counts_series(self) -> bool:
        """Whether it is the number of series that is too high, which a shorter time does not change."""
        return "instances" in self.problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """One Period laid out: equal slots from `start`, a value or None in each."""

    start: datetime
    step: timedelta
    values: tuple[Decimal | None, ...]
    repeated_tail_count: int
    """Slots at the end that repeat the last given point under the A03 rule: right, or a document cut short."""


def is_acknowledgement(root: etree._Element) -> bool:
    """Tell whether the platform answers that it has nothing to send."""
    return is_document(root, "Acknowledgement_MarketDocument", _ACKNOWLEDGEMENT)


def is_document(root: etree._Element, name: str, namespace: str) -> bool:
    """Tell whether a document's root has a name in a namespace, whatever its version."""
    found = etree.QName(root)
    return found.localname == name and (found.namespace or "").startswith(namespace)


def require_kind(root: etree._Element, name: str, namespace: str, kind: str) -> None:
    """Check that a document is of the kind that was asked for."""
    if not is_document(root, name, namespace):
        raise InvalidInput("document", f"is not a {name}")
    if text_of(root, "type") != kind:
        raise InvalidInput("type", f"must be {kind}")


def require_area(element: etree._Element, name: str, area: str) -> None:
    """Check that an element names the area that was asked for."""
    if text_of(element, name) != area:
        raise InvalidInput(name, f"must be {area}")


def require_span(root: etree._Element, max_span: timedelta) -> None:
    """Check the header's interval before any Period is laid out: an end in the year 2299 must not cost memory."""
    start, end = interval_of(root, "period.timeInterval")
    if end - start > max_span:
        raise InvalidInput("period.timeInterval", f"is longer than {max_span}")


def require_no_data(root: etree._Element) -> None:
    """Check that an acknowledgement says that there are no data; its code 999 alone does not say so.

    Raises:
        TooMuchAsked: The answer would be over one of the platform's caps.
        InvalidInput: The platform refused the request for another reason.
    """
    for reason in children(root, "Reason"):
        text = text_of(reason, "text")
        if optional_text(reason, "code") == "999" and text.startswith("No matching data found"):
            return
        shown = "".join(sign if sign.isprintable() else " " for sign in text[:160])
        if any(words in text for words in _TOO_MUCH):
            raise TooMuchAsked("request", f"was refused by ENTSO-E: {shown}")
        raise InvalidInput("request", f"was refused by ENTSO-E: {shown}")
    raise InvalidInput("acknowledgement.Reason", "is missing")


def curve_of(element: etree._Element) -> str:
    """Return the curve type of a series, `A01` or `A03`; any other is an error."""
    curve = text_of(element, "curveType")
    if curve not in {"A01", "A03"}:
        raise InvalidInput("curveType", "must be A01 or A03")
    return curve


def points_of(period: etree._Element, amount: str, category: str | None) -> dict[str | None, dict[int, Decimal]]:
    """Return the given points by category and position; a category of None stands for all when the document has none."""
    found: dict[str | None, dict[int, Decimal]] = {}
    for point in children(period, "Point"):
        position = position_of(text_of(point, "position"), "Point.position")
        kind = None if category is None else optional_text(point, category)
        points = found.setdefault(kind, {})
        if position in points:
            raise InvalidInput("Point.position", f"{position} is given twice")
        points[position] = number_of(text_of(point, amount), amount)
    if not found:
        raise InvalidInput("Period", "has no point")
    return found


def lay_out(element: etree._Element, points: dict[int, Decimal], curve: str, max_span: timedelta) -> Slots:
    """Lay the points of a Period onto its slots under its curve type.

    Raises:
        InvalidInput: The Period is too long, off its resolution, or a point lies outside.
    """
    start, end = interval_of(element, "timeInterval")
    step = _RESOLUTIONS.get(text_of(element, "resolution"))
    if step is None:
        raise InvalidInput("Period.resolution", "must be PT15M, PT30M or PT60M")
    if end - start > max_span:
        raise InvalidInput("Period.timeInterval", f"is longer than {max_span}")
    if (end - start) % step:
        raise InvalidInput("Period.timeInterval", "is no multiple of the resolution")
    count = (end - start) // step
    if max(points) > count:
        raise InvalidInput("Point.position", f"{max(points)} is outside the Period's {count} slots")
    values: list[Decimal | None] = []
    for position in range(1, count + 1):
        held = values[-1] if curve == "A03" and values else None
        values.append(points.get(position, held))
    tail = count - max(points) if curve == "A03" else 0
    return Slots(start=start, step=step, values=tuple(values), repeated_tail_count=tail)


def interval_of(element: etree._Element, name: str) -> tuple[datetime, datetime]:
    """Return begin and end of an interval element, aware UTC, the end after the begin."""
    holder = element.find(f"{{*}}{name}")
    if holder is None:
        raise InvalidInput(name, "is missing")
    start = instant_of(text_of(holder, "start"), f"{name}.start")
    end = instant_of(text_of(holder, "end"), f"{name}.end")
    if end <= start:
        raise InvalidInput(f"{name}.end", "must be after start")
    return start, end


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Return the children of a name, in any namespace."""
    return element.iterchildren(f"{{*}}{name}")


def optional_text(element: etree._Element, name: str) -> str | None:
    """Return the text of a child; None when there is no such child.

    Raises:
        InvalidInput: The child is there twice: which one counts would be a guess.
    """
    found = list(children(element, name))
    if len(found) > 1:
        raise InvalidInput(name, "is given twice")
    return (found[0].text or "").strip() if found else None


def text_of(element: etree._Element, name: str) -> str:
    """Return the text of a child that must be there and not empty."""
    text = optional_text(element, name)
    if text is None or not text:
        raise InvalidInput(name, "is missing")
    return text


def number_of(text: str, field: str) -> Decimal:
    """Return a plain decimal number; `1,5`, `NaN`, `inf` and `1e300` are not plain."""
    if _NUMBER.fullmatch(text) is None:
        raise InvalidInput(field, "must be a plain decimal number")
    return Decimal(text)


def position_of(text: str, field: str) -> int:
    """Return a position: a whole number from 1."""
    if _POSITION.fullmatch(text) is None:
        raise InvalidInput(field, "must be a whole number from 1")
    return int(text)


def instant_of(text: str, field: str) -> datetime:
    """Return an instant such as `2025-10-14T22:00Z`, aware UTC."""
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise InvalidInput(field, "must be an instant in UTC such as 2025-10-14T22:00Z")
    try:
        return datetime.fromisoformat(match[1] + (match[2] or ":00")).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInput(field, "is no date") from error
