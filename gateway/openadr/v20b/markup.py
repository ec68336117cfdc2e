"""Small steps between elements and values that every part of the codec takes."""

from datetime import datetime, timedelta

from lxml import etree

from gateway.openadr.v20b.literals import format_duration, format_instant, parse_duration, parse_instant
from gateway.openadr.v20b.names import EI, OADR, PYLD, XCAL
from gateway.openadr.v20b.wire_parts import Response, Target, Unit

Parts = dict[str, etree._Element]
"""The children of an element by tag."""


def add(parent: etree._Element, tag: str, text: str | None = None) -> etree._Element:
    """Append an element with the text; lxml escapes it."""
    element = etree.SubElement(parent, tag)
    element.text = text
    return element


def add_if(parent: etree._Element, tag: str, text: str | None) -> None:
    """Append an element with the text unless there is none."""
    if text is not None:
        add(parent, tag, text)


def body(signed_object: etree._Element, name: str) -> etree._Element:
    """Append the message element of a name with its schema version."""
    element = add(signed_object, OADR + name)
    element.set(EI + "schemaVersion", "2.0b")
    return element


def read_text(element: etree._Element, path: str) -> str:
    """Return the text at a path, character for character; empty when there is none."""
    return element.findtext(path) or ""


def read_id(element: etree._Element, path: str) -> str | None:
    """Return an optional id; an empty element means the same as none, because some VTNs send it so."""
    return element.findtext(path) or None


def read_response(element: etree._Element) -> Response:
    """Return an `eiResponse` element as a value."""
    return Response(
        code=int(read_text(element, EI + "responseCode")),
        description=read_text(element, EI + "responseDescription"),
        request_id=read_text(element, PYLD + "requestID"),
    )


def add_response(parent: etree._Element, response: Response) -> None:
    """Append an `eiResponse`."""
    element = add(parent, EI + "eiResponse")
    add(element, EI + "responseCode", f"{response.code:03d}")
    add_if(element, EI + "responseDescription", response.description or None)
    add(element, PYLD + "requestID", response.request_id)


def parts(element: etree._Element) -> Parts:
    """Return the children by tag, the first of each; several times faster than searching by path."""
    found: Parts = {}
    for child in element:
        tag = child.tag
        if tag not in found:
            found[tag] = child
    return found


def text_of(found: Parts, tag: str) -> str:
    """Return the text of a part, character for character; empty when there is none."""
    element = found.get(tag)
    return "" if element is None else element.text or ""


def leaf_text(element: etree._Element) -> str:
    """Return the text of an element or of its only child, as in `duration/duration`, `dtstart/date-time`, `pnode/node`."""
    text = (
        element.text if len(element) == 0 else element[0].text if len(element) == 1 and len(element[0]) == 0 else None
    )
    return text or ""


def read_start(found: Parts, field: str) -> datetime | None:
    """Return the `dtstart` among the parts; None when there is none."""
    element = found.get(XCAL + "dtstart")
    return None if element is None else parse_instant(f"{field}.dtstart", leaf_text(element))


def read_span(found: Parts, field: str) -> timedelta | None:
    """Return the `duration` among the parts; None when there is none."""
    element = found.get(XCAL + "duration")
    return None if element is None else parse_duration(f"{field}.duration", leaf_text(element))


def add_start(parent: etree._Element, instant: datetime) -> None:
    """Append a `dtstart`."""
    add(add(parent, XCAL + "dtstart"), XCAL + "date-time", format_instant(instant))


def add_span(parent: etree._Element, duration: timedelta) -> None:
    """Append a `duration`."""
    add(add(parent, XCAL + "duration"), XCAL + "duration", format_duration(duration))


def local_name(element: etree._Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def read_unit(element: etree._Element) -> Unit:
    """Return an `itemBase` as a unit."""
    units = scale = ""
    for child in element:
        name = child.tag
        if name.endswith("}itemUnits"):
            units = (child.text or "").strip()
        elif name.endswith("}siScaleCode"):
            scale = (child.text or "").strip()
    return Unit(name=local_name(element), units=units, scale=scale or "none")


def read_targets(element: etree._Element | None) -> tuple[Target, ...]:
    """Return the targets of an `eiTarget`, in order; a geometry has no value."""
    if element is None:
        return ()
    return tuple(Target(kind=local_name(child), value=leaf_text(child)) for child in element)
