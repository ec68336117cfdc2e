"""The first lines of the operator's page: one per portfolio, every charger counted once, nobody counted as well who is not known to be."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.identity import system_principal
from gateway.domain.limits import resolve
from gateway.domain.topology import Node, NodeKind
from gateway.ports import StatedLimits
from gateway.web import operator_folds
from gateway.web.local_time import local_text
from gateway.web.operator_folds import NodeFolds, Ordered
from gateway.web.operator_following import Following, PortfolioLine, following_of, worst_first
from tests.fakes.wired import PORTFOLIO, TENANT, Wired
from tests.services.scene import tree
from tests.web.conftest import HTML, Browser
from tests.web.test_operator import DSO, GRID, say, stated

NODE = next(row for row in tree() if isinstance(row, Node))
START = datetime(2025, 10, 25, 22, tzinfo=UTC)
NONE = Following(following=0, troubled=0, uncommandable=0, unknown=0)


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        (NONE, "no chargers"),
        (replace(NONE, following=1), "its charger follows"),
        (replace(NONE, following=20), "all 20 chargers follow"),
        (replace(NONE, troubled=1), "0 of 1 charger follow, 1 does not follow"),
        (replace(NONE, following=3, uncommandable=2), "3 of 5 chargers follow, 2 cannot be commanded"),
        (
            Following(following=1, troubled=2, uncommandable=3, unknown=4),
            "1 of 10 chargers follows, 2 do not follow, 3 cannot be commanded, 4 are not known",
        ),
    ],
)
def test_all_follow_only_where_every_charger_was_measured_to(counted: Following, said: str) -> None:
    assert counted.text() == said


@given(st.lists(st.tuples(*[st.booleans()] * 4), max_size=12))
def test_every_charger_below_a_node_is_counted_once(rows: list[tuple[bool, bool, bool, bool]]) -> None:
    below, follows, troubled, commandable = np.array(rows, dtype=bool).reshape(-1, 4).T
    found = following_of(below, is_following=follows, is_troubled=troubled, is_commandable=commandable)
    assert found.count == int(below.sum())
    assert found.following == int((below & follows & ~troubled & commandable).sum())


def test_the_portfolio_that_needs_somebody_comes_first() -> None:
    resolution = resolve(NODE, [], START)

    def line(name: str, power_kw: float | None, following: Following) -> PortfolioLine:
        node = replace(NODE, id=name)
        return PortfolioLine(node=node, resolution=resolution, power_kw=power_kw, following=following)

    fine = replace(NONE, following=3)
    lines = [
        line("calm", 1.0, fine),
        line("tight", resolution.kw - 1.0, fine),
        line("disobeyed", 1.0, replace(fine, troubled=1)),
        line("silent", None, fine),
        line("over", resolution.kw + 1.0, fine),
        line("cut-off", 1.0, replace(fine, uncommandable=2)),
    ]
    names = [one.node.id for one in worst_first(lines)]
    assert names == ["silent", "over", "disobeyed", "cut-off", "tight", "calm"]
    assert worst_first(lines)[0].text() == f"{resolution.why()}; power unknown; all 3 chargers follow"


async def test_each_portfolio_has_a_line_of_its_own_and_the_rest_is_counted(house: Wired, browser: Browser) -> None:
    extra = [
        Node(
            id=f"vpp-{i}",
            tenant=TENANT,
            parent=None,
            kind=NodeKind.PORTFOLIO,
            name=f"vpp-{i}",
            max_import_kw=100.0 + i,
            fail_safe_import_kw=10.0,
        )
        for i in range(4)
    ]
    await house.scene.store.seed(TENANT, *extra)
    await house.services.fleet.reload(TENANT)
    await house.services.signals.state_limits(
        GRID, StatedLimits(authority=DSO, raw=None, limits=(stated(house, "l1", 60.0, (-5, 60), node="vpp-2"),))
    )
    await browser.login("olga")
    text = (await browser.get("/operator", **HTML)).text
    for node in extra:
        assert text.count(f"kW at {node.id} by ") == 1, "nobody's line stands for another"
    assert f"60.0 kW at vpp-2 by order of {DSO}" in text
    assert f"kW at {PORTFOLIO} by its rating" in text
    assert "and 2 more portfolios" in text
    assert "<h1>5 portfolios</h1>" in text


async def test_chargers_nobody_can_command_or_measured_do_not_follow(house: Wired, browser: Browser) -> None:
    await browser.login("olga")
    text = (await browser.get("/operator", **HTML)).text
    count = len(house.services.fleet.view(TENANT).max_kw)
    assert f"0 of {count} chargers follow, {count} cannot be commanded" in text
    principal = replace(system_principal(TENANT, "csms"), csms="csms-demo")
    link = await house.services.dispatcher.connect(principal, house.chargers, "")
    text = (await browser.get("/operator", **HTML)).text
    assert f"0 of {count} chargers follow, {count - 3} cannot be commanded, 3 are not known" in text
    link.reach(np.array([1], dtype=np.int32), is_reachable=False)
    text = (await browser.get("/operator", **HTML)).text
    assert f"{count - 2} cannot be commanded, 2 are not known" in text


async def test_a_node_says_its_longest_lease_and_who_is_out_of_reach_since_when(house: Wired, browser: Browser) -> None:
    await browser.login("olga")
    page = await browser.get("/operator/ahead?node=site-01", **HTML)
    assert "our start, " in page.text
    clock = house.scene.clock
    principal = replace(system_principal(TENANT, "csms"), csms="csms-demo")
    view = house.services.fleet.view(TENANT)
    below = [view.tree.charger_ids[i] for i in np.flatnonzero(view.tree.below("site-01")).tolist()]
    link = await house.services.dispatcher.connect(principal, below, "", lease=timedelta(seconds=900))
    page = await browser.get("/operator/ahead?node=site-01", **HTML)
    assert "<dd>900 s, csms-demo</dd>" in page.text
    assert f"<dd>{len(below)} of {len(below)}</dd>" in page.text
    assert 'data-testid="away"' not in page.text
    clock.move(minutes=5)
    unreachable_at = local_text(clock.now(), ZoneInfo("Europe/Brussels"), "%d %b %H:%M:%S")
    link.reach(np.array([1], dtype=np.int32), is_reachable=False)
    clock.move(minutes=5)
    link.reach(np.array([1], dtype=np.int32), is_reachable=False)
    page = await browser.get("/operator/ahead?node=site-01", **HTML)
    assert f"<td>1</td><td>{unreachable_at}</td>" in page.text, "since it was first out of reach"
    clock.move(minutes=5)
    gone_at = local_text(clock.now(), ZoneInfo("Europe/Brussels"), "%d %b %H:%M:%S")
    link.close()
    page = await browser.get("/operator/ahead?node=site-01", **HTML)
    assert f"<td>{len(below)}</td><td>{gone_at}</td>" in page.text
    assert "<dd>900 s, csms-demo</dd>" in page.text, "so long its chargers still hold what they were told"


@pytest.mark.parametrize(
    ("instant", "said"),
    [
        (datetime(2025, 10, 26, 0, 30, tzinfo=UTC), "26 Oct 02:30 CEST"),
        (datetime(2025, 10, 26, 1, 30, tzinfo=UTC), "26 Oct 02:30 CET"),
        (datetime(2025, 10, 26, 2, 30, tzinfo=UTC), "26 Oct 03:30"),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "29 Mar 03:00"),
    ],
)
def test_the_hour_that_comes_twice_says_which_it_is(instant: datetime, said: str) -> None:
    assert local_text(instant, ZoneInfo("Europe/Brussels")) == said


async def test_what_binds_is_folded_again_only_where_something_changed(
    house: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[str] = []

    def counting(node: Node, *args: object, **more: object) -> object:
        folded.append(node.id)
        return resolve(node, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(operator_folds, "resolve", counting)
    await say(house, stated(house, "l1", 90.0, (-5, 60)), stated(house, "l2", 50.0, (30, 60), node="site-01"))
    nodes = list(house.services.fleet.view(TENANT).nodes.values())
    folds, clock = NodeFolds(), house.scene.clock

    async def look() -> dict[str, float]:
        folded.clear()
        signals = house.services.signals
        limits = dict(signals.limits_by_node(TENANT))
        lost, steady = signals.lost_nodes(TENANT), signals.steady_nodes(TENANT)
        ordered = Ordered(limits=limits, lost=lost, steady=steady, now=clock.now())
        found = await folds.resolutions(TENANT, nodes, ordered)
        fresh = [
            resolve(
                n,
                limits.get(n.id, ()),
                clock.now(),
                lost=lost.get(n.id, frozenset()),
                steady=steady.get(n.id, frozenset()),
            )
            for n in nodes
        ]
        assert [(r.kw, r.authority, r.until) for r in found] == [(r.kw, r.authority, r.until) for r in fresh]
        return {r.node: r.kw for r in found}

    await look()
    assert len(folded) == len(nodes)
    await look()
    assert folded == []
    clock.move(minutes=31)
    values = await look()
    assert (folded, values["site-01"]) == (["site-01"], 50.0)
    await say(house, stated(house, "l3", 40.0, (-5, 60), node="site-01"))
    assert (await look())["site-01"] == 40.0
    assert folded == ["site-01"]
    await house.services.signals.contact(GRID, DSO, is_lost=True)
    await look()
    assert sorted(folded) == sorted([PORTFOLIO, "site-01"]), "who is lost counts at the nodes in its hands"
    folds.forget(TENANT, {})
    await look()
    assert len(folded) == len(nodes)


async def test_other_work_has_its_turn_while_thousands_of_limits_are_folded() -> None:
    limit = replace(NODE, id="n")
    nodes = [replace(limit, id=f"n{i}") for i in range(2_000)]
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(other())
        ordered = Ordered(limits={}, lost={}, steady={}, now=START)
        await NodeFolds().resolutions(TENANT, nodes, ordered)
        beside.cancel()
    assert turns >= 3
