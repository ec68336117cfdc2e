"""The guard in front of ENTSO-E documents: bytes to an element tree, or to the members of a zip, inside hard caps.

Nothing is resolved or loaded: no DTD, no entity, no network; only UTF-8; and no more elements than a few years of prices need.
"""

from lxml import etree

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.market_data.zip_guard import read_members

MAX_DOCUMENT_BYTES = 5_000_000
MAX_TAGS = 300_000
"""A year of quarter-hours has 210,000; libxml2 needs about 200 bytes a tag."""


def read_tree(document: bytes, *, peer: str = "ENTSO-E") -> etree._Element:
    """Return the root element of an XML document; `peer` is who sent it.

    Raises:
        MemoryError: It does not fit into the memory that this process may take.
        PeerUnavailable: It is a web page, which the platform sends with status 200 during maintenance, or empty.
        InvalidInput: It is not well-formed XML in UTF-8, declares a document type, or is over a cap.
    """
    head = document[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise PeerUnavailable(f"{peer} sent an empty body")
    if head.startswith((b"<!doctype html", b"<html")):
        raise PeerUnavailable(f"{peer} sent a web page instead of a document")
    _require_plain(document)
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return etree.fromstring(document, parser)
    except etree.XMLSyntaxError as error:
        if getattr(error, "code", None) == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("an XML document does not fit into the memory there is") from error
        line = error.position[0] if error.position else 0
        problem = f"is not well-formed XML (line {line})"
    raise InvalidInput("document", problem)


def _require_plain(document: bytes) -> None:
    """Check what must hold before a parser sees the bytes; a text in another encoding could hide a document type."""
    if len(document) > MAX_DOCUMENT_BYTES:
        raise InvalidInput("document", f"has more than {MAX_DOCUMENT_BYTES} bytes")
    try:
        document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("document", "is not UTF-8") from error
    if b"\x00" in document:
        raise InvalidInput("document", "has a NUL byte")
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise InvalidInput("document", "declares a document type")
    if document.count(b"<") > MAX_TAGS:
        raise InvalidInput("document", f"has more than {MAX_TAGS} tags")


def read_zip(body: bytes) -> tuple[bytes, ...]:
    """Return the XML members of a zip archive in the order of their names; see `zip_guard.read_members`."""
    return read_members(body, suffix=".xml", max_bytes=MAX_DOCUMENT_BYTES)
