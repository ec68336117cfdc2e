"""Ways to spoil a valid XML message: its tree (elements, attributes, values, places) and its bytes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from lxml import etree

from scripts.openadr_messages import NAMESPACES, Draw

# fmt: off
VALUES = (
    "", " ", "0", "-0", "-1", "1e400", "NaN", "INF", "-INF", "1e-400", "9" * 400, "0x10", "1_000", "\u0661\u0662", "1,5", "+",
    "true", "00123", "1.2.3", "A&B <c> \"'", "]]>", "\u202eabc", "\ufeff", "\U0001f600", "=cmd()", "x" * 20_000, "\t\n", "\x85",
    "PT", "P", "PT0S", "-PT5M", "P1M", "PT999999999999S", "PT1.5H30M", "2W", "P0Y0M0DT0H0M0.0000001S", "PT15Mgarbage",
    "2016-12-31T23:59:60Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2025-02-30T00:00:00Z", "2025-10-15T24:00:00Z",
    "2025-10-15T09:00:00", "2025-10-15T09:00:00.1234567Z", "2025-10-15T09:00:00+14:00", "-2025-10-15T09:00:00Z",
    "4294967295", "4294967296", "18446744073709551616", "000000000000000000000000000001", "never", "always", "cancelled",
    "oadr:oadrDistributeEvent", "http://127.0.0.1:9/x", "../../etc/passwd", "'; DROP TABLE event; --", "%s%n{0}{{", "${x}",
)
"""Texts that a value is replaced with."""
ATTRIBUTES = (
    ("{http://www.w3.org/2001/XMLSchema-instance}type", "ei:PayloadFloatType"),
    ("{http://www.w3.org/2001/XMLSchema-instance}nil", "true"),
    ("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", "urn:x http://127.0.0.1:9/x.xsd"),
    ("{http://openadr.org/oadr-2.0b/2012/07}Id", "oadrSignedObject"),
    ("{http://docs.oasis-open.org/ns/energyinterop/201110}schemaVersion", "2.0a"),
    ("{http://www.w3.org/XML/1998/namespace}base", "http://127.0.0.1:9/"),
    ("{http://www.w3.org/XML/1998/namespace}id", "oadrSignedObject"),
    ("Id", "oadrSignedObject"),
    ("plain", "\u00e9\n"),
)
"""Attributes that an element is given."""
TOKENS = (
    b"<", b">", b"&", b"&lt;", b"&#0;", b"&#x10FFFF;", b"&#xD800;", b"&a;", b"]]>", b"<![CDATA[", b"<!--", b"-->", b"</", b"/>",
    b"<!DOCTYPE r>", b'<!DOCTYPE r [<!ENTITY a "b">]>', b"<!ENTITY", b"<?xml", b"<?pi x?>", b"?>", b"\x00", b"\xff", b"\xc0\x80",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b' xmlns:oadr="urn:x"', b' xmlns=""', b"xmlns:ei=", b"ei:", b"\r",
    b"<oadr:oadrSignedObject>", b"</oadr:oadrSignedObject>", b"<oadr:oadrPayload>", b"NaN", b"INF", b"1e400", b"PT", b"\x0b",
    b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"/>', b"<x>" * 60, b"9" * 300, b"\xe2\x80\xae", b"\xd9\xa1",
)
"""Bytes that are put into a message."""
# fmt: on
MUTATION_COUNTS = (1, 1, 1, 2, 2, 3, 5)
Element = etree._Element
Trees = Sequence[Element]
LONGEST_PIECE = 200
MOST_REPEATS = 50
DEEPEST = 60
TOKEN_SHARE = 0.2


def mutate_tree(draw: Draw, root: Element, others: Trees) -> None:
    """Spoil a tree in place, once or a few times."""
    for _ in range(draw.choice(MUTATION_COUNTS)):
        elements = [element for element in root.iter() if isinstance(element.tag, str)][1:]
        if not elements:
            return
        draw.choice(TREE_MUTATIONS)(draw, draw.choice(elements), elements, others)


def _set_value(draw: Draw, _element: Element, elements: list[Element], _others: Trees) -> None:
    leaves = [each for each in elements if len(each) == 0]
    target = draw.choice(leaves or elements)
    text = draw.choice(VALUES)
    if all(character in "\t\n" or " " <= character <= "\ud7ff" or character > "\udfff" for character in text):
        target.text = text


def _swap_value(draw: Draw, element: Element, elements: list[Element], _others: Trees) -> None:
    other = draw.choice(elements)
    element.text, other.text = other.text, element.text


def _remove(_draw: Draw, element: Element, _elements: list[Element], _others: Trees) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _repeat(draw: Draw, element: Element, _elements: list[Element], _others: Trees) -> None:
    parent = element.getparent()
    if parent is not None:
        for _ in range(draw.choice((1, 1, 2, MOST_REPEATS))):
            parent.insert(parent.index(element), copy.deepcopy(element))


def _move(draw: Draw, element: Element, elements: list[Element], _others: Trees) -> None:
    target = draw.choice(elements)
    if element not in {target, *target.iterancestors()}:
        target.insert(draw.randrange(len(target) + 1), element)


def _swap_children(draw: Draw, element: Element, _elements: list[Element], _others: Trees) -> None:
    children = list(element)
    draw.shuffle(children)
    element[:] = children


def _rename(draw: Draw, element: Element, elements: list[Element], _others: Trees) -> None:
    name = etree.QName(draw.choice(elements)).localname
    element.tag = f"{{{draw.choice(tuple(NAMESPACES.values()))}}}{name}"


def _retag(draw: Draw, element: Element, elements: list[Element], _others: Trees) -> None:
    element.tag = draw.choice(elements).tag


def _add_attribute(draw: Draw, element: Element, _elements: list[Element], _others: Trees) -> None:
    name, value = draw.choice(ATTRIBUTES)
    element.set(name, value)


def _graft(draw: Draw, element: Element, _elements: list[Element], others: Trees) -> None:
    """Put a piece of another message beside or in place of an element."""
    piece = copy.deepcopy(draw.choice(list(draw.choice(others).iter())))
    parent = element.getparent()
    if parent is None or draw.random() < 0.5:  # noqa: PLR2004  # half of them
        element.append(piece)
    else:
        parent.replace(element, piece)


def _wrap(draw: Draw, element: Element, elements: list[Element], _others: Trees) -> None:
    parent = element.getparent()
    if parent is None:
        return
    outer = etree.Element(draw.choice(elements).tag)
    parent.replace(element, outer)
    for _ in range(draw.choice((0, 0, 1, DEEPEST))):
        outer = etree.SubElement(outer, outer.tag)
    outer.append(element)


def _comment(draw: Draw, element: Element, _elements: list[Element], _others: Trees) -> None:
    text, element.text = element.text or "", None
    comment = etree.Comment("x")
    cut = draw.randrange(len(text) + 1)
    element.insert(0, comment)
    element.text, comment.tail = text[:cut], text[cut:]


def _forge(draw: Draw, _element: Element, elements: list[Element], _others: Trees) -> None:
    """Keep what may be signed somewhere else and say something different where it was."""
    root = elements[0].getroottree().getroot()
    objects = [each for each in root if isinstance(each.tag, str) and each.tag.endswith("}oadrSignedObject")]
    if not objects:
        return
    true, forged = objects[0], copy.deepcopy(objects[0])
    leaves = [each for each in forged.iter() if len(each) == 0]
    draw.choice(leaves).text = draw.choice(("EVIL", "PT5M", "7", "optOut"))
    if draw.random() < 0.5:  # noqa: PLR2004  # half of them
        forged.attrib.clear()
    root.replace(true, forged)
    draw.choice([each for each in root.iter() if isinstance(each.tag, str)]).append(true)


TREE_MUTATIONS: tuple[Callable[[Draw, Element, list[Element], Trees], None], ...] = (
    *(_set_value,) * 8,
    *(_swap_value, _swap_value, _remove, _remove, _repeat, _repeat, _move, _move, _swap_children),
    *(_rename, _retag, _add_attribute, _add_attribute, _graft, _graft, _wrap, _comment, _comment, _forge, _forge),
)


def mutate_bytes(draw: Draw, body: bytes, others: Sequence[bytes], tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Return a spoiled copy of a message, or now and then bytes that never were one.

    Args:
        draw: Where the choices come from.
        body: The message.
        others: Messages of which pieces are put in.
        tokens: Bytes that mean something in its language.
    """
    if draw.random() < 0.02:  # noqa: PLR2004  # one of fifty
        return draw.randbytes(draw.randrange(LONGEST_PIECE))
    if draw.random() < 0.01:  # noqa: PLR2004  # one of a hundred
        return body.decode().encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig")))
    spoiled = bytearray(body)
    for _ in range(draw.choice(MUTATION_COUNTS)):
        at = draw.randrange(len(spoiled) + 1)
        if draw.random() < TOKEN_SHARE:
            spoiled[at:at] = draw.choice(tokens)
        else:
            draw.choice(BYTE_MUTATIONS)(draw, spoiled, at, others)
    return bytes(spoiled)


def _flip(draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    if at < len(body):
        body[at] ^= 1 << draw.randrange(8)


def _overwrite(draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    body[at : at + 1] = bytes((draw.randrange(256),))


def _replace_value(draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    begin = body.find(b">", at) + 1
    end = body.find(b"<", begin)
    if 0 < begin <= end:
        body[begin:end] = draw.choice(VALUES).encode("utf-8", errors="surrogatepass")


def _delete(draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    del body[at : at + draw.randrange(1, LONGEST_PIECE)]


def _truncate(_draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    del body[at:]


def _copy_piece(draw: Draw, body: bytearray, at: int, others: Sequence[bytes]) -> None:
    source = draw.choice(others)
    begin = draw.randrange(len(source))
    body[at:at] = source[begin : begin + draw.randrange(1, LONGEST_PIECE)]


def _repeat_piece(draw: Draw, body: bytearray, at: int, _others: Sequence[bytes]) -> None:
    piece = body[at : at + draw.randrange(1, LONGEST_PIECE)]
    body[at:at] = piece * draw.choice((1, 2, MOST_REPEATS))


BYTE_MUTATIONS: tuple[Callable[[Draw, bytearray, int, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _overwrite, _replace_value, _replace_value, _replace_value),
    *(_delete, _truncate, _copy_piece, _repeat_piece),
)
