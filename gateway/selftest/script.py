"""How a case is played: its script, the world it needs at the partner, and the gateway's settings for that partner."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.selftest.partner_20b import CONTEXT, OTHER_CONTEXT

Fields = Mapping[str, Any]
Play = Callable[[Any], Awaitable[str]]
"""Plays a case with the `Partner` of its dialect and returns its evidence; raises `CaseFailed`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """One case."""

    play: Play
    world: Fields = field(default_factory=dict)
    """Options of its world at the scripted VTN."""
    faults: tuple[Fields, ...] = ()
    """What goes wrong from the start."""
    table: Fields = field(default_factory=dict)
    """Settings of the gateway beyond the usual ones."""
    node: str = ""
    """Id of its node in the site tree; empty for the case's number in lower case."""
    is_measured: bool = True
    """Whether the chargers of its node are measured."""


def usual_table(name: str, node: str, url: str, poll_s: float) -> dict[str, Any]:
    """Return the gateway's settings for one partner.

    Args:
        name: The case, in lower case.
        node: Its node in the site tree.
        url: The VTN.
        poll_s: Market seconds between polls when the VTN asks for none.
    """
    return {
        "authority": f"vtn:{name}",
        "tenant": TENANT,
        "url": url,
        "ven_name": f"voltbridge-{name}",
        "portfolio_node": node,
        "targets": {name: node},
        "poll": poll_s,
        "market_contexts": [CONTEXT, OTHER_CONTEXT],
        "signature": "off",
        "allow_plain_on_loopback": True,
    }


TENANT = "selftest"
