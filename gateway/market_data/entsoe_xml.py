"""The guard in front of ENTSO-E documents: bytes to an element tree, or to the members of a zip, inside hard caps.

Nothing is resolved or loaded: no DTD, no entity, no network; only UTF-8; and no more elements than a few years of prices need.
"""

import io
import re
import zipfile
import zlib

from lxml import etree

from gateway.domain.errors import InvalidInput, PeerUnavailable

MAX_DOCUMENT_BYTES = 5_000_000
MAX_TAGS = 300_000
"""A year of quarter-hours has 210,000; libxml2 needs about 200 bytes a tag."""
MAX_MEMBERS = 40
_MEMBER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._()+-]{0,199}\.xml", re.ASCII)
_ZIP_MAGIC = b"PK\x03\x04"


def read_tree(document: bytes) -> etree._Element:
    """Return the root element of an XML document.

    Raises:
        PeerUnavailable: It is a web page, which the platform sends with status 200 during maintenance, or empty.
        InvalidInput: It is not well-formed XML in UTF-8, declares a document type, or is over a cap.
    """
    head = document[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise PeerUnavailable("ENTSO-E sent an empty body")
    if head.startswith((b"<!doctype html", b"<html")):
        raise PeerUnavailable("ENTSO-E sent a web page instead of a document")
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


def is_zip(body: bytes) -> bool:
    """Tell whether a reply is a zip archive, whatever its content type says."""
    return body.startswith(_ZIP_MAGIC)


def read_zip(body: bytes) -> tuple[bytes, ...]:
    """Return the XML members of a zip archive in the order of their names.

    The size written in the archive is not believed: each member is read up to the cap and no further.

    Raises:
        InvalidInput: The archive is broken, encrypted, has too many members or one that is too large, or a name that is not a
            plain XML file name.
    """
    problem = "is not a readable zip archive"
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            if not 1 <= len(members) <= MAX_MEMBERS:
                raise InvalidInput("archive", f"has {len(members)} members, allowed are 1 to {MAX_MEMBERS}")
            documents: list[bytes] = []
            left = MAX_DOCUMENT_BYTES
            for member in members:
                documents.append(_read_member(archive, member, left))
                left -= len(documents[-1])
            return tuple(documents)
    # All that zipfile raises on a bad archive: NotImplementedError is its word for a compression it cannot read, RuntimeError for
    # an encrypted member, the others are damage.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        problem = f"is not a readable zip archive ({type(error).__name__})"
    raise InvalidInput("archive", problem)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int) -> bytes:
    if _MEMBER_NAME.fullmatch(member.filename) is None:
        raise InvalidInput("archive.member", "has a name that is not a plain XML file name")
    if member.flag_bits & 0x1:
        raise InvalidInput("archive.member", "is encrypted")
    with archive.open(member) as stream:
        content = stream.read(left + 1)
    if len(content) > left:
        raise InvalidInput("archive.member", f"is larger than the {MAX_DOCUMENT_BYTES} bytes allowed in all")
    return content
