"""Packed columns of commands and outcomes: what goes in comes out, and what does not fit is refused."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.dispatch import (
    CommandRoster,
    DispatchBatch,
    DispatchOutcome,
    DispatchState,
    pack_places,
    pack_powers,
    pack_states,
)
from gateway.domain.errors import InvalidInput

NOW = datetime(2026, 3, 29, tzinfo=UTC)
ROSTER = CommandRoster.of("t", "csms", ("a", "b", "c"), (1.0, 2.0, 3.0))


def batch(places: list[int], limits: list[float], **changes: object) -> DispatchBatch:
    values: dict[str, object] = {
        "id": "d",
        "tenant": "t",
        "csms": "csms",
        "sequence": 1,
        "issued_at": NOW,
        "lease_until": NOW + timedelta(minutes=2),
        "cause": "limit:1",
        "roster": ROSTER.id,
        "packed_places": pack_places(np.array(places, dtype=np.int64)),
        "packed_limit_kw": pack_powers(np.array(limits)),
    }
    return DispatchBatch(**values | changes)  # type: ignore[arg-type]


@given(st.dictionaries(st.integers(0, 2), st.floats(0.0, 1e6), max_size=3))
def test_packed_commands_come_back_exactly(commands: dict[int, float]) -> None:
    row = batch(list(commands), list(commands.values()))
    rosters = {ROSTER.id: ROSTER}
    assert row.chargers(rosters) == tuple("abc"[place] for place in commands)
    assert row.limits_kw.tolist() == list(commands.values())
    assert row.fallbacks_kw(rosters).tolist() == [1.0 + place for place in commands]


def test_rows_that_name_their_chargers_are_still_read() -> None:
    row = batch([], [], roster="", charger_ids=("x",), limit_kw=(5.0,), fallback_kw=(1.5,))
    assert (row.chargers({}), row.limits_kw.tolist(), row.fallbacks_kw({}).tolist()) == (("x",), [5.0], [1.5])


def test_a_row_about_everybody_of_its_roster_names_no_positions() -> None:
    row = batch([], [4.0, 5.0, 6.0])
    rosters = {ROSTER.id: ROSTER}
    assert row.chargers(rosters) == ("a", "b", "c")
    assert (row.places.tolist(), row.fallbacks_kw(rosters).tolist()) == ([0, 1, 2], [1.0, 2.0, 3.0])
    told = DispatchOutcome(
        id="o", tenant="t", batch="d", csms="csms", sequence=1, at=NOW, roster=ROSTER.id, packed_states=bytes([2, 3, 2])
    )
    assert (told.chargers(rosters), told.all_states.tolist()) == (("a", "b", "c"), [2, 3, 2])


def test_of_an_unknown_roster_no_charger_is_known() -> None:
    assert batch([0], [1.0]).chargers({}) == ()


@pytest.mark.parametrize(
    ("places", "limits"), [([0, 1], [1.0]), ([0], [-1.0]), ([0], [float("nan")])], ids=["short", "negative", "nan"]
)
def test_packed_columns_that_cannot_be_are_refused(places: list[int], limits: list[float]) -> None:
    with pytest.raises(InvalidInput, match="packed_limit_kw"):
        batch(places, limits)


def test_the_id_of_a_roster_is_its_content() -> None:
    same = CommandRoster.of("t", "csms", ("a", "b", "c"), (1.0, 2.0, 3.0))
    others = [
        CommandRoster.of("t", "csms", ("a", "c", "b"), (1.0, 2.0, 3.0)),
        CommandRoster.of("t", "csms", ("a", "b", "c"), (1.0, 2.0, 3.5)),
        CommandRoster.of("t", "csms-2", ("a", "b", "c"), (1.0, 2.0, 3.0)),
    ]
    assert same.id == ROSTER.id
    assert ROSTER.id not in {other.id for other in others}


def test_an_outcome_packs_who_is_fine_and_names_who_is_not() -> None:
    row = DispatchOutcome(
        id="o",
        tenant="t",
        batch="d",
        csms="csms",
        sequence=1,
        at=NOW,
        charger_ids=("b",),
        states=(int(DispatchState.REJECTED),),
        detail=("locked",),
        roster=ROSTER.id,
        packed_places=pack_places(np.array([2, 0])),
        packed_states=pack_states(np.array([DispatchState.ACCEPTED, DispatchState.FOLLOWED], dtype=np.int8)),
    )
    assert row.chargers({ROSTER.id: ROSTER}) == ("b", "c", "a")
    assert row.all_states.tolist() == [DispatchState.REJECTED, DispatchState.ACCEPTED, DispatchState.FOLLOWED]
