"""Consent, dry runs, prices, carbon and alerts of programs at the desk."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from gateway.domain.alerts import AlertSeverity
from gateway.domain.errors import NotFound, PermissionRefused, PreconditionFailed, RequestReused, StorageUnavailable
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Binding, Limit
from gateway.domain.programs import Enrolment, ProgramState
from gateway.domain.series import CarbonKind, CarbonSeries, DayState, MarketDayStatus, PriceProduct, PriceSeries
from gateway.domain.signals import EventInterval, GridEvent, Instruction, OptType
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.services.decide_opt import OptRules
from gateway.services.gather_signals import ANSWER_TOPIC, OPT_TOPIC, ProgramRules
from tests.fakes.clock import START
from tests.fakes.consents import consent
from tests.services.scene import GRID, OPERATOR, TENANT, VTN, FloatArray, Scene, event, message, tree

PROGRAM = "http://grid-demo.example/dr"
TRADER = Principal(tenant=TENANT, actor="tom", roles=frozenset({Role.TRADER}))


def enrolment(node: str = "vpp", **changes: object) -> Enrolment:
    fields = {"tenant": TENANT, "authority": VTN, "program": PROGRAM, **changes}
    return consent(START - timedelta(days=30), node, **fields)


async def a_scene(*rows: object, **options: object) -> Scene:
    scene = Scene(**options)  # type: ignore[arg-type]
    await scene.store.seed(TENANT, *tree(), *rows)
    await scene.load()
    return scene


async def asking_consent(*rows: object) -> Scene:
    return await a_scene(*rows, programs={VTN: ProgramRules(requires_enrolment=True)})


def in_force(scene: Scene, minute: float, node: str = "vpp") -> list[float]:
    at = START + timedelta(minutes=minute)
    found = scene.services.signals.limits_by_node(TENANT).get(node, ())
    return sorted(x.max_kw for x in found if x.covers(at) and x.binding is not Binding.VOLUNTARY)


# ---------------------------------------------------------------- consent


async def test_a_node_without_an_enrolment_is_not_called() -> None:
    scene = await asking_consent()
    [answer] = await scene.services.signals.receive(GRID, message(event()))
    assert (answer.opt, answer.code) == (OptType.OPT_OUT, 462)
    assert answer.description == "no node that it names is enrolled in the program"
    assert in_force(scene, 15) == []
    assert scene.store.all(GridEvent, TENANT) == []


@pytest.mark.parametrize(
    ("changes", "is_called"),
    [
        ({}, True),
        ({"program": ""}, True),
        ({"program": "http://other.example"}, False),
        ({"authority": "vtn:other"}, False),
        ({"node": "site-1"}, False),
        ({"valid": Interval(start=START + timedelta(minutes=10), end=None)}, True),
        ({"valid": Interval(start=START + timedelta(minutes=11), end=None)}, False),
        ({"valid": Interval(start=START - timedelta(days=9), end=START + timedelta(minutes=10))}, False),
        ({"withdrawn_at": START}, False),
    ],
    ids=[
        "holds",
        "every-program",
        "other-program",
        "other-partner",
        "other-node",
        "from-then",
        "later",
        "over",
        "gone",
    ],
)
async def test_consent_is_judged_at_the_start_of_the_event(changes: dict[str, object], is_called: bool) -> None:
    scene = await asking_consent(enrolment(**changes))  # type: ignore[arg-type]
    await scene.services.signals.receive(GRID, message(event()))
    assert in_force(scene, 15) == ([50.0] if is_called else [])


async def test_of_several_nodes_only_the_enrolled_are_called() -> None:
    scene = await asking_consent(enrolment("site-1"))
    await scene.services.signals.receive(GRID, message(event(nodes=("site-1", "site-2"), max_kw=20.0)))
    assert (in_force(scene, 15, "site-1"), in_force(scene, 15, "site-2")) == ([20.0], [])


async def test_a_consent_that_ends_during_an_event_ends_its_limit() -> None:
    ends = START + timedelta(minutes=30)
    scene = await asking_consent(enrolment(valid=Interval(start=START, end=ends)))
    await scene.services.signals.receive(GRID, message(event()))
    assert (in_force(scene, 29), in_force(scene, 30)) == ([50.0], [])


async def test_a_withdrawn_consent_ends_limits_and_changes_the_answer() -> None:
    scene = await asking_consent(enrolment())
    await scene.services.signals.receive(GRID, message(event()))
    scene.clock.move(minutes=20)
    desk = scene.services.programs
    order = {"enrolment_id": "consent-vpp", "reason": "contract ended", "request_id": "w1"}
    gone = await desk.withdraw_enrolment(OPERATOR, **order)
    assert gone.withdrawn_at == scene.clock.now()
    assert (in_force(scene, 19), in_force(scene, 20)) == ([50.0], [])
    [kept] = scene.store.all(GridEvent, TENANT)
    assert (kept.opt, kept.opt_reason) == (OptType.OPT_OUT, "the consent for vpp was withdrawn")
    [told] = await scene.store.due_outbox(OPT_TOPIC, scene.clock.now())
    assert told.key == kept.id
    assert await desk.withdraw_enrolment(OPERATOR, **order) == gone, "a repetition has no second effect"
    [entry] = await scene.store.audit_of(TENANT, "enrolment", "consent-vpp")
    assert (entry.entry.action, entry.entry.actor, entry.entry.detail["reason"]) == (
        "enrolment.withdraw",
        "olga",
        "contract ended",
    )
    with pytest.raises(PreconditionFailed):
        await desk.withdraw_enrolment(OPERATOR, enrolment_id="consent-vpp", reason="again", request_id="w2")
    await scene.restart(keeps_stream=False)
    assert in_force(scene, 25) == []
    [answer] = await scene.services.signals.receive(GRID, message(event("e2"), raw_id="raw-2"))
    assert answer.code == 462


async def test_a_withdrawal_that_could_not_be_written_changes_nothing() -> None:
    scene = await asking_consent(enrolment())
    await scene.services.signals.receive(GRID, message(event()))
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await scene.services.programs.withdraw_enrolment(
            OPERATOR, enrolment_id="consent-vpp", reason="x", request_id="w1"
        )
    scene.store.is_down = False
    assert in_force(scene, 15) == [50.0]
    [held] = await scene.services.programs.enrolments(OPERATOR)
    assert held.withdrawn_at is None


async def test_one_of_two_consents_that_is_withdrawn_changes_nothing() -> None:
    scene = await asking_consent(enrolment(), enrolment(id="second", program=""))
    await scene.services.signals.receive(GRID, message(event()))
    await scene.services.programs.withdraw_enrolment(OPERATOR, enrolment_id="second", reason="x", request_id="w1")
    assert in_force(scene, 15) == [50.0]
    assert await scene.store.due_outbox(OPT_TOPIC, scene.clock.now()) == []


async def test_who_may_not_manage_consent_or_switches_is_refused() -> None:
    scene = await a_scene(enrolment())
    desk = scene.services.programs
    with pytest.raises(PermissionRefused):
        await desk.withdraw_enrolment(TRADER, enrolment_id="consent-vpp", reason="x", request_id="1")
    with pytest.raises(PermissionRefused):
        await desk.set_dry_run(TRADER, authority=VTN, program="", is_dry_run=True, reason="x", request_id="2")
    stranger = replace(OPERATOR, tenant="other")
    for call in (desk.enrolments, desk.programs):
        with pytest.raises(NotFound):
            await call(stranger)
    with pytest.raises(NotFound):
        await desk.withdraw_enrolment(OPERATOR, enrolment_id="none", reason="x", request_id="3")
    assert [one.id for one in await desk.enrolments(TRADER, VTN)] == ["consent-vpp"]
    assert await desk.enrolments(TRADER, "vtn:other") == []


# ---------------------------------------------------------------- dry runs


async def switch(scene: Scene, program: str = PROGRAM, *, is_on: bool, request_id: str = "") -> ProgramState:
    return await scene.services.programs.set_dry_run(
        OPERATOR,
        authority=VTN,
        program=program,
        is_dry_run=is_on,
        reason="before going live",
        request_id=request_id or f"dry-{program}-{is_on}",
    )


@pytest.mark.parametrize("program", [PROGRAM, ""])
async def test_in_a_dry_run_events_are_answered_and_change_no_limit(program: str) -> None:
    scene = await a_scene()
    await switch(scene, program, is_on=True)
    [answer] = await scene.services.signals.receive(GRID, message(event()))
    assert (answer.opt, answer.code) == (OptType.OPT_IN, 200)
    [kept] = scene.store.all(GridEvent, TENANT)
    assert kept.is_dry_run
    assert in_force(scene, 15) == []
    await scene.restart(keeps_stream=False)
    await scene.services.signals.receive(GRID, message(event("later"), raw_id="raw-2"))
    assert in_force(scene, 15) == []
    views = await scene.services.programs.programs(OPERATOR)
    assert [view.live_event_count for view in views if view.program == PROGRAM] == [2]


async def test_what_was_in_force_before_a_dry_run_goes_on() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event()))
    await switch(scene, is_on=True)
    assert in_force(scene, 15) == [50.0]


async def test_the_switch_of_a_program_goes_before_that_of_its_partner() -> None:
    scene = await a_scene()
    await switch(scene, "", is_on=True)
    await switch(scene, PROGRAM, is_on=False)
    await scene.services.signals.receive(GRID, message(event(), event("other", market_context="http://x.example")))
    assert {e.event_id: e.is_dry_run for e in scene.store.all(GridEvent, TENANT)} == {"e1": False, "other": True}


async def test_after_a_dry_run_what_has_not_begun_is_decided_again_and_what_has_begun_stays_dry() -> None:
    scene = await a_scene(opt_rules={VTN: OptRules(min_notice=timedelta(minutes=30))})
    await switch(scene, is_on=True)
    running, soon = event("running", minutes=180.0), event("soon", start=START + timedelta(minutes=60))
    later = event("later", start=START + timedelta(minutes=120), max_kw=40.0)
    answers = await scene.services.signals.receive(GRID, message(running, soon, later))
    assert [answer.opt for answer in answers] == [OptType.OPT_OUT, OptType.OPT_IN, OptType.OPT_IN]
    scene.clock.move(minutes=40)
    await switch(scene, is_on=False)
    events = {e.event_id: e for e in scene.store.all(GridEvent, TENANT)}
    assert {name: e.is_dry_run for name, e in events.items()} == {"running": True, "soon": False, "later": False}
    assert (events["soon"].opt, events["later"].opt) == (OptType.OPT_OUT, OptType.OPT_IN)
    assert [in_force(scene, m) for m in (50, 70, 130)] == [[], [], [40.0]]
    told = await scene.store.due_outbox(OPT_TOPIC, scene.clock.now())
    assert [item.key for item in told] == [events["soon"].id], "only a different answer is told"
    actions = [c.entry.action for c in await scene.store.audit_of(TENANT, "event", events["later"].id)]
    assert actions == ["event.receive", "event.decide"]
    assert (
        await switch(scene, is_on=False)
        == scene.services.programs._scribe.agreements(TENANT).states[f"{VTN}:{PROGRAM}"]
    )
    with pytest.raises(RequestReused):
        await switch(scene, is_on=True, request_id=f"dry-{PROGRAM}-False")


async def test_a_switch_that_could_not_be_written_changes_nothing() -> None:
    scene = await a_scene()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await switch(scene, is_on=True)
    scene.store.is_down = False
    await scene.services.signals.receive(GRID, message(event()))
    assert in_force(scene, 15) == [50.0]


async def test_the_room_of_3x_is_told_of_changed_answers_by_its_own_topic() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(event(protocol="openadr-3.1.0")))
    decide = scene.services.decider.decide
    await decide(OPERATOR, event_id=f"{VTN}:e1", opt=OptType.OPT_OUT, reason="no", request_id="r1")
    assert await scene.store.due_outbox(OPT_TOPIC, scene.clock.now()) == []
    [told] = await scene.store.due_outbox(ANSWER_TOPIC, scene.clock.now())
    assert told.key == f"{VTN}:e1"


# ---------------------------------------------------------------- prices and carbon

MIDNIGHT = datetime(2025, 10, 15, 0, 0, tzinfo=UTC)


def saying(event_id: str, instruction: str, values: list[float], **changes: object) -> GridEvent:
    """An event of hourly values from midnight on."""
    spans = [(MIDNIGHT + timedelta(hours=i), MIDNIGHT + timedelta(hours=i + 1)) for i in range(len(values))]
    currency = "EUR" if "price" in instruction and "multiplier" not in instruction else ""
    intervals = tuple(
        EventInterval(
            start=start,
            end=end,
            instruction=Instruction(instruction),
            value=value,
            signal_id=instruction,
            currency=currency,
        )
        for value, (start, end) in zip(values, spans, strict=True)
    )
    plain = event(event_id, active=Interval(start=MIDNIGHT, end=spans[-1][1]), intervals=intervals)
    return replace(plain, **changes)  # type: ignore[arg-type]


def latest(scene: Scene, product: PriceProduct = PriceProduct.PROGRAM_TARIFF, day: str = "2025-10-15") -> PriceSeries:
    [status] = [s for s in scene.store.all(MarketDayStatus, TENANT) if (s.product, s.day) == (product, day)]
    [series] = [s for s in scene.store.all(PriceSeries, TENANT) if s.id == status.series_id]
    return series


async def test_prices_of_a_program_become_market_data_that_names_the_partner() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(saying("p", "price", [100.0 + i for i in range(24)])))
    series = latest(scene)
    assert (series.zone, series.source, series.currency, series.is_complete) == (VTN, VTN, "EUR", True)
    assert series.prices_per_mwh[:5] == tuple(map(Decimal, ("100", "100", "100", "100", "101")))
    assert series.note == "the program's tariff, as its events say: p"
    [status] = scene.store.all(MarketDayStatus, TENANT)
    assert status.state is DayState.COMPLETE
    [entry] = await scene.store.audit_of(TENANT, "series", series.id)
    assert entry.entry.causes == (f"event:{VTN}:p",)
    assert scene.store.all(Limit, TENANT) == [], "prices limit nothing"
    assert len(scene.store.applied) == 2, "event and prices are written together"


async def test_the_same_prices_are_written_once_and_changed_ones_are_a_new_series() -> None:
    scene = await a_scene()
    first = saying("p", "price", [100.0] * 24)
    await scene.services.signals.receive(GRID, message(first))
    await scene.services.signals.receive(GRID, message(replace(first, modification=1), raw_id="raw-2"))
    assert len(scene.store.all(PriceSeries, TENANT)) == 1
    dearer = saying("p", "price", [100.0] * 23 + [200.0], modification=2)
    await scene.services.signals.receive(GRID, message(dearer, raw_id="raw-3"))
    assert len(scene.store.all(PriceSeries, TENANT)) == 2
    assert latest(scene).prices_per_mwh[-1] == Decimal(200)


async def test_within_a_zone_the_event_of_higher_priority_says_the_price() -> None:
    scene = await a_scene()
    base = saying("base", "price", [100.0] * 24, priority=5)
    peak = saying("peak", "price", [0.0] * 10, priority=1)
    await scene.services.signals.receive(GRID, message(base, peak))
    prices = latest(scene).as_array()
    assert (prices[:40] == 0.0).all()
    assert (prices[40:] == 100.0).all()


async def test_multipliers_and_additions_change_the_programs_own_price() -> None:
    scene = await a_scene()
    base, twice, more = (
        saying("base", "price", [100.0] * 24),
        saying("twice", "price-multiplier", [2.0] * 2),
        saying("more", "price-relative", [5.0]),
    )
    await scene.services.signals.receive(GRID, message(base, twice, more))
    assert latest(scene).as_array()[[0, 4, 8]].tolist() == [205.0, 200.0, 100.0]


async def test_a_multiplier_without_a_price_is_kept_with_its_event_only() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(saying("twice", "price-multiplier", [2.0] * 24)))
    assert scene.store.all(PriceSeries, TENANT) == []


@pytest.mark.parametrize("changes", [{"test_event": True}, {"cancelled": True, "cancelled_at": MIDNIGHT}])
async def test_prices_of_tests_and_cancelled_events_are_none(changes: dict[str, object]) -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(saying("p", "price", [100.0] * 24, **changes)))
    assert scene.store.all(PriceSeries, TENANT) == []


async def test_prices_that_are_withdrawn_leave_a_gap_from_then_on() -> None:
    scene = await a_scene()
    await scene.services.signals.receive(GRID, message(saying("p", "price", [100.0] * 24)))
    await scene.services.signals.receive(GRID, message(raw_id="raw-2", complete=True))
    series = latest(scene)
    assert series.gaps[0] == START
    assert series.prices_per_mwh[:32] == (Decimal(100),) * 32, "hours that have passed keep their price"


async def test_two_currencies_never_mix() -> None:
    scene = await a_scene()
    euro, dollar = saying("eur", "price", [100.0] * 24), saying("usd", "price", [50.0] * 2, priority=1)
    dollar = replace(dollar, intervals=tuple(replace(i, currency="USD") for i in dollar.intervals))
    await scene.services.signals.receive(GRID, message(euro, dollar))
    assert scene.store.all(PriceSeries, TENANT) == []


async def test_export_prices_and_carbon_are_series_of_their_own() -> None:
    scene = await a_scene(programs={VTN: ProgramRules(price_zone="CA", price_product=PriceProduct.TARIFF_ENERGY)})
    await scene.services.signals.receive(
        GRID,
        message(
            saying("in", "price", [100.0] * 24),
            saying("out", "export-price", [40.0] * 24),
            saying("ghg", "carbon-g-per-kwh", [300.0] * 12 + [100.0] * 12),
        ),
    )
    assert latest(scene, PriceProduct.TARIFF_ENERGY).zone == "CA"
    assert latest(scene, PriceProduct.PROGRAM_EXPORT_TARIFF).as_array().tolist() == [40.0] * 96
    [carbon] = scene.store.all(CarbonSeries, TENANT)
    assert (carbon.zone, carbon.kind, carbon.source) == ("CA", CarbonKind.MARGINAL, VTN)
    assert (carbon.as_array()[0], carbon.as_array()[-1]) == (300.0, 100.0)


async def test_open_ended_prices_reach_into_days_as_they_come_near() -> None:
    scene = await a_scene()
    forever = saying("p", "price", [100.0])
    forever = replace(
        forever,
        active=Interval(start=MIDNIGHT, end=None),
        intervals=(replace(forever.intervals[0], end=None),),
    )
    await scene.services.signals.receive(GRID, message(forever))
    days = {status.day for status in scene.store.all(MarketDayStatus, TENANT)}
    assert (min(days), max(days)) == ("2025-10-15", "2025-10-23")
    await scene.services.signals.keep_up(TENANT)
    before = len(scene.store.applied)
    await scene.services.signals.keep_up(TENANT)
    assert len(scene.store.applied) == before, "nothing new on the same day"
    scene.clock.move(days=1)
    await scene.services.signals.keep_up(TENANT)
    assert max(status.day for status in scene.store.all(MarketDayStatus, TENANT)) == "2025-10-24"


async def test_b5_a_tariff_that_repeats_keeps_the_hours_that_have_passed_when_it_is_unrolled_further() -> None:
    scene = await a_scene()
    day = saying("p", "price", [100.0 + i for i in range(24)])
    first = replace(day, active=Interval(start=MIDNIGHT, end=None), unrolled_until=MIDNIGHT + timedelta(hours=24))
    await scene.services.signals.receive(GRID, message(first))
    scene.clock.move(hours=4)
    tomorrow = tuple(
        replace(i, start=i.start + timedelta(days=1), end=None if i.end is None else i.end + timedelta(days=1))
        for i in day.intervals
    )
    further = replace(first, intervals=(*day.intervals[12:], *tomorrow), unrolled_until=MIDNIGHT + timedelta(hours=48))
    [answer] = await scene.services.signals.receive(GRID, message(further, raw_id="raw-2"))
    assert (answer.opt, answer.code) == (OptType.OPT_IN, 200)
    for day_name in ("2025-10-15", "2025-10-16"):
        assert latest(scene, day=day_name).as_array()[::4].tolist() == [100.0 + i for i in range(24)]


async def test_what_is_unrolled_later_counts_from_the_same_baseline() -> None:
    scene = await a_scene()
    scene.baseline_kw = lambda tenant, node, at: 90.0
    plain = event(instruction="reduction-kw", max_kw=30.0)
    first = replace(plain, active=replace(plain.active, end=None), unrolled_until=plain.active.end)
    await scene.services.signals.receive(GRID, message(first))
    scene.baseline_kw = lambda tenant, node, at: 10.0
    [one] = first.intervals
    later = replace(one, start=one.start + timedelta(hours=1), end=one.start + timedelta(hours=2))
    further = replace(first, intervals=(one, later), unrolled_until=later.end)
    await scene.services.signals.receive(GRID, message(further, raw_id="raw-2"))
    assert [in_force(scene, m) for m in (15, 75)] == [[60.0], [60.0]]


async def test_a_quarter_hour_that_is_not_covered_whole_is_a_gap() -> None:
    scene = await a_scene()
    odd = saying("p", "price", [100.0])
    odd = replace(odd, intervals=(replace(odd.intervals[0], start=MIDNIGHT + timedelta(minutes=5)),))
    await scene.services.signals.receive(GRID, message(odd))
    assert latest(scene).prices_per_mwh[:5] == (None, Decimal(100), Decimal(100), Decimal(100), None)


# ---------------------------------------------------------------- alerts


async def test_alerts_are_listed_the_most_severe_first_and_end() -> None:
    scene = await a_scene()

    def alert(event_id: str, kind: str, text: str, start: float) -> GridEvent:
        plain = event(event_id, instruction="alert", max_kw=0.0, start=START + timedelta(minutes=start))
        return replace(plain, intervals=(replace(plain.intervals[0], signal_id=kind, text=text),))

    await scene.services.signals.receive(
        GRID,
        message(
            alert("a", "ALERT_AIR_QUALITY", "smoke", 5),
            alert("b", "s1", "ALERT_FLEX_ALERT: please save", 30),
            alert("c", "ALERT_GRID_EMERGENCY", "voltage collapse", 20),
            alert("d", "s1", "something happened", 10),
        ),
    )
    alerts = await scene.services.signals.alerts(OPERATOR)
    assert [(one.event.rpartition(":")[2], one.kind, one.severity) for one in alerts] == [
        ("c", "ALERT_GRID_EMERGENCY", AlertSeverity.EMERGENCY),
        ("d", "ALERT_OTHER", AlertSeverity.WARNING),
        ("b", "ALERT_FLEX_ALERT", AlertSeverity.WARNING),
        ("a", "ALERT_AIR_QUALITY", AlertSeverity.NOTICE),
    ]
    assert scene.store.all(Limit, TENANT) == []
    [told] = await scene.store.audit_of(TENANT, "alert", f"{VTN}:c")
    assert (told.entry.action, told.entry.detail["severity"]) == ("alert.receive", "emergency")
    scene.clock.move(minutes=81)
    assert [one.event.rpartition(":")[2] for one in await scene.services.signals.alerts(OPERATOR)] == ["b"]


# ---------------------------------------------------------------- expected effect


async def test_the_expected_change_is_what_the_event_takes_off_the_expected_power() -> None:
    scene = await a_scene()
    asked: list[TimeGrid] = []

    def expected(tenant: str, node: str, grid: TimeGrid) -> FloatArray | None:
        asked.append(grid)
        return np.linspace(40.0, 70.0, grid.count) if node == "vpp" else None

    scene.expected_kw = expected
    await scene.services.signals.receive(GRID, message(event(), event("unknown", nodes=("site-1",))))
    await scene.services.signals.receive(
        GRID, message(event("both", nodes=("vpp", "site-1")), event("price", instruction="price"), raw_id="raw-2")
    )
    found = {e.event_id: e.expected_change_kw for e in scene.store.all(GridEvent, TENANT)}
    assert found == {"e1": -7.5, "unknown": None, "both": -7.5, "price": None}
    assert (asked[0].start, asked[0].count) == (START + timedelta(minutes=10), 4)
