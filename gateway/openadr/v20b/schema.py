"""The XML schema of OpenADR 2.0b, loaded once from the files of the installed openleadr package, without importing it."""

import functools
import importlib.util
from pathlib import Path
from typing import Any

from lxml import etree

from gateway.domain.errors import Unavailable


@functools.cache
def schema() -> etree.XMLSchema:
    """Return the compiled schema.

    Raises:
        Unavailable: The openleadr package, or its schema folder, is not installed.
    """
    found = importlib.util.find_spec("openleadr")
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        path = Path(folder) / "schema" / "oadr_20b.xsd"
        if path.is_file():
            return etree.XMLSchema(etree.parse(str(path)))
    raise Unavailable("the OpenADR 2.0b schema files of the openleadr package are not installed")


def violation_of(root: etree._Element) -> str | None:
    """Return where and how a tree breaks the schema, without any of its content; None when it is valid."""
    rules = schema()
    if rules.validate(root):
        return None
    log: Any = rules.error_log  # the type stubs know less of it than it offers
    error = log.last_error
    return "somewhere" if error is None else f"line {error.line}, {error.type_name}"
