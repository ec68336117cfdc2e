"""Chargers that cannot keep an event: the VTN is told by EiOpt where that is agreed, once, and again when all is kept (O26, D of 2.0b)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.programs import OptSchedule
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.timegrid import Interval
from gateway.openadr.v20b.settings import ReportPoint, ShortfallWord
from tests.openadr.v20b import messages
from tests.openadr.v20b.bench import NS, Bench, virtually
from tests.openadr.virtual_life import AUTHORITY, START, TENANT

EVENT = "E&1"
SPAN = Interval(start=START, end=START + timedelta(hours=2))


def limit(cause: str = f"event:{AUTHORITY}:{EVENT}") -> Limit:
    return Limit(
        id="limit-1",
        tenant=TENANT,
        authority=AUTHORITY,
        node="site-01",
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.COMMITTED,
        max_kw=40.0,
        interval=SPAN,
        cause=cause,
        known_at=START,
    )


def shortfall(**changes: Any) -> ComplianceShortfall:
    fields: dict[str, Any] = {
        "id": "shortfall-7",
        "tenant": TENANT,
        "authority": AUTHORITY,
        "node": "site-01",
        "limit_ids": ("limit-1",),
        "blocks": (SPAN,),
        "limit_kw": 40.0,
        "expected_kw": 55.0,
        "charger_ids": ("ch-1",),
        "reason": "55.0 kW are expected against 40.0 kW: 1 chargers do not follow, 1 of them out of contact",
        "raised_at": START,
    }
    return ComplianceShortfall(**(fields | changes))


async def called(bench: Bench, *rows: object) -> None:
    told = messages.distribute_event(messages.event(EVENT, modification=3))
    await bench.play((5, lambda: bench.vtn.queue.append(told)), seconds=15)
    await bench.store.seed(TENANT, *rows)


def test_a_shortfall_is_told_once_for_its_resource_and_withdrawn_when_it_is_over() -> None:
    async def scenario(bench: Bench) -> None:
        await called(bench, limit(), shortfall())
        await bench.run(seconds=25)
        assert len(bench.vtn.all("CreateOpt")) == 1
        await bench.store.seed(TENANT, shortfall(expected_kw=70.0))
        await bench.run(seconds=45)
        assert len(bench.vtn.all("CreateOpt")) == 1, "the same shortfall is told once, also after a restart"
        assert not bench.vtn.all("CancelOpt")
        over = replace(shortfall(), is_open=False, settled_at=bench.clock.now())
        await bench.store.seed(TENANT, over)
        await bench.run(seconds=25)
        await bench.run(seconds=25)

    point = ReportPoint(r_id="depot-power", node="site-01", resource_id="Depot <1>")
    bench = virtually(scenario, on_shortfall=ShortfallWord.OPT_OUT, own_nodes=("vpp",), report_points=(point,))
    (said,) = bench.vtn.all("CreateOpt")
    assert said.root.xpath("string(//ei:qualifiedEventID/ei:eventID)", namespaces=NS) == EVENT
    assert (said.text("//ei:modificationNumber"), said.text("//ei:optType")) == ("3", "optOut")
    assert said.text("//ei:optReason") == "notParticipating"
    assert said.texts("//ei:eiTarget/ei:resourceID") == ["Depot <1>"]
    (gone,) = bench.vtn.all("CancelOpt")
    assert gone.text("//ei:optID") == said.text("//ei:optID") == "shortfall-shortfall-7"
    [event] = bench.store.all(GridEvent, TENANT)
    assert event.opt is OptType.OPT_IN, "what we try goes on"


def test_a_shortfall_of_the_whole_ven_names_the_ven() -> None:
    async def scenario(bench: Bench) -> None:
        await called(bench, limit(), shortfall())
        await bench.run(seconds=25)

    (said,) = virtually(scenario, on_shortfall=ShortfallWord.OPT_OUT, own_nodes=("site-01",)).vtn.all("CreateOpt")
    assert said.texts("//ei:eiTarget/ei:venID") == ["ven-1"]


@pytest.mark.parametrize(
    ("rows", "settings"),
    [
        ([limit(), shortfall()], {}),
        ([limit(), shortfall(authority="vtn:other")], {"on_shortfall": ShortfallWord.OPT_OUT}),
        ([limit(cause="manual:olga"), shortfall()], {"on_shortfall": ShortfallWord.OPT_OUT}),
        ([shortfall()], {"on_shortfall": ShortfallWord.OPT_OUT}),
        ([limit(cause=f"event:{AUTHORITY}:gone"), shortfall()], {"on_shortfall": ShortfallWord.OPT_OUT}),
    ],
    ids=["not-agreed", "of-another", "of-no-event", "unknown-limit", "unknown-event"],
)
def test_nothing_is_said_of_what_is_not_the_vtns_business(rows: list[object], settings: dict[str, Any]) -> None:
    async def scenario(bench: Bench) -> None:
        await called(bench, *rows)
        await bench.run(seconds=25)

    bench = virtually(scenario, **settings)
    assert not bench.vtn.all("CreateOpt")
    assert not bench.store.all(OptSchedule, TENANT)


def test_an_event_that_is_over_is_not_opted_out_of() -> None:
    async def scenario(bench: Bench) -> None:
        await called(bench, limit())
        bench.vtn.queue.append(messages.distribute_event(messages.event(EVENT, modification=4, status="cancelled")))
        await bench.run(seconds=25)
        await bench.store.seed(TENANT, shortfall())
        await bench.run(seconds=25)

    assert not virtually(scenario, on_shortfall=ShortfallWord.OPT_OUT).vtn.all("CreateOpt")
