"""Steering boxes as the utility's page shows them: in contact or not, what holds and by which rule."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from gateway.domain.limits import Direction
from gateway.domain.steering import SteeringState
from gateway.services.steer_power import BoxView, LimitationView
from gateway.web.partners_view import duration_text

_STATES = {
    SteeringState.INIT: "started, failsafe until it says its limit",
    SteeringState.LIMITED: "limits",
    SteeringState.UNLIMITED_CONTROLLED: "steers, limits nothing",
    SteeringState.UNLIMITED_AUTONOMOUS: "nobody steers, nothing is limited",
    SteeringState.FAILSAFE: "silent, failsafe",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxLine:
    """One box."""

    name: str
    node: str
    is_section_14a: bool
    is_silent: bool
    heard: str
    limitations: tuple[str, ...]
    """One sentence per direction."""


def box_lines(views: Iterable[BoxView], now: datetime) -> list[BoxLine]:
    """Return boxes in the order given."""
    return [
        BoxLine(
            name=view.name,
            node=view.node,
            is_section_14a=view.is_section_14a,
            is_silent=view.is_silent,
            heard="never heard" if view.heartbeat_at is None else f"heard {duration_text(now - view.heartbeat_at)} ago",
            limitations=tuple(_sentence(one) for one in view.limitations),
        )
        for view in views
    ]


def _sentence(one: LimitationView) -> str:
    what = "consumption" if one.direction is Direction.IMPORT else "production"
    text = f"{what}: {_STATES[one.state]}"
    if one.limit_kw is not None:
        text += f", {one.limit_kw:.1f} kW"
        if one.ordered_kw is not None and one.ordered_kw < one.limit_kw:
            text += f" ({one.ordered_kw:.1f} kW ordered, {one.guaranteed_kw:.1f} kW guaranteed)"
        text += " until further notice" if one.until is None else f" until {one.until:%Y-%m-%d %H:%M}Z"
    return f"{text} ({one.rule} since {one.since:%d %b %H:%M:%S}Z)"
