"""How a steering box stands, for itself and for people."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.domain.limits import Direction
from gateway.domain.steering import Limitation, LimitationRules, SteeringState
from gateway.services.steer_power.settings import SteeringBox


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitationView:
    """One direction of a box."""

    direction: Direction
    state: SteeringState
    since: datetime
    rule: str
    """Requirement by which the state was entered."""
    limit_kw: float | None
    """In force in kW; None when nothing is limited."""
    until: datetime | None
    """When that ends; None without end."""
    ordered_kw: float | None
    """As ordered, before any guarantee; None without an order in force."""
    failsafe_kw: float
    failsafe_duration: timedelta
    guaranteed_kw: float
    order: str
    """Id of the order in force; empty without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxView:
    """A box."""

    name: str
    authority: str
    node: str
    is_section_14a: bool
    heartbeat_at: datetime | None
    """Last heartbeat; None if none ever came."""
    is_silent: bool
    """Whether it counts as lost, or has not said its limit since our start."""
    limitations: tuple[LimitationView, ...]


def limitation_view(limitation: Limitation, rules: LimitationRules, now: datetime) -> LimitationView:
    """Return one direction as it is at an instant to which time has passed."""
    bounds = limitation.bounds(rules, now)
    return LimitationView(
        direction=limitation.direction,
        state=limitation.state,
        since=limitation.since,
        rule=limitation.rule,
        limit_kw=bounds[0].max_kw if bounds else None,
        until=bounds[0].end if bounds else None,
        ordered_kw=limitation.limit_kw,
        failsafe_kw=limitation.failsafe_kw,
        failsafe_duration=limitation.failsafe_duration,
        guaranteed_kw=rules.guaranteed_kw if limitation.direction is Direction.IMPORT else 0.0,
        order=limitation.order if bounds else "",
    )


def box_view(box: SteeringBox, limitations: tuple[Limitation, ...], now: datetime) -> BoxView:
    """Return a box as it is now."""
    heard = [one.heartbeat_at for one in limitations if one.heartbeat_at is not None]
    views = tuple(limitation_view(one, box.rules[one.direction], now) for one in limitations)
    waiting = {SteeringState.INIT, SteeringState.FAILSAFE}
    return BoxView(
        name=box.name,
        authority=box.authority,
        node=box.node,
        is_section_14a=box.is_section_14a,
        heartbeat_at=max(heard, default=None),
        is_silent=any(view.state in waiting for view in views),
        limitations=views,
    )
