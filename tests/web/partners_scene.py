"""A gateway with grid partners that have said something: what the utility's page is tested on."""

from datetime import datetime, timedelta

from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.programs import Enrolment, NonCompliance, PendingReport, ReportDuty
from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import EventInterval, GridEvent, Instruction, OptType, RawSignal, ReportRequest
from gateway.domain.timegrid import Interval
from gateway.grid_settings import VtnSettings
from gateway.openadr.journal import ExchangeJournal
from tests.fakes.wired import PORTFOLIO, TENANT, Wired, wired
from tests.openadr.v20b import messages
from tests.services.scene import event

PARTNER = "vtn:grid"
PROGRAM = messages.CONTEXT
HOUR = timedelta(hours=1)


def vtn() -> VtnSettings:
    return VtnSettings(
        authority=PARTNER,
        tenant=TENANT,
        url="https://127.0.0.1:1/OpenADR2/Simple/2.0b",
        ven_name="depot",
        market_contexts=(PROGRAM,),
        portfolio_node=PORTFOLIO,
        signature="off",
    )


def grid_event(event_id: str, start: datetime, **changes: object) -> GridEvent:
    asked = EventInterval(
        start=start, end=start + HOUR, instruction=Instruction.IMPORT_LIMIT_KW, value=40.0, signal_id="s"
    )
    fields: dict[str, object] = {
        "id": f"{PARTNER}:{event_id}",
        "tenant": TENANT,
        "authority": PARTNER,
        "market_context": PROGRAM,
        "active": Interval(start=start, end=start + HOUR),
        "intervals": (asked,),
        "nodes": (PORTFOLIO,),
        "opt": OptType.OPT_IN,
        "opt_reason": "within the agreement",
        "opt_by": "policy",
        "received_at": start - HOUR,
        "raw_signal": "raw-1",
        "expected_change_kw": -12.5,
    }
    return event(event_id, **(fields | changes))


def limit_of(one: GridEvent) -> Limit:
    return Limit(
        id=f"{one.id}:limit",
        tenant=TENANT,
        authority=PARTNER,
        node=PORTFOLIO,
        direction=Direction.IMPORT,
        kind=LimitKind.LIMIT,
        binding=Binding.COMMITTED,
        max_kw=40.0,
        interval=one.active,
        cause=f"event:{one.id}",
        known_at=one.received_at,
        reason=f"event {one.event_id}",
    )


def rows(now: datetime) -> list[object]:
    """Everything the page shows, around an instant."""
    coming = grid_event("E&1 <b>", now + HOUR, opt_deadline=now + timedelta(minutes=12), received_at=now)
    running = grid_event("running", now - HOUR / 2)
    done = grid_event("done", now - 3 * HOUR, comment="thank you")
    practised = grid_event("practised", now + 2 * HOUR, is_dry_run=True)
    return [
        coming,
        running,
        done,
        practised,
        limit_of(coming),
        limit_of(running),
        EventPerformance(
            id=done.id,
            tenant=TENANT,
            event=done.id,
            node=PORTFOLIO,
            requested_kw=40.0,
            mean_power_kw=36.5,
            baseline_kw=52.0,
            baseline_method="high five of ten",
            compliance=0.97,
            found_at=now - HOUR,
        ),
        RawSignal(
            id="raw-1",
            tenant=TENANT,
            authority=PARTNER,
            protocol="openadr-2.0b",
            received_at=now - HOUR,
            sha256="ab" * 32,
            body=messages.distribute_event(
                messages.event("running"), messages.event("foreign", context="http://other")
            ),
        ),
        RawSignal(
            id="raw-2",
            tenant=TENANT,
            authority="vtn:gone",
            protocol="openadr-3.1.0",
            received_at=now - 2 * HOUR,
            sha256="cd" * 32,
            body=b"[]",
        ),
        ReportRequest(
            id=f"{PARTNER}:RR1",
            tenant=TENANT,
            authority=PARTNER,
            report_request_id="RR1",
            report_specifier_id="telemetry-usage",
            r_ids=("portfolio-power",),
            granularity=timedelta(minutes=1),
            report_back=timedelta(minutes=2),
            start=now - HOUR,
            end=None,
            reported_until=now - timedelta(minutes=2),
        ),
        ReportDuty(
            id=f"{PARTNER}:done:0",
            tenant=TENANT,
            authority=PARTNER,
            event_id="done",
            version=0,
            index=0,
            descriptor='{"payloadType": "USAGE", "frequency": 2, "repeat": 3}',
            sent_count=2,
            reported_until=now - HOUR,
        ),
        PendingReport(
            id="pending-1", tenant=TENANT, authority=PARTNER, request=f"{PARTNER}:RR1", body="SECRET-BODY", made_at=now
        ),
        NonCompliance(
            id="broken-1",
            tenant=TENANT,
            authority=PARTNER,
            profile="gac-2.2",
            rule="one-payload",
            object_kind="event",
            object_id="done",
            problem="intervals[0].payloads has 2 elements and must have at most 1",
            is_applied=False,
            raw_signal="raw-1",
            at=now,
        ),
        Enrolment(
            id="enrolment-1",
            tenant=TENANT,
            authority=PARTNER,
            program=PROGRAM,
            node=PORTFOLIO,
            resource="DEPOT-1",
            owner="account:owner",
            purpose="reductions in emergencies",
            valid=Interval(start=now - 24 * HOUR, end=now + 300 * 24 * HOUR),
            consented_at=now - 24 * HOUR,
        ),
    ]


async def with_partners() -> tuple[Wired, ExchangeJournal]:
    """Return the gateway with rows of its partners, and the journal of their exchanges."""
    house = await wired(vtn=(vtn(),))
    now = house.world.clock.now()
    await house.scene.store.seed(TENANT, *rows(now))
    await house.services.signals.load()
    journal = ExchangeJournal()
    page = journal.page(TENANT, PARTNER, house.world.clock)
    page.answered("OadrPoll: oadrPoll", "oadrDistributeEvent", sent=700, received=2_100)
    page.unanswered("EiReport: oadrUpdateReport", "the VTN did not answer EiReport (TimeoutError)", sent=3_000)
    journal.page("other", "vtn:theirs", house.world.clock).answered("secret", "of others", sent=1, received=1)
    return house, journal
