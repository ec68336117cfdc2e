"""Scenarios of whole days: joint errors, weights, bands that hold what they promise, and few that stand for many."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.forecasts.scenarios import (
    ScenarioSet,
    add_errors,
    conformal_quantiles,
    draw_scenarios,
    recency_weights,
    reduce_scenarios,
)
from gateway.domain.errors import InvalidInput


def equal(paths: object) -> ScenarioSet:
    rows = np.array(paths, dtype=float)
    return ScenarioSet(paths=rows, weights=recency_weights(len(rows)))


class TestScenarioSet:
    def test_errors_are_added_as_whole_days(self) -> None:
        made = add_errors(np.array([10.0, 20.0]), np.array([[1.0, -1.0], [3.0, 5.0]]))
        np.testing.assert_array_equal(made.paths, [[11.0, 19.0], [13.0, 25.0]])
        np.testing.assert_array_equal(made.weights, [0.5, 0.5])
        np.testing.assert_array_equal(made.mean(), [12.0, 22.0])

    def test_hours_that_went_together_go_together(self) -> None:
        rng = np.random.default_rng(1)
        errors = rng.normal(size=(400, 1)) + 0.3 * rng.normal(size=(400, 24))
        made = add_errors(np.zeros(24), errors)
        drawn = draw_scenarios(made, 400, np.random.default_rng(2))
        assert np.corrcoef(drawn.paths[:, 3], drawn.paths[:, 19])[0, 1] > 0.85

    def test_recency_halves(self) -> None:
        weights = recency_weights(15, 7.0)
        assert weights.sum() == pytest.approx(1.0)
        assert weights[14] / weights[7] == pytest.approx(2.0)
        assert weights[7] / weights[0] == pytest.approx(2.0)

    def test_quantiles_weigh(self) -> None:
        made = ScenarioSet(paths=np.array([[3.0], [1.0], [2.0]]), weights=np.array([0.2, 0.5, 0.3]))
        np.testing.assert_array_equal(made.quantiles([0.5, 0.6, 0.8, 0.9])[:, 0], [1.0, 2.0, 2.0, 3.0])

    def test_draws_repeat_with_their_seed_and_follow_the_weights(self) -> None:
        made = ScenarioSet(paths=np.array([[0.0], [1.0]]), weights=np.array([0.25, 0.75]))
        one, two = (draw_scenarios(made, 4000, np.random.default_rng(3)) for _ in range(2))
        np.testing.assert_array_equal(one.paths, two.paths)
        assert one.mean()[0] == pytest.approx(0.75, abs=0.03)

    @pytest.mark.parametrize(
        ("paths", "weights", "field"),
        [
            (np.zeros((0, 2)), np.zeros(0), "paths"),
            (np.zeros(2), np.full(2, 0.5), "paths"),
            (np.array([[np.nan]]), np.ones(1), "paths"),
            (np.zeros((2, 1)), np.ones(2), "weights"),
            (np.zeros((2, 1)), np.ones(1), "weights"),
        ],
    )
    def test_a_wrong_set_is_refused(self, paths: np.ndarray, weights: np.ndarray, field: str) -> None:
        with pytest.raises(InvalidInput, match=field):
            ScenarioSet(paths=paths, weights=weights)

    def test_wrong_counts_are_refused(self) -> None:
        made = equal([[0.0], [1.0]])
        for call in (
            lambda: recency_weights(0),
            lambda: recency_weights(3, 0.0),
            lambda: draw_scenarios(made, 0, np.random.default_rng(1)),
            lambda: reduce_scenarios(made, 0),
            lambda: reduce_scenarios(made, 3),
            lambda: add_errors(np.zeros(2), np.zeros((0, 2))),
            lambda: add_errors(np.zeros(2), np.zeros((4, 3))),
            lambda: conformal_quantiles(np.zeros(2), np.zeros((4, 3)), [0.5]),
        ):
            with pytest.raises(InvalidInput):
                call()


class TestConformal:
    def test_ranks_by_hand(self) -> None:
        errors = np.arange(1.0, 20.0)[:, None]  # 19 errors, 1 to 19: place (19 + 1) q
        band = conformal_quantiles(np.array([100.0]), errors, [0.05, 0.1, 0.5, 0.9, 0.95])
        np.testing.assert_array_equal(band[:, 0], [101.0, 102.0, 110.0, 118.0, 119.0])

    def test_beyond_the_errors_the_outermost_must_do(self) -> None:
        band = conformal_quantiles(np.zeros(1), np.array([[-1.0], [2.0]]), [0.01, 0.99])
        np.testing.assert_array_equal(band[:, 0], [-1.0, 2.0])

    def test_the_band_covers_what_it_promises(self) -> None:
        rng = np.random.default_rng(4)
        inside = plain = 0.0
        for _ in range(400):
            errors, came = rng.standard_t(4, size=(30, 10)), rng.standard_t(4, size=10)
            low, high = conformal_quantiles(np.zeros(10), errors, [0.1, 0.9])
            inside += float(((came >= low) & (came <= high)).mean())
            narrow = np.quantile(errors, [0.1, 0.9], axis=0)
            plain += float(((came >= narrow[0]) & (came <= narrow[1])).mean())
        assert inside / 400 >= 0.79
        assert plain < inside


class TestReduction:
    def test_two_heaps_by_hand(self) -> None:
        # 10 is nearest to all (22 away in sum), then 0 and 1 leave the same, and the earlier one is kept.
        reduced = reduce_scenarios(equal([[0.0], [1.0], [10.0], [11.0], [12.0]]), 2)
        np.testing.assert_array_equal(reduced.paths[:, 0], [0.0, 10.0])
        np.testing.assert_allclose(reduced.weights, [0.4, 0.6])

    def test_all_kept_is_the_same_set(self) -> None:
        made = ScenarioSet(paths=np.array([[3.0, 1.0], [0.0, 2.0], [3.0, 1.0]]), weights=np.array([0.2, 0.5, 0.3]))
        reduced = reduce_scenarios(made, 3)
        np.testing.assert_array_equal(reduced.paths, made.paths)
        np.testing.assert_allclose(reduced.weights, made.weights)

    def test_a_likely_path_is_kept_first(self) -> None:
        made = ScenarioSet(paths=np.array([[0.0], [5.0], [6.0]]), weights=np.array([0.8, 0.1, 0.1]))
        assert reduce_scenarios(made, 1).paths.tolist() == [[0.0]]

    @settings(max_examples=40)
    @given(st.integers(0, 10_000), st.integers(1, 6))
    def test_it_is_near_the_best_choice_and_keeps_the_probability(self, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        paths, weights = rng.normal(size=(7, 3)), rng.dirichlet(np.ones(7))
        made = ScenarioSet(paths=paths, weights=weights)
        reduced = reduce_scenarios(made, count)
        assert reduced.weights.sum() == pytest.approx(1.0)
        apart = np.linalg.norm(paths[:, None] - paths[None], axis=2)

        def left(kept: tuple[int, ...]) -> float:
            return float(weights @ apart[:, kept].min(axis=1))

        rows = tuple(int(np.flatnonzero((paths == one).all(axis=1))[0]) for one in reduced.paths)
        best = min(left(kept) for kept in itertools.combinations(range(7), count))
        worst = max(left(kept) for kept in itertools.combinations(range(7), count))
        assert left(rows) <= best + 0.35 * (worst - best) + 1e-12
        if count == 1:
            assert left(rows) == pytest.approx(best)
        # Each path gave its weight to the nearest kept one.
        nearest = np.argmin(apart[:, rows], axis=1)
        np.testing.assert_allclose(reduced.weights, np.bincount(nearest, weights, minlength=count))
