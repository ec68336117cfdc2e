"""The pieces of the overload bench: what its programs are told, what its numbers mean, and which of them must hold."""

import asyncio
import itertools
import math
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from gateway.demo.configuration import MARKETS
from gateway.demo.folder import RunFolder
from gateway.domain.inventory import parse_inventory
from scripts import overload_stage
from scripts.benches import overload
from scripts.benches.overload import BESIDE, SLOW, Seen, goals_of, row_of
from scripts.openadr_stage import Arrivals
from scripts.overload_stage import CALM, CHARGERS, NODES, Counts, Stage, block_of, inventory_of, overload_tables


class Place:
    """A stage whose gateway allows at once what it is told, after a moment for a message that changes nothing."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.done = Counts()
        self.told: list[float] = []
        self.clock = itertools.count(1.0)
        self.page, self.callbacks = "http://127.0.0.1:1", 2
        self.served = type("Served", (), {"pid": 0})()
        self.arrivals.take(0.5, {f"{NODES[CALM]}-001": 440.0})

    async def reduce(self, kw: float) -> float:
        said_at = next(self.clock)
        self.told.append(kw)
        self.arrivals.take(said_at + 0.1, {f"{NODES[CALM]}-001": kw + 0.5})
        self.arrivals.take(said_at + 0.25, {f"{NODES[CALM]}-001": kw - 0.5})
        return said_at

    async def lag_s(self) -> float:
        return 0.02

    async def answer_ms(self, url: str) -> float:
        await asyncio.sleep(0)
        return 3.0 if url.endswith("/login") else 2.0


def test_the_inventory_has_the_site_that_is_reduced_and_a_group_for_each_provider() -> None:
    found = parse_inventory(inventory_of(MARKETS["be"].inventory))
    assert sum(charger.parent == NODES[CALM] for charger in found.chargers) == CHARGERS
    assert {group.node for group in found.capacity_groups} == set(NODES.values())


def test_the_gateway_is_told_of_the_storm_and_the_providers_and_secrets_stay_in_files(tmp_path: Path) -> None:
    tokens = {name: f"secret-{name}" for name in NODES}
    tables = overload_tables(RunFolder(path=tmp_path), {"web": {"port": 1234}}, {"url": "http://127.0.0.1:1"}, tokens)
    assert [entry["name"] for entry in tables["oscp"]] == list(NODES)
    assert tables["oscp_door"]["public_url"] == "http://127.0.0.1:1234/oscp"
    assert not any(token in str(tables) for token in tokens.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_the_form_of_the_page_is_found_with_its_hidden_fields() -> None:
    page = """<form action="/logout"><input name="csrf" value="other"></form>
    <form method="post" action="/market/2025-10-14/sources"><input type="hidden" name="csrf" value="a"><input name="zone" value="BE">
    </form>"""
    assert overload_stage._form(page, "/sources") == {"csrf": "a", "zone": "BE"}
    with pytest.raises(ValueError, match="no form"):
        overload_stage._form(page, "/none")


def test_a_block_says_power_of_all_phases() -> None:
    assert block_of(5.0, "a", "b") == {
        "capacity": 5.0,
        "phase": "ALL",
        "unit": "KW",
        "start_time": "a",
        "end_time": "b",
    }


async def test_a_reduction_counts_until_no_more_than_ordered_is_allowed_and_is_always_lower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overload, "PAUSE_S", 0.0)
    monkeypatch.setattr(overload, "cpu_s", lambda _pid: 0.0)
    place = Place()
    row = await overload.beside(cast("Stage", cast("Any", place)), "nothing", 3, Random(1))
    assert row["reductions"] == 3
    assert row["worst_s"] == pytest.approx(0.25)
    assert place.told == sorted(place.told, reverse=True)
    assert len(set(place.told)) == 4
    assert place.told[0] == overload.HIGHEST_KW
    assert row["refused"] == 0


def test_the_first_reduction_and_what_was_before_the_first_look_do_not_count() -> None:
    row = row_of("nothing", Seen(reductions_s=[9.0, 0.1, 0.2, 0.3], pages_ms=[1.0, 2.0], lags_s=[5.0, 0.01, 0.04]))
    assert (row["p50_s"], row["p99_s"], row["worst_s"], row["lag_ms"]) == (0.2, 0.3, 0.3, 40.0)
    assert row["page_p99_ms"] == 2.0
    assert math.isnan(cast("float", row["callback_p99_ms"]))


def test_every_row_has_its_goals_and_other_callers_theirs_beside_slow_sockets() -> None:
    seen = Seen(reductions_s=[0.1, 0.2], pages_ms=[5.0], callbacks_ms=[101.0], lags_s=[0.0, 0.04])
    rows = [row_of(name, seen) | {"refused": 0} for name in BESIDE]
    goals = goals_of(rows)
    assert len(goals) == 3 * len(BESIDE) + 2
    assert [goal["goal"] for goal in goals if not goal["met"]] == [f"another caller's callback, p99, ms, beside {SLOW}"]
    assert not goals_of([rows[0] | {"refused": 1}])[2]["met"]
