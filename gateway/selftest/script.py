"""How a case is played: its script, the world it needs at the partner, and the gateway's settings for that partner."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.demo.folder import RunFolder
from gateway.selftest.partner_20b import CONTEXT, OTHER_CONTEXT

Fields = Mapping[str, Any]
Play = Callable[[Any], Awaitable[str]]
"""Plays a case with the `Partner` of its dialect and returns its evidence; raises `CaseFailed`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """One case."""

    play: Play
    dialect: str = "2.0b"
    """`2.0b`, `3.0.1` or `3.1.0`."""
    world: Fields = field(default_factory=dict)
    """Options of its world at the scripted VTN."""
    faults: tuple[Fields, ...] = ()
    """What goes wrong from the start."""
    table: Fields = field(default_factory=dict)
    """Settings of the gateway beyond the usual ones."""
    node: str = ""
    """Id of its node in the site tree; empty for the case's number in lower case."""
    is_signed: bool = False
    """Whether the VTN signs and the gateway demands it."""
    needs_broker: bool = False
    """Whether its utility publishes over MQTT."""
    is_measured: bool = True
    """Whether the chargers of its node are measured."""


def usual_table(script: Script, name: str, url: str, folder: RunFolder) -> dict[str, Any]:
    """Return the gateway's settings for the partner of a case.

    Args:
        script: Of the case.
        name: The case, in lower case.
        url: The VTN.
        folder: Where the secret of 3.x clients is.
    """
    node = script.node or name
    usual = {
        "authority": f"vtn:{name}",
        "tenant": TENANT,
        "dialect": script.dialect,
        "url": url,
        "ven_name": f"voltbridge-{name}",
        "portfolio_node": node,
        "targets": {name: node},
        "poll": POLL_S,
        "allow_plain_on_loopback": True,
    }
    if script.dialect == "2.0b":
        return {**usual, "market_contexts": [CONTEXT, OTHER_CONTEXT], "signature": "off", **script.table}
    client = {"client_id": "ven", "client_secret_file": str(folder.path / VEN_SECRET_FILE), "survey": SURVEY_S}
    return {**usual, **script.table, "v3": {**client, **script.table.get("v3", {})}}


TENANT = "selftest"
"""Tenant of all rows of the self-test."""
POLL_S = 60.0
"""Market seconds between polls."""
SURVEY_S = 120.0
"""Market seconds after which a 3.x VEN looks at programs and its own ven again."""
VEN_SECRET_FILE = "ven.secret"  # noqa: S105  # a file name
