"""Every service over a real connection: translation both ways, pages, tenants, streams that resume."""

import asyncio
import dataclasses
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.domain.exchange_rates import ExchangeRate
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Limit
from gateway.domain.series import PriceSeries, Quality, SlotRun
from gateway.domain.sessions import Session
from gateway.rpc import convert
from gateway.v1 import (
    bidding_service_pb2,
    evidence_service_pb2,
    fleet_service_pb2,
    market_data_service_pb2,
    signals_service_pb2,
    types_pb2,
)
from tests.fakes.wired import OTHER, PORTFOLIO, TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import Refusal, refusal
from tests.services.scene import event

WAIT = 5.0


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal(caught.value)


def stamp(house: Wired, **after: float) -> Timestamp:
    return convert.timestamp(house.scene.clock.now() + timedelta(**after))


def limit_request(house: Wired, **changes: Any) -> signals_service_pb2.SetManualLimitRequest:
    fields: dict[str, Any] = {
        "node_id": "site-01",
        "max_power_kw": 40.0,
        "expire_time": stamp(house, minutes=30),
        "reason": "works on the cable",
        "request_id": "limit-1",
    }
    return signals_service_pb2.SetManualLimitRequest(
        **{name: value for name, value in (fields | changes).items() if value is not None}
    )


def session_of(house: Wired, n: int = 1, **changes: Any) -> fleet_service_pb2.Session:
    fields: dict[str, Any] = {
        "id": f"car-{n}",
        "charger_id": f"site-01/ev{n:03d}",
        "arrival_time": stamp(house, minutes=-10),
        "max_power_kw": 11.0,
        "phase_count": 3,
    }
    return fleet_service_pb2.Session(**(fields | changes))


# ------------------------------------------------------------ limits


@pytest.mark.parametrize("max_kw", [0.0, 40.0])
async def test_a_manual_limit_binds_until_it_is_withdrawn(house: Wired, call: Caller, max_kw: float) -> None:
    resolve = signals_service_pb2.ResolveLimitRequest(node_id="site-01")
    async with call("olga") as gateway:
        request = limit_request(house, max_power_kw=max_kw)
        limit = (await gateway.signals.SetManualLimit(request, timeout=WAIT)).limit
        again = (await gateway.signals.SetManualLimit(request, timeout=WAIT)).limit
        assert again.id == limit.id
        assert (limit.authority, limit.max_power_kw) == ("manual:olga", max_kw)
        resolution = (await gateway.signals.ResolveLimit(resolve)).resolution
        assert (resolution.power_kw, resolution.binding.id) == (max_kw, limit.id)
        assert "works on the cable" in resolution.why
        listed = await gateway.signals.ListLimits(signals_service_pb2.ListLimitsRequest(node_id="site-01"))
        assert [one.id for one in listed.limits] == [limit.id]
        withdraw = signals_service_pb2.WithdrawManualLimitRequest(limit_id=limit.id, reason="done", request_id="w")
        gone = (await gateway.signals.WithdrawManualLimit(withdraw, timeout=WAIT)).limit
        assert gone.HasField("withdraw_time")
        resolution = (await gateway.signals.ResolveLimit(resolve)).resolution
        assert (resolution.power_kw, resolution.authority) == (130.0, "rating")
    assert len(house.scene.store.all(Limit, TENANT)) == 1


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("max_power_kw", {"max_power_kw": None}),
        ("max_power_kw", {"max_power_kw": float("nan")}),
        ("max_power_kw", {"max_power_kw": -1.0}),
        ("max_power_kw", {"max_power_kw": 1e308}),
        ("expire_time", {"expire_time": None}),
        ("expire_time", {"expire_time": Timestamp(seconds=10**14)}),
        ("expire_time", {"expire_time": Timestamp(seconds=1)}),
        ("reason", {"reason": ""}),
        ("reason", {"reason": "x" * 1001}),
        ("request_id", {"request_id": ""}),
        ("node_id", {"node_id": ""}),
    ],
)
async def test_a_wrong_limit_is_refused_by_the_field_and_nothing_is_kept(
    house: Wired, call: Caller, field: str, changes: dict[str, Any]
) -> None:
    async with call("olga") as gateway:
        seen = await refused(gateway.signals.SetManualLimit(limit_request(house, **changes), timeout=WAIT))
    assert (seen.code, seen.reason, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT", field)
    assert not house.scene.store.all(Limit, TENANT)


async def test_a_request_id_with_other_content_is_refused(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        await gateway.signals.SetManualLimit(limit_request(house), timeout=WAIT)
        seen = await refused(gateway.signals.SetManualLimit(limit_request(house, max_power_kw=1.0), timeout=WAIT))
    assert (seen.code, seen.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_a_store_that_is_down_is_unavailable_with_a_time_to_retry(house: Wired, call: Caller) -> None:
    house.scene.store.is_down = True
    async with call("csms") as gateway:
        request = fleet_service_pb2.ReportSessionsRequest(request_id="r", sessions=[session_of(house)])
        seen = await refused(gateway.fleet.ReportSessions(request, timeout=WAIT))
    assert (seen.code, seen.reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert "RetryInfo" in seen.details
    assert "disk" in seen.text


# ------------------------------------------------------------ tenants


async def test_what_another_tenant_has_is_not_there(house: Wired, call: Caller) -> None:
    bid = await house.scene.drafted()
    async with call("olga") as ours:
        limit = (await ours.signals.SetManualLimit(limit_request(house), timeout=WAIT)).limit
    await house.scene.store.seed(TENANT, event("e1", tenant=TENANT))
    sign = {"bid_id": bid.id, "content_hash": bid.content_hash, "request_id": "x"}
    async with call("olga", OTHER) as operator, call("bo", OTHER) as trader:
        tries = [
            trader.bidding.GetBid(bidding_service_pb2.GetBidRequest(bid_id=bid.id)),
            trader.bidding.ProposeBid(bidding_service_pb2.ProposeBidRequest(**sign), timeout=WAIT),
            trader.bidding.ApproveBid(bidding_service_pb2.ApproveBidRequest(**sign), timeout=WAIT),
            trader.bidding.WithdrawBid(
                bidding_service_pb2.WithdrawBidRequest(bid_id=bid.id, reason="x", request_id="y"), timeout=WAIT
            ),
            operator.signals.WithdrawManualLimit(
                signals_service_pb2.WithdrawManualLimitRequest(limit_id=limit.id, reason="x", request_id="z"),
                timeout=WAIT,
            ),
            operator.signals.ListLimits(signals_service_pb2.ListLimitsRequest(node_id="site-01")),
            operator.signals.ResolveLimit(signals_service_pb2.ResolveLimitRequest(node_id="site-01")),
            operator.signals.DecideOpt(
                signals_service_pb2.DecideOptRequest(
                    event_id="vtn:grid:e1", opt=signals_service_pb2.OPT_OUT, reason="no", request_id="o"
                ),
                timeout=WAIT,
            ),
            operator.evidence.GetTrace(evidence_service_pb2.GetTraceRequest(kind="bid", id=bid.id)),
            operator.evidence.GetEventPerformance(
                evidence_service_pb2.GetEventPerformanceRequest(event_id="vtn:grid:e1")
            ),
        ]
        for attempt in tries:
            seen = await refused(attempt)
            assert (seen.code, seen.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND"), seen
        assert not (await trader.bidding.ListBids(bidding_service_pb2.ListBidsRequest())).bids
        assert not (await operator.signals.ListEvents(signals_service_pb2.ListEventsRequest())).events
        assert not (await operator.fleet.ListChargers(fleet_service_pb2.ListChargersRequest())).chargers
    assert (await house.scene.bid(bid.id)).proposed_by is None


# ------------------------------------------------------------ fleet


async def test_pages_cover_all_chargers_once(call: Caller) -> None:
    seen: list[str] = []
    token = ""
    async with call("csms") as gateway:
        while True:
            page = types_pb2.PageRequest(page_size=25, page_token=token)
            answer = await gateway.fleet.ListChargers(fleet_service_pb2.ListChargersRequest(page=page))
            seen += [charger.id for charger in answer.chargers]
            token = answer.next_page_token
            if not token:
                break
        assert len(seen) == len(set(seen)) == 60
        for page, field in (
            (types_pb2.PageRequest(page_size=-1), "page.page_size"),
            (types_pb2.PageRequest(page_token="!"), "page.page_token"),
        ):
            bad = await refused(gateway.fleet.ListChargers(fleet_service_pb2.ListChargersRequest(page=page)))
            assert bad.field == field


async def test_the_tree_comes_parents_first(call: Caller) -> None:
    async with call("olga") as gateway:
        nodes = (await gateway.fleet.ListNodes(fleet_service_pb2.ListNodesRequest())).nodes
        points = await gateway.fleet.ListConnectionPoints(fleet_service_pb2.ListConnectionPointsRequest())
    place = {node.id: i for i, node in enumerate(nodes)}
    assert all(not node.parent_id or place[node.parent_id] < place[node.id] for node in nodes)
    assert [point.site_id for point in points.connection_points] == ["site-01", "site-02", "site-03"]


async def test_sessions_are_kept_all_or_none_once(house: Wired, call: Caller) -> None:
    before = len(house.scene.store.all(Session, TENANT))
    request = fleet_service_pb2.ReportSessionsRequest(request_id="r1", sessions=[session_of(house, n) for n in (1, 2)])
    async with call("csms") as gateway:
        for _ in range(2):
            assert (await gateway.fleet.ReportSessions(request, timeout=WAIT)).accepted_count == 2
    assert len(house.scene.store.all(Session, TENANT)) == before + 2


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("max_power_kw", {"max_power_kw": -1.0}),
        ("max_power_kw", {"max_power_kw": float("nan")}),
        ("phase_count", {"phase_count": 2}),
        ("energy_needed_kwh", {"energy_needed_kwh": -0.1}),
        ("delivered_energy_kwh", {"delivered_energy_kwh": float("inf")}),
        ("departure_time", {"departure_time": Timestamp(seconds=1)}),
        ("arrival_time", {"arrival_time": Timestamp(seconds=-(10**14))}),
        ("id", {"id": ""}),
        ("charger_id", {"charger_id": "of-nobody"}),
    ],
)
async def test_a_wrong_session_is_named_by_place_and_field(
    house: Wired, call: Caller, field: str, changes: dict[str, Any]
) -> None:
    before = len(house.scene.store.all(Session, TENANT))
    sessions = [*(session_of(house, n) for n in (1, 2, 3)), session_of(house, 4, **changes)]
    request = fleet_service_pb2.ReportSessionsRequest(request_id="r", sessions=sessions)
    async with call("csms") as gateway:
        seen = await refused(gateway.fleet.ReportSessions(request, timeout=WAIT))
    assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, f"sessions[3].{field}")
    assert len(house.scene.store.all(Session, TENANT)) == before


def telemetry(house: Wired, sequence: int, **changes: Any) -> fleet_service_pb2.StreamTelemetryRequest:
    fields: dict[str, Any] = {
        "sequence": sequence,
        "measure_time": stamp(house),
        "power_kw": [7.0, 0.0, 3.5],
        "energy_register_kwh": [10.0, 20.0, 30.0],
    }
    return fleet_service_pb2.StreamTelemetryRequest(**(fields | changes))


async def test_telemetry_is_taken_in_and_each_batch_acknowledged_once(house: Wired, call: Caller) -> None:
    async with call("csms") as gateway:
        stream = gateway.fleet.StreamTelemetry()
        await stream.write(telemetry(house, 1, charger_ids=house.chargers))
        assert (await stream.read()).acknowledged_sequence == 1
        house.scene.clock.move(seconds=10)
        later = telemetry(house, 2, charger_index=[2], power_kw=[9.0], energy_register_kwh=[31.0])
        for message in (later, telemetry(house, 1), later):
            await stream.write(message)
            assert (await stream.read()).acknowledged_sequence == 2
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
    view = house.services.fleet.view(TENANT)
    at = [view.tree.charger_ids.index(charger) for charger in house.chargers]
    assert view.power_kw[at].tolist() == [7.0, 0.0, 9.0]


async def test_phases_and_charge_are_taken_in_and_the_state_of_chargers_is_shown_with_what_is_wrong(
    house: Wired, call: Caller
) -> None:
    async with call("csms") as gateway:
        stream = gateway.fleet.StreamTelemetry()
        phases = {
            "phase_current_a": [30.4, 0.0, 0.0, *(float("nan"),) * 6],
            "phase_voltage_v": [231.0, *(float("nan"),) * 2, 500.0, *(float("nan"),) * 5],
            "state_of_charge": [float("nan"), 0.5, float("nan")],
        }
        await stream.write(telemetry(house, 1, charger_ids=house.chargers, **phases))
        assert (await stream.read()).acknowledged_sequence == 1
        everything = (await gateway.fleet.ListChargerStates(fleet_service_pb2.ListChargerStatesRequest())).states
        wrong = (
            await gateway.fleet.ListChargerStates(fleet_service_pb2.ListChargerStatesRequest(flagged_only=True))
        ).states
    state = {one.charger_id: one for one in everything}
    assert len(state) == len(everything)
    first, second, third = (state[charger] for charger in house.chargers)
    assert (first.power_kw, len(first.phase_power_kw), list(first.flags)) == (7.0, 3, [])
    assert first.voltage_v == pytest.approx(231.0)
    assert second.state_of_charge == pytest.approx(0.5)
    assert list(second.flags) == [fleet_service_pb2.DATA_FLAG_VOLTAGE_IMPLAUSIBLE]
    assert not third.HasField("state_of_charge")
    unknown = [one for one in wrong if list(one.flags) == [fleet_service_pb2.DATA_FLAG_UNKNOWN]]
    assert {one.charger_id for one in wrong} == {second.charger_id, *(one.charger_id for one in unknown)}
    assert all(not one.HasField("power_kw") and not one.phase_power_kw for one in unknown)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("phase_current_a", {"phase_current_a": [1.0, 2.0]}),
        ("phase_voltage_v", {"phase_voltage_v": [230.0, 230.0, 230.0]}),
        ("state_of_charge", {"state_of_charge": [0.5, 1.5, 0.5]}),
        ("charger_ids", {"charger_ids": []}),
        ("charger_ids[0]", {"charger_ids": ["of-nobody", "site-01/ev001", "site-01/ev002"]}),
        ("charger_index", {"charger_index": [0, 1, 3]}),
        ("charger_index", {"charger_index": [-1, 1, 2]}),
        ("power_kw", {"power_kw": [1.0]}),
        ("power_kw", {"power_kw": [1.0, float("nan"), 1.0]}),
        ("energy_register_kwh", {"energy_register_kwh": [1.0, 2.0, float("inf")]}),
        ("meter_register_kwh", {"meter_register_kwh": [1.0]}),
        ("measure_time", {"measure_time": Timestamp(seconds=10**11)}),
    ],
)
async def test_wrong_telemetry_ends_the_stream_and_names_the_column(
    house: Wired, call: Caller, field: str, changes: dict[str, Any]
) -> None:
    async with call("csms") as gateway:
        stream = gateway.fleet.StreamTelemetry()
        await stream.write(telemetry(house, 1, **({"charger_ids": house.chargers} | changes)))
        seen = await refused(stream.read())
    assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


# ------------------------------------------------------------ bids


async def test_a_bid_goes_to_the_market_through_two_people(house: Wired, call: Caller) -> None:
    plan = bidding_service_pb2.PlanBidRequest(portfolio_id=PORTFOLIO, delivery_day=house.scene.iso, request_id="p")
    async with call("bo") as both, call("ann") as approver:
        bid = (await both.bidding.PlanBid(plan, timeout=WAIT * 3)).bid
        assert (bid.state, len(bid.periods)) == (bidding_service_pb2.BID_STATE_VALIDATED, 96)
        sign = {"bid_id": bid.id, "content_hash": bid.content_hash}
        propose = bidding_service_pb2.ProposeBidRequest(**sign, request_id="1")
        assert (await both.bidding.ProposeBid(propose, timeout=WAIT)).bid.proposed_by == "bo"
        approve = bidding_service_pb2.ApproveBidRequest(**sign, request_id="2")
        seen = await refused(both.bidding.ApproveBid(approve, timeout=WAIT))
        assert (seen.code, seen.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "SELF_APPROVAL")
        assert "PreconditionFailure" in seen.details
        other = bidding_service_pb2.ApproveBidRequest(bid_id=bid.id, content_hash="0" * 64, request_id="3")
        assert (await refused(approver.bidding.ApproveBid(other, timeout=WAIT))).reason == "CONTENT_CHANGED"
        approved = (await approver.bidding.ApproveBid(approve, timeout=WAIT)).bid
        assert (approved.state, approved.approved_by) == (bidding_service_pb2.BID_STATE_APPROVED, "ann")
        await house.scene.submitter.step()
        house.scene.clock.set(house.scene.gate + timedelta(hours=1))
        for _ in range(2):
            await house.scene.submitter.step()
        day = {"delivery_day": house.scene.iso}
        award = await approver.bidding.GetAward(bidding_service_pb2.GetAwardRequest(portfolio_id=PORTFOLIO, **day))
        assert (award.bid_id, len(award.periods)) == (bid.id, 96)
        answer = await approver.bidding.ListNominations(bidding_service_pb2.ListNominationsRequest(**day))
        assert [len(one.volume_mw) for one in answer.nominations] == [96, 96, 96]
        assert not (await approver.bidding.ListResiduals(bidding_service_pb2.ListResidualsRequest(**day))).residuals
        trace = await approver.evidence.GetTrace(evidence_service_pb2.GetTraceRequest(kind="award", id=award.award_id))
        assert {"award", "order", "bid", "plan"} <= {step.kind for step in trace.steps}
        verdict = await approver.evidence.VerifyAudit(evidence_service_pb2.VerifyAuditRequest())
        assert verdict.is_intact
        assert verdict.entry_count > 4


async def test_prices_come_with_where_they_are_from(call: Caller) -> None:
    request = market_data_service_pb2.GetPricesRequest(
        zone="BE", product=market_data_service_pb2.PRICE_PRODUCT_DAY_AHEAD_SDAC, delivery_day="2025-10-14"
    )
    async with call("tara") as gateway:
        prices = await gateway.market_data.GetPrices(request)
        assert (len(prices.points), prices.currency_code, prices.source) == (96, "EUR", "scripted")
        assert prices.is_complete
        [run] = prices.runs
        assert (run.slot_count, run.native_resolution_minutes, run.source) == (96, 15, "scripted")
        assert not prices.conversion
        request.delivery_day = "2031-01-01"
        assert (await refused(gateway.market_data.GetPrices(request))).code is grpc.StatusCode.NOT_FOUND
        request.zone = "XX"
        assert (await refused(gateway.market_data.GetPrices(request))).code is grpc.StatusCode.NOT_FOUND
        request.zone, request.delivery_day = "BE", "14.10.2025"
        assert (await refused(gateway.market_data.GetPrices(request))).field == "delivery_day"
        request.product = market_data_service_pb2.PRICE_PRODUCT_UNSPECIFIED
        assert (await refused(gateway.market_data.GetPrices(request))).field == "product"


async def test_m5_m11_prices_tell_their_native_resolution_and_the_rate_they_were_converted_by(
    house: Wired, call: Caller
) -> None:
    request = market_data_service_pb2.GetPricesRequest(
        zone="BE",
        product=market_data_service_pb2.PRICE_PRODUCT_DAY_AHEAD_SDAC,
        delivery_day="2025-10-14",
        currency_code="GBP",
    )
    store = house.scene.store
    [row] = [one for one in await store.find(PriceSeries, TENANT) if "day-ahead-sdac:2025-10-14" in one.record.id]
    hourly = SlotRun(count=4, native_step=timedelta(hours=1), source="smard", quality=Quality.ESTIMATED)
    fine = SlotRun(count=92, native_step=timedelta(minutes=15), source="scripted", quality=Quality.FINAL)
    await store.seed(TENANT, dataclasses.replace(row.record, runs=(fine, hourly)))
    async with call("tara") as gateway:
        refusal = await refused(gateway.market_data.GetPrices(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXCHANGE_RATE_MISSING")
        stated = ExchangeRate(
            base="EUR",
            quote="GBP",
            rate=Decimal("0.5"),
            day=date(2025, 10, 14),
            source="ecb",
            fetched_at=house.scene.clock.now(),
        )
        await store.seed(TENANT, stated)
        prices = await gateway.market_data.GetPrices(request)
    assert prices.currency_code == "GBP"
    assert row.record.prices_per_mwh[0] is not None
    assert Decimal(prices.points[0].value) == row.record.prices_per_mwh[0] / 2
    [rate] = prices.conversion
    assert (rate.base_code, rate.quote_code, rate.rate, rate.day, rate.source) == (
        "EUR",
        "GBP",
        "0.5",
        "2025-10-14",
        "ecb",
    )
    told = [(run.slot_count, run.native_resolution_minutes, run.source, run.quality) for run in prices.runs]
    assert told == [
        (92, 15, "scripted", market_data_service_pb2.QUALITY_FINAL),
        (4, 60, "smard", market_data_service_pb2.QUALITY_ESTIMATED),
    ]


# ------------------------------------------------------------ streams that resume


async def test_bids_are_watched_from_a_snapshot_on_and_resumed_without_loss_or_repeat(
    house: Wired, call: Caller
) -> None:
    bid = await house.scene.drafted()
    seen: list[tuple[str, int]] = []
    async with call("tara") as gateway:
        watch = gateway.bidding.WatchBids(bidding_service_pb2.WatchBidsRequest())
        first = await watch.read()
        seen.append((first.bid.id, first.bid.state))
        watch.cancel()
        # Written while nobody watched, at the very same instant of the clock.
        await house.scene.reviewer.propose(_trader(), bid_id=bid.id, content_hash=bid.content_hash, request_id="p")
        watch = gateway.bidding.WatchBids(bidding_service_pb2.WatchBidsRequest(resume_token=first.resume_token))
        second = await watch.read()
        seen.append((second.bid.id, second.bid.state))
        house.scene.clock.move(seconds=1)
        await house.scene.reviewer.withdraw(_trader(), bid_id=bid.id, reason="no", request_id="w")
        third = await watch.read()
        seen.append((third.bid.id, third.bid.state))
        watch.cancel()
        watch = gateway.bidding.WatchBids(bidding_service_pb2.WatchBidsRequest(resume_token=third.resume_token))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.2)
    states = [bidding_service_pb2.BID_STATE_VALIDATED, bidding_service_pb2.BID_STATE_PROPOSED]
    assert seen == [(bid.id, state) for state in (*states, bidding_service_pb2.BID_STATE_WITHDRAWN)]


def _trader() -> Any:
    return Principal(tenant=TENANT, actor="tara", roles=frozenset({Role.TRADER}))


async def test_rows_of_one_instant_are_all_seen_whatever_their_ids(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        watch = gateway.signals.WatchSignals(signals_service_pb2.WatchSignalsRequest(node_id=PORTFOLIO))
        assert (await watch.read()).HasField("resolution")
        for name in ("m", "z", "a"):
            await house.scene.store.seed(TENANT, event(name, tenant=TENANT))
            assert (await watch.read()).event.event_id == name
        await house.scene.store.seed(TENANT, event("a", tenant=TENANT, modification=1))
        assert (await watch.read()).event.modification == 1
        await house.scene.store.seed(OTHER, event("theirs", tenant=OTHER))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watch.read(), 0.2)


async def test_what_binds_is_told_when_it_changes_by_order_and_by_time(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        watch = gateway.signals.WatchSignals(signals_service_pb2.WatchSignalsRequest(node_id="site-01"))
        assert (await watch.read()).resolution.authority == "rating"
        start = stamp(house, minutes=10)
        await gateway.signals.SetManualLimit(limit_request(house, start_time=start), timeout=WAIT)
        announced = (await watch.read()).resolution
        assert (announced.authority, announced.until_time) == ("rating", start)
        house.scene.clock.move(minutes=10)
        assert (await watch.read()).resolution.power_kw == 40.0
        house.scene.clock.move(minutes=20)
        assert (await watch.read()).resolution.authority == "rating"


async def test_an_old_or_foreign_token_says_what_to_do(house: Wired, call: Caller) -> None:
    old = convert.watch_token(house.scene.clock.now() - timedelta(days=8), "bid-1", 1)
    async with call("bo") as gateway:
        request = bidding_service_pb2.WatchBidsRequest(resume_token=old)
        seen = await refused(gateway.bidding.WatchBids(request).read())
        assert (seen.code, seen.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED")
        for token in ("!", "AAAA", convert.encode_token("2025-10-14T09:00:00+00:00")):
            request = bidding_service_pb2.WatchBidsRequest(resume_token=token)
            assert (await refused(gateway.bidding.WatchBids(request).read())).field == "resume_token"


async def test_a_watcher_who_leaves_takes_its_subscription_along(house: Wired, call: Caller) -> None:
    listeners = house.scene.store._listeners
    before = len(listeners)
    async with call("bo") as gateway:
        watch = gateway.signals.WatchSignals(signals_service_pb2.WatchSignalsRequest(node_id=PORTFOLIO))
        await watch.read()
        assert len(listeners) == before + 1
        watch.cancel()
        for _ in range(200):
            if len(listeners) == before:
                return
            await asyncio.sleep(0.01)
    pytest.fail("the subscription stays")
