"""Programs over a real connection: what events ask and did, alerts, switches, consent."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc
import pytest

from gateway.domain.identity import system_principal
from gateway.domain.programs import Enrolment
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import EventInterval, GridEvent, Instruction
from gateway.domain.timegrid import Interval
from gateway.rpc.signals import event_message
from gateway.services.gather_signals.agreements import Agreements
from gateway.v1 import market_data_service_pb2, types_pb2
from gateway.v1 import signals_service_pb2 as pb
from tests.fakes.consents import consent
from tests.fakes.wired import OTHER, PORTFOLIO, TENANT, Wired
from tests.rpc.conftest import Caller
from tests.rpc.refusals import Refusal, refusal
from tests.services.scene import VTN, event, message

WAIT = 5.0
PROGRAM = "http://grid-demo.example/dr"


async def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return refusal(caught.value)


def asking(house: Wired, event_id: str = "e1", **changes: Any) -> GridEvent:
    start = house.scene.clock.now() + timedelta(minutes=30)
    return event(event_id, tenant=TENANT, nodes=(PORTFOLIO,), start=start, **changes)


async def receive(house: Wired, *events: GridEvent, raw_id: str = "raw-1") -> None:
    received = message(*events, raw_id=raw_id)
    received = replace(received, raw=replace(received.raw, tenant=TENANT))
    await house.services.signals.receive(system_principal(TENANT, "openadr"), received)


def consent_of(house: Wired) -> Enrolment:
    now = house.scene.clock.now()
    valid = Interval(start=now - timedelta(days=1), end=now + timedelta(days=300))
    fields = {"id": "consent-1", "tenant": TENANT, "authority": VTN, "program": PROGRAM, "resource": "fleet"}
    return consent(now - timedelta(days=2), PORTFOLIO, **fields, valid=valid)


async def test_an_event_says_what_it_asks_why_it_was_answered_so_and_what_it_did(house: Wired, call: Caller) -> None:
    await receive(house, asking(house, priority=2**32 - 1, modification=2**32 - 1, comment="hot day"))
    [held] = house.scene.store.all(GridEvent, TENANT)
    performance = EventPerformance(
        id=held.id,
        tenant=TENANT,
        event=held.id,
        node=PORTFOLIO,
        requested_kw=50.0,
        mean_power_kw=45.0,
        baseline_kw=None,
        baseline_method="none",
        compliance=0.75,
        found_at=house.scene.clock.now(),
    )
    await house.scene.store.seed(TENANT, performance)
    async with call("olga") as gateway:
        [seen] = (await gateway.signals.ListEvents(pb.ListEventsRequest(), timeout=WAIT)).events
        assert not seen.HasField("outcome"), "it is not over"
        assert (seen.program, seen.protocol, seen.priority, seen.opt_by) == (
            PROGRAM,
            "openadr-2.0b",
            2**32 - 1,
            "policy",
        )
        assert (seen.comment, seen.raw_signal_id, seen.opt_reason) == ("hot day", "raw-1", held.opt_reason)
        assert not seen.HasField("opt_deadline")
        [interval] = seen.intervals
        assert (interval.instruction, interval.value, interval.signal_id) == ("import-limit-kw", 50.0, "sig")
        assert not interval.HasField("baseline_power_kw")
        house.scene.clock.move(hours=2)
        [seen] = (await gateway.signals.ListEvents(pb.ListEventsRequest(), timeout=WAIT)).events
        assert (seen.outcome.mean_power_kw, seen.outcome.compliance_ratio) == (45.0, 0.75)
        assert not seen.outcome.HasField("baseline_power_kw")
    async with call("only-csms") as gateway:
        [seen] = (await gateway.signals.ListEvents(pb.ListEventsRequest(), timeout=WAIT)).events
        assert not seen.HasField("outcome"), "a platform may not read evidence"


def test_what_is_unknown_is_absent_and_zero_is_not() -> None:
    plain = event_message(event(), event().received_at)
    assert not plain.HasField("expected_change_kw")
    assert not plain.HasField("priority")
    zero = event_message(event(priority=0, expected_change_kw=0.0), event().received_at)
    assert (zero.HasField("expected_change_kw"), zero.HasField("priority")) == (True, True)


async def test_a_dry_run_is_switched_and_listed(house: Wired, call: Caller) -> None:
    switch = {"authority": VTN, "program": PROGRAM, "reason": "practice"}
    async with call("olga") as gateway:
        on = pb.SetDryRunRequest(**switch, is_dry_run=True, request_id="1")
        program = (await gateway.signals.SetDryRun(on, timeout=WAIT)).program
        assert (program.authority, program.is_dry_run, program.changed_by) == (VTN, True, "olga")
        await receive(house, asking(house))
        [seen] = (await gateway.signals.ListEvents(pb.ListEventsRequest(), timeout=WAIT)).events
        assert seen.is_dry_run
        [listed] = (await gateway.signals.ListPrograms(pb.ListProgramsRequest(), timeout=WAIT)).programs
        assert (listed.program, listed.live_event_count) == (PROGRAM, 1)
        limits = await gateway.signals.ListLimits(pb.ListLimitsRequest(node_id=PORTFOLIO), timeout=WAIT)
        assert not limits.limits
        off = pb.SetDryRunRequest(**switch, is_dry_run=False, request_id="2")
        assert not (await gateway.signals.SetDryRun(off, timeout=WAIT)).program.is_dry_run
        limits = await gateway.signals.ListLimits(pb.ListLimitsRequest(node_id=PORTFOLIO), timeout=WAIT)
        assert [limit.max_power_kw for limit in limits.limits] == [50.0]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"is_dry_run": None}, "is_dry_run"),
        ({"authority": ""}, "authority"),
        ({"program": "x" * 1025}, "program"),
        ({"reason": ""}, "reason"),
        ({"request_id": ""}, "request_id"),
    ],
    ids=["off-or-on", "partner", "program", "reason", "request"],
)
async def test_a_wrong_switch_is_refused_by_the_field(call: Caller, changes: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"authority": VTN, "program": "p", "is_dry_run": True, "reason": "x", "request_id": "1"}
    chosen = {name: value for name, value in (fields | changes).items() if value is not None}
    async with call("olga") as gateway:
        seen = await refused(gateway.signals.SetDryRun(pb.SetDryRunRequest(**chosen), timeout=WAIT))
    assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_enrolments_are_listed_and_withdrawn_within_their_tenant(house: Wired, call: Caller) -> None:
    one = consent_of(house)
    await house.scene.store.seed(TENANT, one)
    house.services.signals.scribe.agree(TENANT, Agreements([one]))
    order = pb.WithdrawEnrolmentRequest(enrolment_id=one.id, reason="contract ended", request_id="w")
    async with call("olga", OTHER) as stranger:
        assert not (await stranger.signals.ListEnrolments(pb.ListEnrolmentsRequest(), timeout=WAIT)).enrolments
        assert (
            await refused(stranger.signals.WithdrawEnrolment(order, timeout=WAIT))
        ).code is grpc.StatusCode.NOT_FOUND
    async with call("tara") as trader:
        [seen] = (await trader.signals.ListEnrolments(pb.ListEnrolmentsRequest(authority=VTN), timeout=WAIT)).enrolments
        assert (seen.owner, seen.purpose, seen.HasField("withdraw_time")) == (one.owner, one.purpose, False)
        code = (await refused(trader.signals.WithdrawEnrolment(order, timeout=WAIT))).code
        assert code is grpc.StatusCode.PERMISSION_DENIED
    async with call("olga") as gateway:
        gone = (await gateway.signals.WithdrawEnrolment(order, timeout=WAIT)).enrolment
        assert gone.HasField("withdraw_time")


async def test_alerts_and_wishes_and_export_limits_are_told(house: Wired, call: Caller) -> None:
    plain = asking(house, instruction="alert", max_kw=0.0)
    alert = replace(plain, intervals=(replace(plain.intervals[0], signal_id="ALERT_FIRE", text="fire near the line"),))
    wish = asking(house, "wish", instruction="target-kw", max_kw=30.0)
    export = asking(house, "export", instruction="export-limit-kw", max_kw=0.0)
    await receive(house, alert, wish, export)
    async with call("olga") as gateway:
        page = types_pb2.PageRequest(page_size=1)
        answer = await gateway.signals.ListAlerts(pb.ListAlertsRequest(page=page), timeout=WAIT)
        [seen] = answer.alerts
        assert (seen.kind, seen.severity, seen.text) == (
            "ALERT_FIRE",
            pb.ALERT_SEVERITY_EMERGENCY,
            "fire near the line",
        )
        assert not answer.next_page_token
        house.scene.clock.move(minutes=31)
        ask = pb.ResolveLimitRequest(node_id=PORTFOLIO)
        found = (await gateway.signals.ResolveLimit(ask, timeout=WAIT)).resolution
        assert (found.optimum_power_kw, found.authority) == (30.0, "rating")
        ask = pb.ResolveLimitRequest(node_id=PORTFOLIO, direction=types_pb2.DIRECTION_EXPORT)
        found = (await gateway.signals.ResolveLimit(ask, timeout=WAIT)).resolution
        assert (found.power_kw, found.direction) == (0.0, types_pb2.DIRECTION_EXPORT)


async def test_the_tariff_of_a_program_is_read_like_other_prices(house: Wired, call: Caller) -> None:
    wired_zones = house.settings.time_zones
    day = house.scene.day
    grid = day.grid(timedelta(hours=1))
    intervals = tuple(
        EventInterval(
            start=start,
            end=start + grid.step,
            instruction=Instruction.PRICE,
            value=100.0,
            signal_id="p",
            currency="EUR",
        )
        for start in grid.starts()
    )
    assert "BE" in wired_zones
    tariff = replace(asking(house), authority="BE", id="BE:t", active=day.interval, intervals=intervals)
    await receive(house, tariff)
    async with call("tara") as gateway:
        request = market_data_service_pb2.GetPricesRequest(
            zone="BE",
            product=market_data_service_pb2.PRICE_PRODUCT_PROGRAM_TARIFF,
            delivery_day=day.day.isoformat(),
        )
        prices = await gateway.market_data.GetPrices(request, timeout=WAIT)
    assert (prices.source, prices.currency_code, prices.is_complete) == ("BE", "EUR", True)
    assert {point.value for point in prices.points} == {"100.000000"}
