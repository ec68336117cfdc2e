"""The guard: bytes from a peer become an element that may be read, or a `MessageRejected`.

```
bytes ─ size ─ UTF-8 ─ no DOCTYPE, entity, instruction ─ parse ─ depth, counts ─ one signed object ─ schema ─ signature ─> element
```

The order matters. An internal entity crashes the XML library in the process when schema and parser are bound together, before any
signature is looked at, so markup declarations are refused as bytes, the parser resolves nothing, and the schema is applied to
the finished tree. When a signature counts, the element returned is the one the verifier digested, never the one it was found in.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b import signature
from gateway.openadr.v20b.names import PAYLOAD, PREFIXES, SIGNED_OBJECT
from gateway.openadr.v20b.rejection import MessageRejected, Reason
from gateway.openadr.v20b.schema import violation_of
from gateway.openadr.v20b.signature import ReplayMark

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DECLARATION = re.compile(
    rb"\s*<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*(?:'1\.0'|\"1\.0\")"
    rb"(?:[ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*(?:'([A-Za-z][A-Za-z0-9._-]*)'|\"([A-Za-z][A-Za-z0-9._-]*)\"))?"
    rb"(?:[ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*(?:'(?:yes|no)'|\"(?:yes|no)\"))?[ \t\r\n]*\?>"
)
_ENCODINGS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})
_MARKUP_DECLARATION = re.compile(rb"<!(?!--|\[CDATA\[)")
_SHORTEST_ELEMENT = 4
"""Bytes of `<a/>`."""
_NAMESPACES = {"oadr": PREFIXES["oadr"], "ei": PREFIXES["ei"]}
_COUNT_ELEMENTS = etree.XPath("count(//*)")
_COUNT_EVENTS = etree.XPath("count(//oadr:oadrEvent)", namespaces=_NAMESPACES)
_COUNT_INTERVALS = etree.XPath("count(//ei:interval)", namespaces=_NAMESPACES)


class SignaturePolicy(StrEnum):
    """What an XML signature means to us."""

    REQUIRED = "required"
    """Unsigned messages are thrown away (conformance rule 514)."""
    OPTIONAL = "optional"
    """Unsigned messages are read; a signature that is there must hold."""
    OFF = "off"
    """Signatures are not looked at; the transport alone says who speaks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardPolicy:
    """How much and what kind of XML is let in. Travels to worker processes."""

    signature: SignaturePolicy = SignaturePolicy.OFF
    fingerprints: frozenset[str] = field(default_factory=frozenset)
    """Certificates that may sign: SHA-256 as hex pairs with colons, the last 10 bytes (as OpenADR defines) or all 32."""
    clock_skew: timedelta = timedelta(seconds=30)
    """How far a signature's time stamp may be from ours, both ways."""
    max_bytes: int = 2_000_000
    max_depth: int = 40
    max_elements: int = 150_000
    max_events: int = 1_000
    max_intervals: int = 10_000

    def __post_init__(self) -> None:
        """Reject a policy that looks at signatures without knowing whose."""
        if self.signature is not SignaturePolicy.OFF and not self.fingerprints:
            raise InvalidInput("fingerprints", f"signatures are {self.signature} but no certificate is pinned")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A message that may be read."""

    signed_object: etree._Element
    """The `oadrSignedObject`: the verified copy when a signature counted, otherwise the only child of the payload."""
    mark: ReplayMark | None
    """What makes a signed message unique; whoever reads it must refuse a mark seen before. None for unsigned messages."""


def check(body: bytes, policy: GuardPolicy, now: datetime) -> Checked:
    """Check one message and return the element that may be read.

    Args:
        body: The message as received, decompressed.
        policy: Caps and signature rules.
        now: The current instant, for certificate validity and the clock window.

    Raises:
        MessageRejected: The message breaks a rule; `why` says which.
    """
    root = _parse(_as_markup(body, policy), policy)
    signed_object = _only_signed_object(root)
    violation = violation_of(root)
    if violation is not None:
        raise MessageRejected(Reason.NOT_VALID, f"breaks the schema: {violation}")
    if policy.signature is SignaturePolicy.OFF:
        return Checked(signed_object=signed_object, mark=None)
    if policy.signature is SignaturePolicy.OPTIONAL and not signature.is_signed(root):
        return Checked(signed_object=signed_object, mark=None)
    verified = signature.verify(root, signed_object, policy.fingerprints, policy.clock_skew, now)
    return Checked(signed_object=verified.signed_object, mark=verified.mark)


def _as_markup(body: bytes, policy: GuardPolicy) -> bytes:
    """Return the document without byte order mark and XML declaration once its bytes are harmless."""
    if len(body) > policy.max_bytes:
        raise MessageRejected(Reason.TOO_LARGE, f"has more than {policy.max_bytes} bytes")
    markup = body.removeprefix(_BYTE_ORDER_MARK)
    if not markup.strip():
        raise MessageRejected(Reason.EMPTY, "is empty")
    try:
        markup.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise MessageRejected(Reason.NOT_UTF8, "is not UTF-8") from error
    declaration = _DECLARATION.match(markup)
    if declaration is not None:
        encoding = declaration.group(1) or declaration.group(2)
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise MessageRejected(Reason.NOT_UTF8, "declares an encoding other than UTF-8")
        markup = markup[declaration.end() :]
    if b"\x00" in markup or markup.startswith(_BYTE_ORDER_MARK):
        raise MessageRejected(Reason.MALFORMED, "has a NUL byte or a byte order mark that is not at its start")
    # One byte is found much faster than two of which the first is everywhere.
    if b"!" in markup and _MARKUP_DECLARATION.search(markup) is not None:
        raise MessageRejected(Reason.FORBIDDEN_MARKUP, "has a document type or entity declaration")
    if b"?" in markup and b"<?" in markup:
        raise MessageRejected(Reason.FORBIDDEN_MARKUP, "has a processing instruction")
    could_be = len(markup) > _SHORTEST_ELEMENT * policy.max_elements
    if could_be and markup.count(b"<") > 2 * policy.max_elements:
        raise MessageRejected(Reason.TOO_MANY_ELEMENTS, f"has more than {policy.max_elements} elements")
    return markup


def _parse(markup: bytes, policy: GuardPolicy) -> etree._Element:
    parser = etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        root = etree.fromstring(markup, parser)
    except etree.XMLSyntaxError as error:
        if "depth" in str(error):
            raise MessageRejected(Reason.TOO_DEEP, f"is nested deeper than {policy.max_depth}") from error
        raise MessageRejected(
            Reason.MALFORMED, f"is not well-formed XML ({type(error).__name__}, line {error.lineno})"
        ) from error
    if etree.XPath(f"boolean({'/*' * (policy.max_depth + 1)})")(root):
        raise MessageRejected(Reason.TOO_DEEP, f"is nested deeper than {policy.max_depth}")
    for counted, most, reason in (
        (_COUNT_ELEMENTS, policy.max_elements, Reason.TOO_MANY_ELEMENTS),
        (_COUNT_EVENTS, policy.max_events, Reason.TOO_MANY_EVENTS),
        (_COUNT_INTERVALS, policy.max_intervals, Reason.TOO_MANY_INTERVALS),
    ):
        if cast("float", counted(root)) > most:
            raise MessageRejected(reason, f"has {reason.value.replace('-', ' ')}: more than {most}")
    return root


def _only_signed_object(root: etree._Element) -> etree._Element:
    objects = list(root.iter(SIGNED_OBJECT))
    if root.tag != PAYLOAD or len(objects) != 1 or objects[0].getparent() is not root:
        raise MessageRejected(
            Reason.NOT_ONE_OBJECT, "must be an oadrPayload with exactly one oadrSignedObject, its own child"
        )
    return objects[0]
