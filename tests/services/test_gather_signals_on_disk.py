"""The desk on a database: what was switched, withdrawn, priced and asked is there after a restart."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries
from gateway.domain.signals import GridEvent, OptType
from gateway.ports import Batch, Put
from gateway.services.decide_opt import OptMode, OptRules
from gateway.services.gather_signals import OPT_TOPIC, ProgramRules
from gateway.storage.store import SqlStore
from tests.fakes.clock import START
from tests.fakes.consents import consent
from tests.services.scene import GRID, OPERATOR, TENANT, VTN, Scene, event, message, tree

CONTEXT = "http://grid-demo.example/dr"
PRICES = "http://prices.example"


async def test_everything_agreed_and_decided_survives_a_restart(tmp_path: Path) -> None:
    scene = Scene(
        programs={f"{VTN}:{CONTEXT}": ProgramRules(requires_enrolment=True)},
        opt_rules={VTN: OptRules(mode=OptMode.ASK)},
    )
    consents = [
        consent(START - timedelta(days=2), node, tenant=TENANT, authority=VTN, program=CONTEXT)
        for node in ("site-1", "site-2")
    ]
    async with SqlStore.open(f"sqlite:///{tmp_path / 'rows.sqlite'}", scene.clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=tuple(Put(record=row) for row in (*tree(), *consents))))
        scene.go_to(store)
        await scene.load()
        price = replace(event("price", instruction="price", max_kw=90.0), market_context=PRICES)
        price = replace(price, intervals=(replace(price.intervals[0], currency="EUR"),))
        one = event("one", nodes=("site-1", "site-2"), max_kw=20.0)
        await scene.services.signals.receive(GRID, message(one, price))
        desk = scene.services.programs
        await desk.withdraw_enrolment(OPERATOR, enrolment_id="consent-site-1", reason="ended", request_id="w")
        await desk.set_dry_run(
            OPERATOR, authority=VTN, program="http://new.example", is_dry_run=True, reason="new", request_id="d"
        )
        await scene.restart(keeps_stream=False)
        limits = scene.services.signals.limits_by_node(TENANT)
        inside = START + timedelta(minutes=15)
        assert not [limit for limit in limits.get("site-1", ()) if limit.covers(inside)]
        assert [limit.max_kw for limit in limits["site-2"] if limit.covers(inside)] == [20.0]
        desk = scene.services.programs
        assert [consent.withdrawn_at for consent in await desk.enrolments(OPERATOR)] == [START, None]
        assert {view.program for view in await desk.programs(OPERATOR) if view.is_dry_run} == {"http://new.example"}
        scene.clock.move(minutes=15)
        await scene.services.signals.keep_up(TENANT)
        row = await store.get(GridEvent, TENANT, f"{VTN}:one")
        assert row is not None
        assert (row.record.nodes, row.record.opt, row.record.opt_deadline) == (("site-2",), OptType.OPT_IN, None)
        assert row.record.opt_reason.endswith("nobody decided otherwise until 2025-10-15 08:10Z")
        [status] = await store.find(MarketDayStatus, TENANT, {"zone": VTN})
        assert (status.record.product, status.record.missing_count) == (PriceProduct.PROGRAM_TARIFF, 93)
        assert status.record.series_id is not None
        assert await store.get(PriceSeries, TENANT, status.record.series_id) is not None
        assert await store.due_outbox(OPT_TOPIC, scene.clock.now()) == [], (
            "the answer is still optIn for the other node"
        )
