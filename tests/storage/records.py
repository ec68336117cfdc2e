"""One full example of every kind of record, with the values that are easy to lose on the way to a database and back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway.domain.bids import (
    Award,
    AwardedPeriod,
    Bid,
    BidCheck,
    BidPeriod,
    BidState,
    CheckOutcome,
    CurvePoint,
    Nomination,
    NominationState,
    Order,
    OrderState,
    PlanRun,
    PlanSite,
    PositionPeriod,
    Residual,
    Schedule,
)
from gateway.domain.dispatch import DispatchBatch, DispatchOutcome, DispatchState
from gateway.domain.evidence import AuditEntry
from gateway.domain.fleet import RegisterReading
from gateway.domain.identity import Account, Role
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.series import (
    CarbonKind,
    CarbonSeries,
    DayState,
    MarketDayStatus,
    PriceProduct,
    PriceSeries,
    Quality,
    SlotRun,
)
from gateway.domain.sessions import DriverGoal, Session, SessionState
from gateway.domain.settlement import EventPerformance, MeteredPeriod, SettledPeriod, Settlement
from gateway.domain.signals import (
    EventInterval,
    GridEvent,
    Instruction,
    OptType,
    RawSignal,
    ReportRequest,
    SeenNonce,
    VenRegistration,
)
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import (
    CapacityGroup,
    Charger,
    ConnectionPoint,
    EnforcementClass,
    Node,
    NodeKind,
    Portfolio,
    Route,
)
from gateway.ports import OutboxItem
from tests.storage.authority_records import authority_examples
from tests.storage.dispatch_records import dispatch_examples
from tests.storage.door_records import door_examples
from tests.storage.market_records import market_examples
from tests.storage.oscp_records import oscp_examples
from tests.storage.program_records import program_examples
from tests.storage.steering_records import steering_examples

T0 = datetime(2026, 3, 29, 0, 45, 0, 123456, tzinfo=UTC)
"""A quarter of an hour before the clock change, with microseconds."""
QUARTER = timedelta(minutes=15)
TENANT = "tenant-a"

PERIODS = (
    BidPeriod(
        start=T0,
        end=T0 + QUARTER,
        curve=(
            CurvePoint(price_per_mwh=Decimal("-500.00"), volume_mw=Decimal("1.30")),
            CurvePoint(price_per_mwh=Decimal("0E+2"), volume_mw=Decimal("-0.10")),
        ),
    ),
)


def session(record_id: str = "session-1", tenant: str = TENANT, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "charger": "charger-1",
        "arrival": T0,
        "state": SessionState.PLUGGED_IN,
        "max_power_kw": 11.04,
        "phases": 3,
        "energy_needed_kwh": None,
        "expected_departure": T0 + timedelta(hours=9),
        "goal": DriverGoal.GREENEST,
    }
    return Session(id=record_id, tenant=tenant, **values | changes)


def dispatch(record_id: str = "dispatch-1", tenant: str = TENANT, **changes: Any) -> DispatchBatch:
    values: dict[str, Any] = {
        "csms": "csms-1",
        "sequence": 2**40,
        "issued_at": T0,
        "lease_until": T0 + timedelta(seconds=120),
        "charger_ids": ("charger-1", "charger-2"),
        "limit_kw": (0.0, 0.1 + 0.2),
        "fallback_kw": (3.6, 0.0),
        "cause": "limit:limit-1",
        "roster": "roster-1",
        "packed_places": bytes(8),
        "packed_limit_kw": bytes.fromhex("9a9999999999b93f0000000000001440"),
    }
    return DispatchBatch(id=record_id, tenant=tenant, **values | changes)


def outcome(record_id: str = "outcome-1", **changes: Any) -> DispatchOutcome:
    values: dict[str, Any] = {
        "batch": "dispatch-1",
        "csms": "csms-1",
        "sequence": 7,
        "at": T0,
        "charger_ids": ("charger-1", "charger-2"),
        "states": (DispatchState.APPLIED, int(DispatchState.REJECTED)),
        "detail": ("", "busy"),
        "roster": "roster-1",
        "packed_places": bytes(8),
        "packed_states": bytes((3, 4)),
    }
    return DispatchOutcome(id=record_id, tenant=TENANT, **values | changes)


def raw_signal(record_id: str = "raw-1", **changes: Any) -> RawSignal:
    values: dict[str, Any] = {
        "authority": "vtn:demo",
        "protocol": "openadr-2.0b",
        "received_at": T0,
        "sha256": "ab" * 32,
        "body": bytes(range(256)),
    }
    return RawSignal(id=record_id, tenant=TENANT, **values | changes)


def nonce(record_id: str = "nonce-1", **changes: Any) -> SeenNonce:
    values: dict[str, Any] = {"authority": "vtn:demo", "seen_at": T0}
    return SeenNonce(id=record_id, tenant=TENANT, **values | changes)


def limit(record_id: str = "limit-1", **changes: Any) -> Limit:
    values: dict[str, Any] = {
        "authority": "oscp:dso",
        "node": "site-1",
        "direction": Direction.IMPORT,
        "kind": LimitKind.LIMIT,
        "binding": Binding.MANDATORY,
        "max_kw": 0.0,
        "interval": Interval(start=T0, end=None),
        "cause": "event-1",
        "known_at": T0,
        "withdrawn_at": None,
        "reason": 'Überlast – 40 % 🔌 "quoted" \\ and\nnew line',
        "phase_max_kw": (11.5, None, 0.0),
        "guaranteed_kw": 4.2,
        "is_at_grid": True,
    }
    return Limit(id=record_id, tenant=TENANT, **values | changes)


def bid(record_id: str = "bid-1", **changes: Any) -> Bid:
    values: dict[str, Any] = {
        "portfolio": "portfolio-1",
        "delivery_day": "2026-03-29",
        "time_zone": "Europe/Brussels",
        "bidding_zone": "BE",
        "auction": "auction-1",
        "version": 2,
        "currency": "EUR",
        "lot_mw": Decimal("0.1"),
        "gate_closure": T0,
        "route": Route.VIA_BRP,
        "brp": None,
        "plan": "plan-1",
        "periods": PERIODS,
        "state": BidState.PROPOSED,
        "checks": (BidCheck(name="volume", outcome=CheckOutcome.WARNING, message="near the collar"),),
        "content_hash": "0" * 64,
        "drafted_by": "trader",
        "drafted_at": T0,
    }
    return Bid(id=record_id, tenant=TENANT, **values | changes)


def prices(record_id: str = "prices-1") -> PriceSeries:
    return PriceSeries(
        id=record_id,
        zone="BE",
        product=PriceProduct.DAY_AHEAD_SDAC,
        currency="EUR",
        grid=TimeGrid(start=T0, step=QUARTER, count=3),
        prices_per_mwh=(Decimal("-0.01"), None, Decimal("4000.00")),
        source="entsoe",
        published_at=None,
        fetched_at=T0,
        quality=Quality.PRELIMINARY,
        licence="CC-BY-4.0",
        runs=(
            SlotRun(count=1, native_step=QUARTER, source="entsoe", quality=Quality.FINAL),
            SlotRun(count=2, native_step=2 * QUARTER, source="smard", quality=Quality.PRELIMINARY),
        ),
    )


def entry(record_id: str = "audit-1", tenant: str = TENANT, **changes: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "at": T0,
        "actor": "trader",
        "action": "bid.propose",
        "object_kind": "Bid",
        "object_id": "bid-1",
        "causes": ("PlanRun:plan-1",),
        "detail": {"state": "proposed", "note": "grün\n\x1f"},
        "request_id": "request-1",
    }
    return AuditEntry(id=record_id, tenant=tenant, **values | changes)


def item(record_id: str = "order-1", tenant: str = TENANT, **changes: Any) -> OutboxItem:
    values: dict[str, Any] = {"topic": "order", "key": "order-1", "due_at": T0}
    return OutboxItem(id=record_id, tenant=tenant, **values | changes)


_FLEET: list[object] = [
    Account(
        id="account-1",
        tenant=TENANT,
        actor="trader",
        roles=(Role.TRADER, Role.AUDITOR),
        password_hash="$argon2id$v=19$...",
        enabled=False,
    ),
    Node(
        id="site-1",
        tenant=TENANT,
        parent="portfolio-1",
        kind=NodeKind.SITE,
        name="Gare du Nord",
        max_import_kw=250.0,
        fail_safe_import_kw=0.0,
    ),
    Charger(
        id="charger-1",
        tenant=TENANT,
        csms="csms-1",
        parent="site-1",
        max_import_kw=22.08,
        min_import_kw=4.14,
        phases=3,
        fallback_kw=4.14,
        enforcement=EnforcementClass.C,
    ),
    ConnectionPoint(
        id="541448860000000001",
        tenant=TENANT,
        site="site-1",
        bidding_zone="BE",
        time_zone="Europe/Brussels",
        dso="Fluvius",
        brp=None,
        loss_factor=1.0425,
    ),
    Portfolio(
        id="portfolio-1",
        tenant=TENANT,
        bidding_zone="BE",
        time_zone="Europe/Brussels",
        currency="EUR",
        route=Route.OWN_MEMBER,
        brp="brp-1",
        exchange_portfolio="VB-BE",
        max_order_mw="5.0",
        max_day_mwh="40",
    ),
    CapacityGroup(id="oscp:dso:g1", tenant=TENANT, authority="oscp:dso", name="g1", node="site-1"),
    session(),
    RegisterReading(
        id="541448820000000015",
        tenant=TENANT,
        at=T0,
        meter_kwh=None,
        charger_ids=("charger-1", "charger-2"),
        charger_kwh=(12.5, None),
    ),
    MeteredPeriod(
        id="541448860000000001:2026-03-29T00:45",
        tenant=TENANT,
        connection_point="541448860000000001",
        start=T0,
        end=T0 + QUARTER,
        energy_kwh=-1.5e-300,
        chargers_kwh=1e300,
        coverage=0.9999999999999999,
    ),
]

_GRID: list[object] = [
    raw_signal(),
    GridEvent(
        id="vtn:demo:00123",
        tenant=TENANT,
        authority="vtn:demo",
        event_id="00123",
        modification=0,
        cancelled=True,
        cancelled_at=T0,
        market_context="http://market.example",
        priority=1,
        test_event=False,
        response_required=True,
        active=Interval(start=T0, end=T0 + QUARTER),
        start_offset=timedelta(seconds=12, microseconds=7),
        start_after=timedelta(minutes=5),
        notification=timedelta(0),
        intervals=(
            EventInterval(start=T0, end=None, instruction=Instruction.IMPORT_LIMIT_FRACTION, value=0.0, signal_id="s"),
        ),
        nodes=("site-1", "site-2"),
        opt=OptType.OPT_OUT,
        opt_reason="",
        raw_signal="raw-1",
        received_at=T0,
    ),
    VenRegistration(
        id="vtn:demo",
        tenant=TENANT,
        vtn_id="vtn",
        ven_id="ven-007",
        registration_id="reg-1",
        poll_interval=timedelta(seconds=10),
        registered_at=T0,
        active=True,
    ),
    ReportRequest(
        id="vtn:demo:r1",
        tenant=TENANT,
        authority="vtn:demo",
        report_request_id="r1",
        report_specifier_id="usage",
        r_ids=("a", "b"),
        granularity=timedelta(0),
        report_back=timedelta(days=1, seconds=1),
        start=T0,
        end=None,
        reported_until=T0,
        kind="status",
        is_on_change=True,
        reached=(T0, T0 + timedelta(minutes=1)),
        made_count=3,
        last_seen=("True False 10.000", ""),
        wish="usage 0:00:00 a b",
    ),
    nonce(),
    limit(),
    dispatch(),
    outcome(),
    EventPerformance(
        id="vtn:demo:00123",
        tenant=TENANT,
        event="vtn:demo:00123",
        node="site-1",
        requested_kw=100.0,
        mean_power_kw=99.9,
        baseline_kw=None,
        baseline_method="none",
        compliance=1.0,
        found_at=T0,
    ),
]

_MARKET: list[object] = [
    prices(),
    CarbonSeries(
        id="carbon-1",
        zone="BE",
        kind=CarbonKind.MARGINAL,
        grid=TimeGrid(start=T0, step=QUARTER, count=2),
        intensity_g_per_kwh=(0.0, None),
        source="model",
        fetched_at=T0,
        quality=Quality.ESTIMATED,
        licence="ODbL",
        note="modelled",
    ),
    MarketDayStatus(
        id="BE:day-ahead-sdac:2026-03-29",
        tenant=TENANT,
        zone="BE",
        product=PriceProduct.DAY_AHEAD_SDAC,
        day="2026-03-29",
        state=DayState.PARTIAL,
        missing_count=1,
        series_id=None,
        checked_at=T0,
    ),
    PlanRun(
        id="plan-1",
        tenant=TENANT,
        portfolio="portfolio-1",
        delivery_day="2026-03-29",
        made_at=T0,
        known_until=T0,
        outcome="feasible",
        gap=0.0,
        message="",
        start=T0,
        step_minutes=15,
        price_series="prices-1",
        price_per_mwh=(50.0, -0.0),
        price_quality="final",
        carbon_series=None,
        sites=(
            PlanSite(
                connection_point="541448860000000001",
                node="site-1",
                power_kw=(1.0, 2.0),
                session_count=0,
                energy_kwh=0.75,
                uncontrolled_kw=(3.0, 0.0),
            ),
        ),
        expected_cost=Decimal("12.345678901234567890"),
        uncontrolled_cost=Decimal(20),
        currency="EUR",
        limits=("limit-1",),
    ),
    bid(),
    Order(
        id="auction-1:portfolio-1:bid-1",
        tenant=TENANT,
        bid="bid-1",
        bid_hash="0" * 64,
        auction="auction-1",
        exchange_portfolio="VB-BE",
        bidding_zone="BE",
        currency="EUR",
        gate_closure=T0,
        periods=PERIODS,
        state=OrderState.UNKNOWN,
        created_at=T0,
    ),
    Award(
        id="award-1",
        tenant=TENANT,
        order="auction-1:portfolio-1:bid-1",
        bid="bid-1",
        portfolio="portfolio-1",
        delivery_day="2026-03-29",
        currency="EUR",
        periods=(AwardedPeriod(start=T0, end=T0 + QUARTER, volume_mw=Decimal("1.3"), price_per_mwh=Decimal("-12.50")),),
        received_at=T0,
    ),
    Nomination(
        id="award-1:541448860000000001",
        tenant=TENANT,
        award="award-1",
        connection_point="541448860000000001",
        brp="brp-1",
        delivery_day="2026-03-29",
        periods=(PositionPeriod(start=T0, end=T0 + QUARTER, volume_mw=Decimal("1.3")),),
        state=NominationState.ACKNOWLEDGED,
        created_at=T0,
        acknowledged_at=T0,
        acknowledgement="ack-1",
    ),
    Schedule(
        id="site-1:2026-03-29",
        tenant=TENANT,
        node="site-1",
        connection_point="541448860000000001",
        delivery_day="2026-03-29",
        start=T0,
        step_minutes=15,
        power_kw=(),
        cause="award:award-1",
        made_at=T0,
    ),
    Residual(
        id="site-1:limit-1",
        tenant=TENANT,
        node="site-1",
        limit="limit-1",
        start=T0,
        end=T0 + QUARTER,
        energy_mwh=Decimal("0.325"),
        exposure=Decimal("-1E-7"),
        currency="EUR",
        basis="day-ahead",
        found_at=T0,
    ),
    Settlement(
        id="541448860000000001:2026-03-29",
        tenant=TENANT,
        portfolio="portfolio-1",
        connection_point="541448860000000001",
        delivery_day="2026-03-29",
        currency="EUR",
        periods=(
            SettledPeriod(
                start=T0,
                end=T0 + QUARTER,
                position_mwh=Decimal("0.325"),
                metered_mwh=Decimal("0.30"),
                day_ahead_price_per_mwh=Decimal("50.00"),
                imbalance_price_per_mwh=Decimal(-20),
                day_ahead_cash=Decimal("16.2500"),
                imbalance_cash=Decimal("0.500"),
                cause="none",
            ),
        ),
        day_ahead_cash=Decimal("16.2500"),
        imbalance_cash=Decimal("0.500"),
        uncontrolled_cash=Decimal(0),
        settled_at=T0,
        causes=("Award:award-1",),
    ),
]

EXAMPLES: list[Any] = [
    *_FLEET,
    *_GRID,
    *program_examples(TENANT, T0),
    *market_examples(TENANT, T0),
    *authority_examples(TENANT, T0),
    *dispatch_examples(TENANT, T0),
    *door_examples(TENANT, T0),
    *oscp_examples(TENANT, T0),
    *steering_examples(TENANT, T0),
    *_MARKET,
]
