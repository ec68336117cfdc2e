"""What may happen to the dispatcher's world in a campaign, drawn from the case's generator."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from gateway.domain.dispatch import DispatchBatch, DispatchOutcome
from gateway.domain.errors import StorageUnavailable
from gateway.domain.identity import Principal, Role, system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.sessions import Session, SessionState
from gateway.domain.timegrid import Interval
from gateway.ports import StatedLimits
from scripts.dispatch_world import TENANT

if TYPE_CHECKING:
    from scripts.campaigns.dispatch import Life

AUTHORITIES = ("oscp:dso", "lpc:box", "charger:station")
GRID = system_principal(TENANT, "soak")


def pick(life: Life) -> int:
    """Return a charger."""
    return int(life.rng.integers(len(life.chargers)))


async def state_limit(life: Life) -> None:
    """An authority states a limit or a fallback, from now on or later, or everything it said is withdrawn."""
    authority, now = str(life.rng.choice(AUTHORITIES)), life.clock.now()
    start = now + timedelta(seconds=float(life.rng.choice([0.0, 0.0, 60.0, 1800.0])))
    node = life.nodes[int(life.rng.integers(len(life.nodes)))]
    limit = Limit(
        id=life.ids.new("limit"),
        tenant=TENANT,
        authority=authority,
        node=node.id,
        direction=Direction.IMPORT,
        kind=LimitKind(life.rng.choice(["limit", "limit", "limit", "fallback"])),
        binding=Binding.MANDATORY,
        max_kw=round(float(life.rng.choice([0.0, 0.1, 0.3, 0.6])) * node.max_import_kw, 1),
        interval=Interval(start=start, end=start + timedelta(minutes=float(life.rng.integers(5, 240)))),
        cause="signal",
        known_at=now,
    )
    known = life.signals.stated_by(TENANT, authority) if life.is_up else ()
    takes_back = life.rng.random() < 0.3  # noqa: PLR2004  # now and then
    stated = StatedLimits(
        authority=authority,
        raw=None,
        limits=() if takes_back else (limit,),
        withdrawn=tuple(old.id for old in known) if takes_back else (),
    )
    await tell(life, stated)


async def tell(life: Life, stated: StatedLimits) -> None:
    """Bring limits to the desk; a partner that is not answered does not count."""
    try:
        if life.is_up:
            await life.signals.state_limits(GRID, stated)
    except StorageUnavailable:
        life.history.update(b"unanswered")


async def lose_authority(life: Life) -> None:
    """An authority gets out of contact or comes back."""
    authority = str(life.rng.choice(AUTHORITIES))
    try:
        if life.is_up:
            await life.signals.contact(GRID, authority, is_lost=bool(life.rng.random() < 0.5))  # noqa: PLR2004
    except StorageUnavailable:
        life.history.update(b"unanswered")


async def order(life: Life) -> None:
    """An operator sets a limit for a while."""
    node = life.nodes[int(life.rng.integers(len(life.nodes)))]
    person = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
    try:
        if life.is_up:
            await life.signals.set_manual_limit(
                person,
                node_id=node.id,
                max_kw=round(float(life.rng.random()) * node.max_import_kw, 1),
                start=None,
                end=life.clock.now() + timedelta(minutes=float(life.rng.integers(1, 60))),
                reason="works",
                request_id=life.ids.new("order"),
            )
    except StorageUnavailable:
        life.history.update(b"unanswered")


async def cars(life: Life) -> None:
    """Cars come and go."""
    for _ in range(int(life.rng.integers(1, 5))):
        i = pick(life)
        await (car_comes(life, i) if life.sessions[i] is None else car_leaves(life, i))


async def car_comes(life: Life, i: int) -> None:
    """A car comes to a charger; some drivers say what they need."""
    life.session_count += 1
    now = life.clock.now()
    says = life.rng.random() < 0.6  # noqa: PLR2004  # most do
    life.hands.car_since_s[i] = life.clock.elapsed_s
    life.hands.car_kw[i] = min(float(life.rng.choice([7.4, 11.0, 22.0])), life.hands.max_kw[i])
    session = Session(
        id=f"car-{life.session_count}",
        tenant=TENANT,
        charger=life.chargers[i].id,
        arrival=now,
        state=SessionState.PLUGGED_IN,
        max_power_kw=float(life.hands.car_kw[i]),
        phases=3,
        energy_needed_kwh=float(life.rng.uniform(5.0, 60.0)) if says else None,
        expected_departure=now + timedelta(hours=float(life.rng.uniform(1.0, 10.0))) if says else None,
    )
    await tell_session(life, i, session)


async def car_leaves(life: Life, i: int) -> None:
    """A car leaves a charger."""
    session = life.sessions[i]
    if session is not None:
        life.hands.car_kw[i] = 0.0
        await tell_session(
            life, i, replace(session, state=SessionState.ENDED, departure=max(session.arrival, life.clock.now()))
        )


async def tell_session(life: Life, i: int, session: Session) -> None:
    """Report a session, if the platform has its stream and the store works; else it is told later, or not at all."""
    life.sessions[i] = session if session.state is SessionState.PLUGGED_IN else None
    platform = life.platforms[int(life.platform_of[i])]
    if life.is_up and platform.link is not None and not life.store.is_down:
        await life.tracker.report_sessions(
            platform.principal, [session], is_history=False, request_id=life.ids.new("session")
        )


async def break_stream(life: Life) -> None:
    """A platform loses its stream or gets it back, sometimes without its resume token."""
    platform = life.platforms[int(life.rng.integers(len(life.platforms)))]
    if platform.link is not None:
        await platform.disconnect()
        return
    if life.rng.random() < 0.3:  # noqa: PLR2004  # now and then
        platform.forget()
    if life.is_up:
        await platform.connect(life.dispatcher)
        await life.tell_sessions(platform)


async def stop_reading(life: Life) -> None:
    """A platform stops reading or answering, or does both again."""
    platform = life.platforms[int(life.rng.integers(len(life.platforms)))]
    life.changed_s = life.clock.elapsed_s
    platform.is_deaf, platform.is_mute = (bool(x) for x in life.rng.random(2) < 0.25)  # noqa: PLR2004


async def misbehave(life: Life) -> None:
    """A charger draws what it likes, refuses or falls silent; or all are good again."""
    hands, i = life.hands, pick(life)
    life.changed_s = life.clock.elapsed_s
    hands.wild_since_s[:], hands.refuses[:], hands.is_silent[:] = np.inf, False, False
    kind = int(life.rng.integers(4))
    if kind == 0:
        hands.wild_since_s[i] = life.clock.elapsed_s
    elif kind == 1:
        hands.refuses[i] = True
    elif kind == 2:  # the third kind
        hands.is_silent[i] = True


async def kill(life: Life) -> None:
    """The gateway is killed and starts again after a while, from its rows."""
    if life.is_up:
        life.is_up = False
        life.up_again_s = life.clock.elapsed_s + float(life.rng.choice([1.0, 30.0, 1500.0]))
        for platform in life.platforms:
            platform.left_s = life.clock.elapsed_s if platform.link is not None else platform.left_s
            platform.link = None
        for kind in (DispatchBatch, DispatchOutcome):
            life.store.forget(kind, life.clock.now() - timedelta(hours=4))


async def fail_store(life: Life) -> None:
    """The store refuses everything for a while."""
    life.store.is_down = True
    life.store_back_s = life.clock.elapsed_s + float(life.rng.uniform(10.0, 900.0))


async def set_clock(life: Life) -> None:
    """Somebody sets the gateway's clock."""
    life.clock.ahead_s += float(life.rng.choice([-300.0, -2.0, 2.0, 60.0, 3600.0]))


HAPPENINGS = {
    "limit": state_limit,
    "authority": lose_authority,
    "order": order,
    "cars": cars,
    "stream": break_stream,
    "reading": stop_reading,
    "charger": misbehave,
    "kill": kill,
    "store": fail_store,
    "clock": set_clock,
}
SHARES = (0.2, 0.06, 0.08, 0.36, 0.1, 0.06, 0.06, 0.03, 0.03, 0.02)
"""How often each of them happens."""
