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
from gateway.domain.topology import Node
from gateway.ports import StatedLimits
from scripts.dispatch_world import TENANT

if TYPE_CHECKING:
    from scripts.campaigns.dispatch import Life

AUTHORITIES = ("oscp:dso", "lpc:box", "charger:station")
GRID = system_principal(TENANT, "soak")
PHASED_SHARE = 0.25
"""Share of limits that bound phases, too."""
SQUEEZE_S = 150.0
"""Within so long after a limit that binds further things go wrong."""


def pick(life: Life) -> int:
    """Return a charger."""
    return int(life.rng.integers(len(life.chargers)))


async def state_limit(life: Life) -> None:
    """An authority states a limit or a fallback, from now on or later, or everything it said is withdrawn."""
    authority = str(life.rng.choice(AUTHORITIES))
    start_s = float(life.rng.choice([0.0, 0.0, 60.0, 1800.0]))
    node = life.nodes[int(life.rng.integers(len(life.nodes)))]
    kind = LimitKind(life.rng.choice(["limit", "limit", "limit", "fallback"]))
    limit = draw_limit(life, authority, node, float(life.rng.choice([0.0, 0.1, 0.3, 0.6])) * node.max_import_kw)
    start = limit.interval.start + timedelta(seconds=start_s)
    span = Interval(start=start, end=start + timedelta(minutes=float(life.rng.integers(5, 240))))
    takes_back = bool(life.rng.random() < 0.3)  # noqa: PLR2004  # now and then
    await tell(life, replace(limit, kind=kind, interval=span), takes_back=takes_back)


def draw_limit(life: Life, authority: str, node: Node, max_kw: float) -> Limit:
    """Return a limit of some power from now on for some minutes; some bound a phase, too."""
    now = life.clock.now()
    one, two, three = (round(max_kw * float(life.rng.choice([0.2, 0.5])), 1) for _ in range(3))
    return Limit(
        id=life.ids.new("limit"),
        tenant=TENANT,
        authority=authority,
        node=node.id,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.MANDATORY,
        max_kw=round(max_kw, 1),
        interval=Interval(start=now, end=now + timedelta(minutes=float(life.rng.integers(5, 60)))),
        cause="signal",
        known_at=now,
        phase_max_kw=(one, None if life.rng.random() < 0.5 else two, three)  # noqa: PLR2004  # one in two
        if life.rng.random() < PHASED_SHARE
        else None,
    )


async def tell(life: Life, limit: Limit, *, takes_back: bool) -> None:
    """Bring a limit to the desk, or take back all that its authority said; what is not answered is not owed."""
    if not life.is_up:
        return
    withdrawn = life.words.told(limit.authority) if takes_back else ()
    limits = () if takes_back else (limit,)
    life.words.tell(limits)
    try:
        await life.signals.state_limits(
            GRID, StatedLimits(authority=limit.authority, raw=None, limits=limits, withdrawn=withdrawn)
        )
    except StorageUnavailable:
        life.history.update(b"unanswered")
        life.words.unanswered(limits)
        return
    if takes_back:
        life.words.taken_back(limit.authority)
    life.words.answered(limits)


async def lose_authority(life: Life) -> None:
    """An authority gets out of contact or comes back."""
    await change_contact(life, str(life.rng.choice(AUTHORITIES)), is_lost=bool(life.rng.random() < 0.5))  # noqa: PLR2004


async def change_contact(life: Life, authority: str, *, is_lost: bool) -> None:
    """Tell the desk whether an authority can be reached."""
    if not life.is_up:
        return
    try:
        await life.signals.contact(GRID, authority, is_lost=is_lost)
    except StorageUnavailable:
        life.history.update(b"unanswered")
        return
    if is_lost:
        life.words.lose(authority, is_written=not life.store.is_down)
    else:
        life.words.find(authority)


async def order(life: Life) -> None:
    """An operator sets a limit for a while."""
    node = life.nodes[int(life.rng.integers(len(life.nodes)))]
    person = Principal(tenant=TENANT, actor="olga", roles=frozenset({Role.OPERATOR}))
    if not life.is_up:
        return
    now, max_kw = life.clock.now(), round(float(life.rng.random()) * node.max_import_kw, 1)
    end = now + timedelta(minutes=float(life.rng.integers(1, 60)))
    limit = replace(
        draw_limit(life, "manual:olga", node, max_kw), interval=Interval(start=now, end=end), phase_max_kw=None
    )
    try:
        await life.signals.set_manual_limit(
            person,
            node_id=node.id,
            max_kw=max_kw,
            start=None,
            end=end,
            reason="works",
            request_id=life.ids.new("order"),
        )
    except StorageUnavailable:
        life.history.update(b"unanswered")
        life.words.unanswered([limit])
        return
    life.words.answered([limit])


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
    await life.report(platform, [session])


async def break_stream(life: Life) -> None:
    """A platform loses its stream or gets it back."""
    platform = life.platforms[int(life.rng.integers(len(life.platforms)))]
    if platform.link is not None:
        await platform.disconnect()
        return
    if life.is_up:
        await life.connect(platform)


async def stop_reading(life: Life) -> None:
    """A platform stops reading or answering, or does both again."""
    platform = life.platforms[int(life.rng.integers(len(life.platforms)))]
    platform.is_deaf, platform.is_mute = (bool(x) for x in life.rng.random(2) < 0.25)  # noqa: PLR2004


async def misbehave(life: Life) -> None:
    """A charger draws what it likes, refuses or falls silent; or all are good again."""
    behave(life)
    await TROUBLES[str(life.rng.choice(["wild", "refuses", "silent", "nothing"]))](life, pick(life))


def behave(life: Life) -> None:
    """Let all chargers be good."""
    hands = life.hands
    hands.wild_since_s[:], hands.refuses[:], hands.is_silent[:] = np.inf, False, False


async def squeeze(life: Life) -> None:
    """Something goes wrong just before a limit that binds where a car charges, and two more things within minutes of it."""
    await squeeze_after(life, str(life.rng.choice(list(TROUBLES))))


async def squeeze_after(life: Life, before: str) -> None:
    """Let something go wrong around a charger that charges, bind a node above it, and let two more things go wrong soon."""
    now_s, rng = life.clock.elapsed_s, life.rng
    power = life.hands.power_kw(now_s)
    charging = np.flatnonzero(power > 0.0)
    if not charging.size or not life.is_up:
        return
    i = int(rng.choice(charging))
    after = [str(how) for how in rng.choice(list(TROUBLES), size=2)]
    life.later += [(now_s + float(rng.uniform(0.0, SQUEEZE_S)), how, i) for how in after]
    await TROUBLES[before](life, i)
    node = int(rng.choice(life.watch.above(i)))
    max_kw = float(rng.uniform(0.3, 0.95)) * float(life.watch.drawn_kw(power)[node])
    authority = str(rng.choice(AUTHORITIES))
    await tell(life, draw_limit(life, authority, life.nodes[node], max_kw), takes_back=False)
    if rng.random() < 0.3:  # noqa: PLR2004  # now and then
        await change_contact(life, authority, is_lost=True)


async def be_wild(life: Life, i: int) -> None:
    """It draws what it likes."""
    life.hands.wild_since_s[i] = min(float(life.hands.wild_since_s[i]), life.clock.elapsed_s)


async def refuse(life: Life, i: int) -> None:
    """It refuses what it is told."""
    life.hands.refuses[i] = True


async def be_silent(life: Life, i: int) -> None:
    """It is not measured."""
    life.hands.is_silent[i] = True


async def be_deaf(life: Life, i: int) -> None:
    """Its platform does not read."""
    life.platforms[int(life.platform_of[i])].is_deaf = True


async def be_mute(life: Life, i: int) -> None:
    """Its platform does not answer."""
    life.platforms[int(life.platform_of[i])].is_mute = True


async def listen(life: Life, i: int) -> None:
    """Its platform reads and answers again."""
    platform = life.platforms[int(life.platform_of[i])]
    platform.is_deaf = platform.is_mute = False


async def leave(life: Life, i: int) -> None:
    """Its platform loses its stream."""
    await life.platforms[int(life.platform_of[i])].disconnect()


async def be_killed(life: Life, i: int) -> None:
    """The gateway is killed."""
    del i
    await kill(life)


async def be_set(life: Life, i: int) -> None:
    """Somebody sets the gateway's clock by minutes."""
    del i
    life.clock.ahead_s += float(life.rng.choice([-300.0, 300.0, 3600.0]))
    life.hot_until_s = life.clock.elapsed_s + SQUEEZE_S


async def be_moved(life: Life, i: int) -> None:
    """It is moved to another circuit, and the inventory is imported anew."""
    others = sorted({charger.parent for charger in life.chargers} - {life.chargers[i].parent})
    if others and life.is_up and not life.store.is_down:
        await life.rewire(i, replace(life.chargers[i], parent=str(life.rng.choice(others))))


async def have_neighbours(life: Life, i: int) -> None:
    """Cars come to the chargers of its circuit."""
    parent = life.chargers[i].parent
    for j in range(len(life.chargers)):
        if life.chargers[j].parent == parent and life.sessions[j] is None:
            await car_comes(life, j)


async def be_well(life: Life, i: int) -> None:
    """Nothing goes wrong."""
    del life, i


TROUBLES = {
    "wild": be_wild,
    "refuses": refuse,
    "silent": be_silent,
    "deaf": be_deaf,
    "mute": be_mute,
    "listens": listen,
    "stream": leave,
    "kill": be_killed,
    "clock": be_set,
    "moved": be_moved,
    "cars": have_neighbours,
    "nothing": be_well,
}
"""What may go wrong around one charger."""


async def rewire(life: Life) -> None:
    """A charger is moved to another circuit, where less may be drawn than is drawn with it."""
    await squeeze_after(life, "moved")


async def kill(life: Life) -> None:
    """The gateway is killed and starts again after a while, from its rows."""
    if life.is_up:
        life.is_up = False
        life.up_again_s = life.clock.elapsed_s + float(life.rng.choice([1.0, 30.0, 1500.0]))
        for platform in life.platforms:
            platform.lose()
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
    "squeeze": squeeze,
    "rewire": rewire,
}
SHARES = (0.15, 0.06, 0.06, 0.31, 0.09, 0.05, 0.05, 0.03, 0.03, 0.02, 0.12, 0.03)
"""How often each of them happens."""
