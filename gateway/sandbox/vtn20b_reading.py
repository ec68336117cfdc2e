"""What the scripted VTN reads: any OpenADR 2.0b message as plain JSON, with the verdict of the official schema."""

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.domain.errors import Unavailable

_SIGNED_OBJECT = "{http://openadr.org/oadr-2.0b/2012/07}oadrSignedObject"
_SIGNATURE = "{http://www.w3.org/2000/09/xmldsig#}Signature"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadMessage:
    """A message of a VEN."""

    kind: str
    """Name of the element, for example `oadrPoll`; empty when the bytes hold no message."""
    fields: Any
    """Content by local name; a list where a name is repeated."""
    problem: str
    """How it breaks the schema; empty when it is valid."""
    is_signed: bool


def read_message(body: bytes) -> ReadMessage:
    """Return what the bytes say; whatever is wrong with them is told as a problem, never raised."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        return ReadMessage(kind="", fields={}, problem=f"not XML: {error.msg}", is_signed=False)
    schema = official_schema()
    problem = "" if schema.validate(root) else _problem_of(schema)
    signed = root.find(_SIGNED_OBJECT)
    if signed is None or len(signed) != 1:
        return ReadMessage(kind="", fields={}, problem=problem or "no oadrSignedObject", is_signed=False)
    return ReadMessage(
        kind=_local(signed[0]),
        fields=_plain(signed[0]),
        problem=problem,
        is_signed=root.find(_SIGNATURE) is not None,
    )


@functools.cache
def official_schema() -> etree.XMLSchema:
    """Return the schema of OpenADR 2.0b from the files of the openleadr package.

    Raises:
        Unavailable: The package is not installed.
    """
    found = importlib.util.find_spec("openleadr")
    if found is None or found.origin is None:
        raise Unavailable("the openleadr package with the schema of OpenADR 2.0b is not installed")
    return etree.XMLSchema(file=str(Path(found.origin).with_name("schema") / "oadr_20b.xsd"))


def _problem_of(schema: etree.XMLSchema) -> str:
    log: Any = schema.error_log
    return "; ".join(f"line {error.line}: {error.message}" for error in list(log)[:3])


def _local(element: etree._Element) -> str:
    return etree.QName(element).localname


def _plain(element: etree._Element) -> object:
    inner = [child for child in element if isinstance(child.tag, str)]
    if not inner:
        return element.text or ""
    content: dict[str, Any] = {}
    for child in inner:
        name, value = _local(child), _plain(child)
        if name not in content:
            content[name] = value
        elif isinstance(content[name], list):
            content[name].append(value)
        else:
            content[name] = [content[name], value]
    return content
