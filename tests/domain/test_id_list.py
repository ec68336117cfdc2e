"""Ids in a fixed order: found by place and by name, like a tuple with a dictionary of places."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.id_list import IdList

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=30, unique=True)


@given(names=NAMES, others=NAMES)
def test_it_is_a_tuple_with_a_dictionary_of_places(names: list[str], others: list[str]) -> None:
    ids, place = IdList(names), {name: i for i, name in enumerate(names)}
    assert list(ids) == names
    assert (len(ids), ids[1:3]) == (len(names), tuple(names[1:3]))
    assert [ids[i] for i in range(-len(names), len(names))] == names + names
    assert [ids.find(name) for name in (*names, *others)] == [place.get(name) for name in (*names, *others)]
    assert ids.places(others + names).tolist() == [place.get(name, -1) for name in others + names]
    assert [name in ids for name in others] == [name in place for name in others]


@given(names=NAMES, others=NAMES)
def test_what_two_lists_share_is_where_it_is_in_both(names: list[str], others: list[str]) -> None:
    here, there = IdList(names).shared_with(IdList(others))
    assert [names[i] for i in here] == [name for name in names if name in others]
    assert [others[j] for j in there] == [names[i] for i in here]


def test_ids_of_equal_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.domain.id_list.hash", len, raising=False)
    names = ["ab", "cd", "a", "ef"]
    ids = IdList(names)
    assert [ids.find(name) for name in names] == [0, 1, 2, 3]
    assert ids.places([*names, "gh", "xyz"]).tolist() == [0, 1, 2, 3, -1, -1]


def test_an_id_that_is_not_there_has_no_index() -> None:
    ids = IdList(("a", "b"))
    assert (ids.index("b"), IdList.of(ids) is ids) == (1, True)
    for wrong, start in (("c", 0), ("a", 1)):
        with pytest.raises(ValueError, match="not in the list"):
            ids.index(wrong, start)
    assert np.array(ids, dtype=object).tolist() == ["a", "b"]


def test_another_process_finds_the_ids_too() -> None:
    ids = IdList(["ch-1", "ch-2", "ch-3"])
    program = (
        "import pickle, sys; ids = pickle.load(sys.stdin.buffer); print([ids.find(f'ch-{i}') for i in range(1, 5)])"
    )
    for seed in ("1", "2"):
        heard = subprocess.run(
            [sys.executable, "-c", program],
            input=pickle.dumps(ids),
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert heard.stdout.decode().strip() == "[0, 1, 2, None]"
