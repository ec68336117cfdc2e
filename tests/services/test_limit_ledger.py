"""The ledger's indexes always say what a plain list of limits would say."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.limits import Limit
from gateway.services.gather_signals.ledger import LimitLedger
from tests.fakes.clock import START
from tests.services.test_stated_limits import limit

HOUR = 60.0

rows = st.builds(
    lambda key, node, authority, start, length, gone: replace(
        limit(key, 10.0, start * HOUR, (start + length) * HOUR, node=node, authority=authority),
        withdrawn_at=None if gone is None else START + timedelta(hours=gone),
    ),
    st.sampled_from(["a", "b", "c", "d"]),
    st.sampled_from(["site-1", "site-2"]),
    st.sampled_from(["oscp:x", "lpc:y"]),
    st.integers(-40, 10),
    st.integers(1, 20),
    st.none() | st.integers(-40, 20),
)
steps = st.lists(st.tuples(st.sampled_from(["commit", "hold"]), st.lists(rows, max_size=4)), max_size=8)


def ids(found: list[Limit]) -> list[tuple[str, str]]:
    return sorted((x.id, x.authority) for x in found)


@given(steps)
def test_the_indexes_follow_every_change(history: list[tuple[str, list[Limit]]]) -> None:
    ledger = LimitLedger()
    kept: dict[str, Limit] = {}
    held: dict[str, Limit] = {}
    for i, (step, limits) in enumerate(history):
        now = START + timedelta(hours=i)
        if step == "commit":
            ledger.commit([], limits)
            kept |= {x.id: x for x in limits}
            kept = {key: x for key, x in kept.items() if x.withdrawn_at is None or x.withdrawn_at > x.interval.start}
            spoken = {(x.authority, x.node) for x in limits}
            written = {x.id for x in limits}
            held = {k: x for k, x in held.items() if k not in written and (x.authority, x.node) not in spoken}
        else:
            ledger.hold(limits)
            held |= {x.id: x for x in limits if x.withdrawn_at is None}
        ledger.prune(now)
        ends = {key: min(x.interval.end or now, x.withdrawn_at or x.interval.end or now) for key, x in kept.items()}
        kept = {key: x for key, x in kept.items() if ends[key] > now - timedelta(days=1)}
        held = {key: x for key, x in held.items() if x.interval.end is None or x.interval.end > now}
        for node in ("site-1", "site-2"):
            mine = [x for x in kept.values() if x.node == node]
            waiting = [(x.id, f"{x.authority} (not on disk yet)") for x in held.values() if x.node == node]
            assert ids(list(ledger.at_node(node))) == sorted([*ids(mine), *waiting])
        for authority in ("oscp:x", "lpc:y"):
            assert ids(ledger.of_authority(authority)[1]) == ids([x for x in kept.values() if x.authority == authority])
        assert set(ledger.by_node()) == {x.node for x in (*kept.values(), *held.values())}
