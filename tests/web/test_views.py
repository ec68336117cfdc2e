"""What the pages show, computed from rows; and how logins age."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.bids import Award, Bid, BidPeriod, BidState, CurvePoint
from gateway.domain.errors import InvalidInput, PermissionRefused, Unauthenticated
from gateway.domain.identity import Principal, Role
from gateway.domain.timegrid import Interval
from gateway.web import operator_view, trader_view
from gateway.web.sessions import IDLE_SECONDS, LONGEST_SECONDS, MOST_SESSIONS, SessionBook, require_csrf
from tests.services.scene import event
from tests.storage.records import EXAMPLES
from tests.storage.records import bid as stored_bid

START = datetime(2025, 10, 25, 22, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
GATE = datetime(2025, 10, 25, 10, tzinfo=UTC)


def who(*roles: Role, actor: str = "tara") -> Principal:
    return Principal(tenant="demo", actor=actor, roles=frozenset(roles))


def points(*pairs: tuple[str, str]) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(price_per_mwh=Decimal(p), volume_mw=Decimal(v)) for p, v in pairs)


def bid(count: int = 100, **changes: object) -> Bid:
    """A bid for the day on which an hour comes twice."""
    curve = points(("50", "1.2"), ("100", "0.4"))
    periods = tuple(
        BidPeriod(start=START + QUARTER * i, end=START + QUARTER * (i + 1), curve=curve) for i in range(count)
    )
    plain = replace(stored_bid(), periods=periods, time_zone="Europe/Brussels", gate_closure=GATE, drafted_by="tara")
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_the_hour_that_comes_twice_is_two_rows() -> None:
    rows = trader_view.period_rows(bid(), None, None)
    labels = [row.label for row in rows]
    assert len(set(labels)) == len(labels) == 100
    assert [label for label in labels if label.startswith("02:00")] == ["02:00 +02:00", "02:00 +01:00"]
    assert (labels[0], labels[-1]) == ("00:00 +02:00", "23:45 +01:00")


def test_a_row_shows_the_curve_and_what_was_awarded() -> None:
    award = next(row for row in EXAMPLES if isinstance(row, Award))
    got = replace(award.periods[0], start=START, volume_mw=Decimal(0), price_per_mwh=Decimal("120.5"))
    rows = trader_view.period_rows(bid(2), None, replace(award, periods=(got,)))
    assert (rows[0].volume_mw, rows[0].curve) == (Decimal("1.2"), "1.2 @ 50, 0.4 @ 100")
    assert (rows[0].awarded_mw, rows[0].awarded_price) == (Decimal(0), Decimal("120.5"))
    assert rows[1].awarded_mw is None


@pytest.mark.parametrize(
    ("left_s", "text", "urgency"),
    [
        (7325, "gate closes in 2:02:05", "calm"),
        (1799, "gate closes in 0:29:59", "soon"),
        (599, "gate closes in 0:09:59", "urgent"),
        (0, "gate closed", "closed"),
        (-1, "gate closed", "closed"),
    ],
)
def test_the_countdown(left_s: int, text: str, urgency: str) -> None:
    now = GATE - timedelta(seconds=left_s)
    assert (trader_view.gate_countdown(GATE, now), trader_view.gate_urgency(GATE, now)) == (text, urgency)


@pytest.mark.parametrize("state", list(BidState))
def test_buttons_follow_state_and_role(state: BidState) -> None:
    before = GATE - timedelta(hours=1)
    one = bid(1, state=state, proposed_by="tara")
    trader = trader_view.actions(one, who(Role.TRADER), before)
    approver = trader_view.actions(one, who(Role.APPROVER, actor="ann"), before)
    open_states = {BidState.DRAFT, BidState.VALIDATED, BidState.PROPOSED}
    assert trader.can_revise == (state in open_states)
    assert trader.can_propose == (state is BidState.VALIDATED)
    assert trader.can_withdraw == (state in open_states | {BidState.APPROVED})
    assert not trader.can_approve
    assert not trader.can_reject
    assert approver.can_approve == approver.can_reject == (state is BidState.PROPOSED)
    assert not approver.can_revise
    assert not approver.can_propose


def test_nobody_approves_the_own_bid_nor_after_the_gate() -> None:
    one = bid(1, state=BidState.PROPOSED, proposed_by="tara")
    both = who(Role.TRADER, Role.APPROVER)
    mine = trader_view.actions(one, both, GATE - QUARTER)
    assert not mine.can_approve
    assert "another person" in mine.approve_refusal
    late = trader_view.actions(one, who(Role.APPROVER, actor="ann"), GATE)
    assert not late.can_approve
    assert not trader_view.actions(one, both, GATE).can_revise


@pytest.mark.parametrize("state", [None, *BidState])
def test_a_day_is_planned_anew_only_while_nobody_has_its_bid(state: BidState | None) -> None:
    one = None if state is None else bid(1, state=state)
    free = {None, BidState.DRAFT, BidState.VALIDATED, BidState.REJECTED, BidState.WITHDRAWN, BidState.MISSED}
    assert trader_view.may_plan(one, who(Role.TRADER)) == (state in free)
    assert not trader_view.may_plan(one, who(Role.APPROVER))


def test_a_typed_volume_changes_its_period_only() -> None:
    plain = bid(4)
    new = trader_view.revised_periods(plain, plain.periods, ["1.2", "2.5", "0.3", " 0 "])
    assert new[0] is plain.periods[0]
    assert new[1].curve == points(("50", "2.5"), ("100", "0.4"))
    assert new[2].curve == points(("50", "0.3"), ("100", "0.3"))
    assert {point.volume_mw for point in new[3].curve} == {Decimal(0)}


@given(st.decimals(min_value=0, max_value=1000, places=1))
def test_a_revised_curve_still_falls_with_the_price_and_starts_at_what_was_typed(volume: Decimal) -> None:
    [period] = trader_view.revised_periods(bid(1), bid(1).periods, [str(volume)])
    assert period.max_volume_mw == volume


@given(st.lists(st.decimals(min_value=-5, max_value=9, places=1), max_size=4))
def test_whatever_was_typed_before_the_planned_volume_is_the_planned_curve(typed: list[Decimal]) -> None:
    plain = bid(2)
    one = plain
    for volume in typed:
        one = replace(one, periods=trader_view.revised_periods(one, plain.periods, ["1.2", str(volume)]))
    assert trader_view.revised_periods(one, plain.periods, ["1.2", "1.2"]) == plain.periods
    straight = trader_view.revised_periods(plain, plain.periods, ["1.2", "0.7"])
    assert trader_view.revised_periods(one, plain.periods, ["1.2", "0.7"]) == straight


def test_an_untouched_period_of_another_curve_keeps_it() -> None:
    plain = bid(2)
    other = replace(plain.periods[0], curve=points(("40", "1.0")))
    one = replace(plain, periods=(other, plain.periods[1]))
    assert trader_view.revised_periods(one, plain.periods, ["1.0", "1.2"])[0] is other


@pytest.mark.parametrize("text", ["", "a lot", "1,5", "1e3", "NaN", "--1", "1" * 21, "=1+1"])
def test_what_is_no_number_is_named_by_its_period(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        trader_view.revised_periods(bid(2), bid(2).periods, ["1.2", text])
    assert caught.value.field == "volume_mw[00:15 +02:00]"


def test_one_value_per_period_is_needed() -> None:
    with pytest.raises(InvalidInput, match="needs 2 values"):
        trader_view.revised_periods(bid(2), bid(2).periods, ["1.2"])


@given(st.text(max_size=8))
def test_no_text_of_the_export_is_a_formula(name: str) -> None:
    one = bid(1, id=f"=cmd|{name}")
    [_, line] = trader_view.csv_lines(one, trader_view.period_rows(one, None, None))
    assert line[0] == f"'=cmd|{name}"
    assert Decimal(line[5]) == one.periods[0].max_volume_mw


def test_a_sold_volume_stays_a_number_and_its_curve_is_text() -> None:
    one = bid(1)
    sold = BidPeriod(start=START, end=START + QUARTER, curve=points(("50", "-0.5")))
    one = replace(one, periods=(sold,))
    [_, line] = trader_view.csv_lines(one, trader_view.period_rows(one, None, None))
    assert (line[5], line[6]) == ("-0.5", "'-0.5 @ 50")


def test_events_come_newest_first_in_local_time() -> None:
    rows = [event(f"e{i}", received_at=START + timedelta(minutes=i), start=START, test_event=True) for i in range(30)]
    lines = operator_view.event_lines(rows, START, ZoneInfo("Europe/Brussels"))
    assert [line.event_id for line in lines] == [f"e{i}" for i in range(29, 9, -1)]
    assert (lines[0].active, lines[0].status, lines[0].opt) == ("26 Oct 00:00 to 01:00", "active", "undecided")
    open_end = event("open", start=START, active=Interval(start=START, end=None))
    assert operator_view.event_lines([open_end], START, ZoneInfo("UTC"))[0].active == "25 Oct 22:00 until cancelled"


# ------------------------------------------------------------ logins


def test_what_an_open_page_fetches_by_itself_does_not_keep_a_login_alive() -> None:
    book = SessionBook()
    session_id = book.open(Principal(tenant="demo", actor="tara", roles=frozenset({Role.TRADER})), 0.0)
    for second in range(0, int(IDLE_SECONDS), 60):
        book.find(session_id, float(second), is_person=False)
    with pytest.raises(Unauthenticated):
        book.find(session_id, IDLE_SECONDS + 1.0, is_person=False)


def test_a_login_ends_when_idle_and_when_old() -> None:
    book = SessionBook()
    key = book.open(who(Role.TRADER), 0.0)
    now = 0.0
    while now + IDLE_SECONDS <= LONGEST_SECONDS:
        now += IDLE_SECONDS
        assert book.find(key, now).principal.actor == "tara"
    with pytest.raises(Unauthenticated):
        book.find(key, LONGEST_SECONDS + 1.0)
    other = book.open(who(Role.TRADER), 0.0)
    with pytest.raises(Unauthenticated):
        book.find(other, IDLE_SECONDS + 1.0)


@pytest.mark.parametrize("key", [None, "", "unknown"])
def test_an_unknown_login_is_nobody(key: str | None) -> None:
    with pytest.raises(Unauthenticated):
        SessionBook().find(key, 0.0)


def test_closing_is_for_good_and_ids_are_not_guessable() -> None:
    book = SessionBook()
    keys = {book.open(who(Role.TRADER), 0.0) for _ in range(50)}
    assert len(keys) == 50
    assert min(map(len, keys)) >= 43
    gone = keys.pop()
    book.close(gone)
    book.close(gone)
    book.close(None)
    with pytest.raises(Unauthenticated):
        book.find(gone, 0.0)


def test_the_number_of_logins_is_bounded_and_the_longest_unused_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_SESSIONS >= 1000
    monkeypatch.setattr("gateway.web.sessions.MOST_SESSIONS", 2)
    book = SessionBook()
    first, second = book.open(who(Role.TRADER), 0.0), book.open(who(Role.TRADER), 1.0)
    book.find(first, 2.0)
    third = book.open(who(Role.TRADER), 3.0)
    with pytest.raises(Unauthenticated):
        book.find(second, 3.0)
    assert book.find(first, 3.0).csrf_token != book.find(third, 3.0).csrf_token


@pytest.mark.parametrize("token", [None, "", "wrong", "ünïcode"])
def test_a_wrong_form_token_is_refused(token: str | None) -> None:
    book = SessionBook()
    session = book.find(book.open(who(Role.TRADER), 0.0), 0.0)
    require_csrf(session, session.csrf_token)
    with pytest.raises(PermissionRefused):
        require_csrf(session, token)
