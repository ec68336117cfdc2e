"""States of commands from acknowledgements, outcomes and measurements."""

from dataclasses import replace

import numpy as np
import pytest

from gateway.domain.commands import CommandBook, Sent
from gateway.domain.dispatch import DispatchState
from gateway.domain.follow_rules import FollowRules

RULES = FollowRules(settle_s=10.0, samples=2, not_following_after_s=60.0, ack_timeout_s=30.0, taper_after_s=100.0)
ALL = np.array([0, 1])
FALLBACK = np.array([4.0, 4.0])


def sent(kw: float, sequence: int, at: float = 0.0, lease: float = 120.0) -> Sent:
    return Sent(
        batch=f"dispatch-{sequence}",
        sequence=sequence,
        at=at,
        lease_until=at + lease,
        index=ALL,
        limit_kw=np.array([kw, kw]),
        fallback_kw=FALLBACK,
    )


def book_with(kw: float, sequence: int = 1, *, is_accepted: bool = True) -> CommandBook:
    book = CommandBook(("a", "b"))
    book.send(sent(kw, sequence))
    if is_accepted:
        book.accept(ALL, np.array([kw, kw]), sequence=sequence, lease_until=120.0, now=1.0)
    return book


def see(book: CommandBook, a: float, at: float) -> DispatchState:
    book.observe(np.array([a, np.nan]), np.array([at, np.nan]), at, RULES)
    return DispatchState(int(book.state[0]))


def test_states_go_from_sent_to_followed() -> None:
    book = book_with(8.0, is_accepted=False)
    assert book.state.tolist() == [DispatchState.SENT] * 2
    book.accept(ALL, np.array([8.0, 8.0]), sequence=1, lease_until=120.0, now=1.0)
    assert book.state.tolist() == [DispatchState.ACCEPTED] * 2
    book.report(ALL, np.full(2, DispatchState.APPLIED, dtype=np.int8), sequence=1, now=2.0)
    assert book.state.tolist() == [DispatchState.APPLIED] * 2
    assert see(book, 8.2, 15.0) is DispatchState.FOLLOWED
    assert book.state[1] == DispatchState.APPLIED, "not measured: unknown is not followed"


def test_two_measurements_over_the_limit_are_not_following_and_one_is_not() -> None:
    book = book_with(8.0)
    assert see(book, 11.0, 12.0) is DispatchState.ACCEPTED
    assert see(book, 11.0, 12.0) is DispatchState.ACCEPTED, "the same measurement again is no second one"
    assert see(book, 11.0, 17.0) is DispatchState.NOT_FOLLOWING
    assert see(book, 7.0, 22.0) is DispatchState.FOLLOWED


def test_one_measurement_over_the_limit_and_nothing_better_for_a_minute_is_not_following() -> None:
    book = book_with(8.0)
    see(book, 11.0, 12.0)
    book.observe(np.array([11.0, np.nan]), np.array([12.0, np.nan]), 73.0, RULES)
    assert book.state[0] == DispatchState.NOT_FOLLOWING


def test_measurements_right_after_a_command_say_nothing() -> None:
    book = book_with(8.0)
    see(book, 11.0, 5.0)
    assert see(book, 11.0, 9.0) is DispatchState.ACCEPTED
    assert see(book, 11.0, 12.0) is DispatchState.ACCEPTED


def test_a_measurement_from_before_a_command_was_accepted_says_nothing_about_it() -> None:
    book = book_with(0.0, is_accepted=False)
    book.report(ALL, np.full(2, DispatchState.REJECTED, dtype=np.int8), sequence=1, now=1.0)
    book.observe(np.array([6.0, np.nan]), np.array([40.0, np.nan]), 40.0, RULES)  # at its fallback
    book.send(sent(0.0, 2, at=101.0))
    book.accept(ALL, np.array([0.0, 0.0]), sequence=2, lease_until=220.0, now=102.0)
    assert see(book, 6.0, 40.0) is DispatchState.ACCEPTED
    book.observe(np.array([6.0, np.nan]), np.array([40.0, np.nan]), 170.0, RULES)
    assert book.state[0] == DispatchState.ACCEPTED, "an old measurement, and nothing since"
    assert see(book, 6.0, 111.0) is DispatchState.ACCEPTED, "it has time to settle"
    see(book, 6.0, 113.0)
    assert see(book, 6.0, 118.0) is DispatchState.NOT_FOLLOWING


def test_drawing_less_is_following() -> None:
    assert see(book_with(8.0), 0.0, 12.0) is DispatchState.FOLLOWED


def test_a_renewal_keeps_the_state_and_a_new_limit_does_not() -> None:
    book = book_with(8.0)
    see(book, 7.0, 15.0)
    book.send(sent(8.0, 2, at=40.0))
    assert book.state[0] == DispatchState.FOLLOWED
    book.send(sent(6.0, 3, at=50.0))
    assert book.state[0] == DispatchState.SENT


def test_the_same_limit_after_a_lapsed_lease_is_a_new_command_with_time_to_settle() -> None:
    book = book_with(0.0)
    see(book, 0.0, 15.0)
    book.send(sent(0.0, 2, at=200.0))
    assert book.state[0] == DispatchState.SENT
    book.accept(ALL, np.array([0.0, 0.0]), sequence=2, lease_until=320.0, now=201.0)
    assert [see(book, 4.0, at) for at in (202.0, 203.0, 204.0)] == [DispatchState.ACCEPTED] * 3


def test_who_has_no_lease_any_more_is_at_its_fallback_and_not_to_blame() -> None:
    book = book_with(0.0)
    book.send(sent(0.0, 2, at=100.0))
    assert [see(book, 4.0, at) for at in (130.0, 140.0, 150.0)] == [DispatchState.ACCEPTED] * 3


def test_a_platform_that_comes_back_does_not_hold_what_it_refused() -> None:
    book = book_with(8.0)
    book.send(sent(3.0, 2, at=10.0))
    book.report(ALL[:1], np.full(1, DispatchState.REJECTED, dtype=np.int8), sequence=2, now=11.0)
    book.accept(ALL[1:], np.array([3.0]), sequence=2, lease_until=130.0, now=11.0)
    book.resume(ALL, 2)
    assert book.state.tolist() == [DispatchState.REJECTED, DispatchState.ACCEPTED]
    assert book.accepted_kw.tolist() == [8.0, 3.0]
    assert book.must_resend.tolist() == [True, False]


def test_what_a_platform_has_read_and_not_answered_is_not_believed_when_it_comes_back() -> None:
    book = book_with(8.0)
    book.send(sent(3.0, 2, at=10.0))
    book.resume(ALL, 2)
    assert book.must_resend.tolist() == [True, True]
    assert book.state.tolist() == [DispatchState.SENT] * 2, (
        "a charger may have refused, and the answer was lost with the stream"
    )
    assert counted(book, 12.0) == [8.0, 8.0]


def test_an_unanswered_command_times_out_also_a_renewal() -> None:
    book = book_with(8.0)
    book.send(sent(8.0, 2, at=40.0))
    book.time_out(69.0, RULES)
    assert book.state[0] == DispatchState.ACCEPTED
    book.time_out(70.0, RULES)
    assert book.state[0] == DispatchState.TIMED_OUT
    book.accept(ALL, np.array([8.0, 8.0]), sequence=2, lease_until=160.0, now=71.0)
    assert book.state[0] == DispatchState.ACCEPTED


def test_words_about_old_sequences_never_change_a_state() -> None:
    book = book_with(8.0)
    book.send(sent(6.0, 2, at=20.0))
    book.accept(ALL, np.array([8.0, 8.0]), sequence=1, lease_until=120.0, now=21.0)
    book.report(ALL, np.full(2, DispatchState.REJECTED, dtype=np.int8), sequence=1, now=21.0)
    assert book.state.tolist() == [DispatchState.SENT] * 2


def test_what_may_be_drawn_is_the_larger_of_old_and_new_until_acknowledged() -> None:
    book = book_with(8.0)
    unknown = np.full(2, np.nan)
    book.send(sent(5.0, 2, at=20.0))
    assert book.counted_kw(FALLBACK, unknown, 21.0, RULES).tolist() == [8.0, 8.0]
    book.accept(ALL, np.array([5.0, 5.0]), sequence=2, lease_until=140.0, now=22.0)
    assert book.counted_kw(FALLBACK, unknown, 23.0, RULES).tolist() == [5.0, 5.0]
    assert book.counted_kw(FALLBACK, unknown, 141.0, RULES).tolist() == [4.0, 4.0], "the lease is over"


def test_a_refused_limit_counts_at_what_was_accepted_before() -> None:
    book = book_with(8.0)
    book.send(sent(5.0, 2, at=20.0))
    book.report(ALL, np.full(2, DispatchState.REJECTED, dtype=np.int8), sequence=2, now=21.0)
    assert book.counted_kw(FALLBACK, np.full(2, np.nan), 22.0, RULES).tolist() == [8.0, 8.0]
    assert book.counted_kw(FALLBACK, np.full(2, np.nan), 130.0, RULES).tolist() == [4.0, 4.0]


def test_a_measurement_above_everything_counts_as_measured() -> None:
    assert book_with(5.0).counted_kw(FALLBACK, np.array([11.0, 4.9]), 2.0, RULES).tolist() == [11.0, 5.0]


def test_a_tapering_car_leaves_the_rest_after_a_while() -> None:
    book = book_with(8.0)
    power = np.array([5.0, 7.9])
    for at in (15.0, 60.0, 116.0):
        book.observe(power, np.full(2, at), at, RULES)
    assert book.unused_kw(power, 116.0, RULES) == pytest.approx([3.0, 0.0])
    assert book.unused_kw(power, 100.0, RULES).tolist() == [0.0, 0.0]


def test_one_measurement_moves_what_is_smoothed_once_however_often_it_is_looked_at() -> None:
    book = book_with(8.0)
    see(book, 8.0, 12.0)
    book.send(sent(7.0, 2, at=13.0))  # measurements right after it say nothing, but they are measurements
    for look in range(20):
        book.observe(np.array([0.0, np.nan]), np.array([14.0, np.nan]), 14.0 + look, RULES)
    smoothed = 8.0 * np.exp(-2.0 / RULES.damping_s)
    assert book._smooth_kw[0] == pytest.approx(smoothed)


def test_a_returning_platform_is_sent_what_it_missed_only() -> None:
    book = book_with(8.0)
    book.send(
        Sent(
            batch="d",
            sequence=2,
            at=1.0,
            lease_until=9.0,
            index=ALL[:1],
            limit_kw=np.array([6.0]),
            fallback_kw=FALLBACK[:1],
        )
    )
    book.resume(ALL, 1)
    assert book.must_resend.tolist() == [True, False]
    assert book.state.tolist() == [DispatchState.SENT, DispatchState.ACCEPTED]


def test_commands_move_with_their_chargers_when_the_tree_changes() -> None:
    book = book_with(8.0)
    book.reasons[1] = "why"
    newer = CommandBook(("new", "b"))
    newer.carry_over(book)
    assert newer.limit_kw.tolist() == [0.0, 8.0]
    assert [newer.batch_of(i) for i in range(2)] == ["", "dispatch-1"]
    assert newer.reasons == {1: "why"}


def test_changes_are_told_once() -> None:
    book = book_with(8.0)
    assert book.take_changed().tolist() == [0, 1]
    assert book.take_changed().tolist() == []


def test_ids_of_more_platforms_than_are_remembered_without_looking_through_them_are_seldom_looked_through() -> None:
    platform_count, rounds = 5_000, 3
    book = CommandBook(tuple(f"c{i}" for i in range(platform_count)))
    counts = []
    for k in range(rounds * platform_count):
        i = np.array([k % platform_count])
        book.send(replace(sent(8.0, k + 1), index=i, limit_kw=np.array([8.0]), fallback_kw=np.array([4.0])))
        counts.append(len(book._batch_names))
    newest = range((rounds - 1) * platform_count + 1, rounds * platform_count + 1)
    assert [book.batch_of(i) for i in range(platform_count)] == [f"dispatch-{k}" for k in newest]
    assert np.count_nonzero(np.diff(counts) < 0) <= rounds
    assert max(counts) <= 2 * (platform_count + 1) + 1


# ---------------------------------------------------------------- several commands without an answer


def test_a_larger_command_between_two_smaller_ones_counts_until_something_newer_is_acknowledged() -> None:
    book = book_with(3.0)
    book.send(sent(10.0, 2, at=2.0))
    book.send(sent(3.0, 3, at=3.0))
    nothing = np.full(2, np.nan)
    assert book.counted_kw(FALLBACK, nothing, 4.0, RULES).tolist() == [10.0, 10.0], "it may have been passed on"
    book.accept(ALL[:1], np.array([3.0]), sequence=3, lease_until=123.0, now=5.0)
    assert book.counted_kw(FALLBACK, nothing, 5.0, RULES).tolist() == [3.0, 10.0]
    book.send(sent(3.0, 4, at=50.0))
    assert book.counted_kw(FALLBACK, nothing, 122.5, RULES).tolist() == [3.0, 10.0]
    assert book.counted_kw(FALLBACK, nothing, 123.5, RULES).tolist() == [4.0, 4.0], "a renewal does not prolong it"
    book.forget(ALL)
    assert book.counted_kw(FALLBACK, nothing, 6.0, RULES).tolist() == [4.0, 4.0]


def test_a_charger_that_changes_its_platform_counts_at_the_most_it_was_told_and_starts_its_numbers_anew() -> None:
    book = book_with(3.0, sequence=7)
    book.send(sent(10.0, 8, at=2.0))
    book.move(ALL[:1])
    nothing = np.full(2, np.nan)
    assert book.counted_kw(FALLBACK, nothing, 4.0, RULES).tolist() == [10.0, 10.0]
    book.send(sent(5.0, 1, at=5.0))
    assert book.counted_kw(FALLBACK, nothing, 6.0, RULES)[0] == 10.0
    book.accept(ALL[:1], np.array([5.0]), sequence=1, lease_until=125.0, now=6.0)
    assert book.counted_kw(FALLBACK, nothing, 6.0, RULES)[0] == 5.0


@pytest.mark.parametrize("seed", range(4))
def test_chargers_side_by_side_fare_as_those_apart(seed: int) -> None:
    """What is read and written as a slice of the arrays ends in the same state as what is picked out of them."""
    rng, count = np.random.default_rng(seed), 200
    apart = np.arange(count) * 2
    together = np.arange(count)
    books = CommandBook(tuple(map(str, range(count)))), CommandBook(tuple(map(str, range(2 * count))))
    for sequence in range(1, 6):
        part = slice(*sorted(rng.choice(count + 1, 2, replace=False).tolist())) if sequence > 1 else slice(0, count)
        kw = np.round(rng.random(count), 0)[part]
        for book, index in zip(books, (together[part], apart[part]), strict=True):
            at = 20.0 * sequence
            book.send(
                Sent(
                    batch=f"d-{sequence}",
                    sequence=sequence,
                    at=at,
                    lease_until=at + 30.0,
                    index=index,
                    limit_kw=kw,
                    fallback_kw=kw,
                )
            )
            book.hand_over(index, sequence, at + 25.0)
            book.accept(
                index[: len(kw) // 2], kw[: len(kw) // 2], sequence=sequence, lease_until=at + 25.0, now=at + 1.0
            )
            book.time_out(at + 15.0, FollowRules(ack_timeout_s=10.0))
    for name, values in vars(books[0]).items():
        if isinstance(values, np.ndarray):
            assert np.array_equal(values, getattr(books[1], name)[apart], equal_nan=values.dtype.kind == "f"), name
    everybody = books[0].is_any_loose(together, 500.0, RULES), books[1].is_any_loose(apart, 500.0, RULES)
    assert everybody == (True, True)


def shown_more() -> CommandBook:
    """A charger that took 4 kW and shows that it allows 11."""
    fresh = CommandBook(("a", "b"))
    both = np.array([0, 1])
    for sequence, kw in ((1, 8.0), (2, 4.0)):
        fresh.send(
            Sent(
                batch=f"d{sequence}",
                sequence=sequence,
                at=10.0 * sequence,
                lease_until=200.0,
                index=both,
                limit_kw=np.full(2, kw),
                fallback_kw=np.zeros(2),
            )
        )
        if sequence == 1:
            fresh.accept(both, np.full(2, kw), sequence=1, lease_until=200.0, now=11.0)
    fresh.show(both, np.array([11.0, np.nan]))
    refused = np.full(2, DispatchState.REJECTED, dtype=np.int8)
    fresh.report(both, refused, sequence=2, now=21.0)
    return fresh


def counted(some: CommandBook, now: float) -> list[float]:
    return [float(kw) for kw in some.counted_kw(np.zeros(2), np.full(2, np.nan), now, FollowRules())]


def test_what_a_charger_shows_beyond_what_it_was_sent_counts_until_it_follows() -> None:
    book = shown_more()
    both, rules = np.array([0, 1]), FollowRules()
    assert counted(book, 22.0) == [11.0, 8.0], "without a word of its own the last accepted limit counts"
    assert counted(book, 500.0) == [11.0, 0.0], "no lease ends what the charger said itself"
    again = Sent(
        batch="d3",
        sequence=3,
        at=30.0,
        lease_until=300.0,
        index=both,
        limit_kw=np.full(2, 4.0),
        fallback_kw=np.zeros(2),
    )
    book.send(again)
    book.accept(both, again.limit_kw, sequence=3, lease_until=300.0, now=31.0)
    assert counted(book, 32.0) == [11.0, 4.0], "accepting is not following"
    assert book.is_doubted(32.0, rules).tolist() == [True, False]
    assert book.is_any_loose(both, 32.0, rules)
    book.observe(np.full(2, 3.9), np.full(2, 60.0), 60.0, rules)
    assert book.state.tolist() == [DispatchState.FOLLOWED] * 2
    assert counted(book, 61.0) == [4.0, 4.0]
    assert book.is_doubted(61.0, rules).tolist() == [False, False]


def test_what_a_charger_showed_goes_with_what_it_was_told() -> None:
    book = shown_more()
    book.forget(np.array([0]))
    assert counted(book, 22.0) == [0.0, 8.0]


def test_what_a_charger_showed_is_restored_and_ends_where_it_was_seen_to_follow() -> None:
    book, both = shown_more(), np.array([0, 1])
    book.show(both, np.array([11.0, 7.0]))
    book.restore(both, np.array([DispatchState.REJECTED, DispatchState.FOLLOWED], dtype=np.int8), 40.0)
    assert np.isnan(book.shown_kw).tolist() == [False, True]


# ---------------------------------------------------------------- accepted by the platform, refused by the charger


@pytest.mark.parametrize("state", [DispatchState.REJECTED, DispatchState.TIMED_OUT])
@pytest.mark.parametrize("is_restored", [False, True])
def test_a_charger_that_refuses_what_its_platform_accepted_holds_what_it_had_before(
    state: DispatchState, is_restored: bool
) -> None:
    book = book_with(11.0)
    book.send(sent(5.0, 2, at=2.0))
    states = np.full(2, state, dtype=np.int8)
    if is_restored:
        book.restore(ALL, np.full(2, DispatchState.ACCEPTED, dtype=np.int8), 3.0)
        book.restore(ALL, states, 4.0)
    else:
        book.accept(ALL, np.array([5.0, 5.0]), sequence=2, lease_until=122.0, now=3.0)
        book.report(ALL, states, sequence=2, now=4.0)
        book.report(ALL, states, sequence=2, now=4.0)
    nothing = np.full(2, np.nan)
    assert book.counted_kw(FALLBACK, nothing, 5.0, RULES).tolist() == [11.0, 11.0]
    assert (book.counted_kw(FALLBACK, nothing, 121.0, RULES) <= 5.0).all(), "its lease is over"
    book.send(sent(5.0, 3, at=6.0))
    book.accept(ALL, np.array([5.0, 5.0]), sequence=3, lease_until=126.0, now=7.0)
    assert book.counted_kw(FALLBACK, nothing, 8.0, RULES).tolist() == [5.0, 5.0]
    book.send(sent(5.0, 4, at=50.0))
    book.accept(ALL, np.array([5.0, 5.0]), sequence=4, lease_until=170.0, now=51.0)
    book.report(ALL, states, sequence=4, now=52.0)
    assert book.counted_kw(FALLBACK, nothing, 53.0, RULES).tolist() == [5.0, 5.0], "a renewal: it holds what it had"
