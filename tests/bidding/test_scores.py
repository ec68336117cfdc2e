"""Scores of forecasts: hand cases, propriety, and agreement with brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.forecasts.scores import (
    crps_of_members,
    crps_of_quantiles,
    energy_score,
    interval_coverage,
    mean_absolute_error,
    mean_with_interval,
    pinball_loss,
    realised_regret,
    relative_mae,
    variogram_score,
)
from gateway.domain.errors import InvalidInput

NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=6)


class TestPoint:
    def test_errors_are_relative_to_the_naive(self) -> None:
        actual = [[10.0, 20.0], [30.0, 40.0]]
        assert mean_absolute_error(actual, [[11.0, 20.0], [30.0, 37.0]]) == pytest.approx(1.0)
        assert relative_mae(actual, np.array(actual) + 1.0, np.array(actual) - 4.0) == pytest.approx(0.25)

    def test_a_perfect_naive_leaves_nothing_to_compare(self) -> None:
        with pytest.raises(InvalidInput, match="no error"):
            relative_mae([1.0], [2.0], [1.0])

    def test_shapes_and_numbers_are_checked(self) -> None:
        with pytest.raises(InvalidInput, match="shape"):
            mean_absolute_error([1.0], [1.0, 2.0])
        with pytest.raises(InvalidInput) as refused:
            mean_absolute_error([1.0, 2.0], [1.0, np.nan])
        assert refused.value.field == "forecast[1]"
        with pytest.raises(InvalidInput, match="at least one"):
            mean_absolute_error([], [])


class TestQuantiles:
    def test_pinball_by_hand(self) -> None:
        # 10 came: 8 was the 10 % value (2 above it), 14 the 90 % value (4 below it).
        np.testing.assert_allclose(pinball_loss([10.0], [[8.0], [14.0]], [0.1, 0.9]), [0.2, 0.4])

    def test_the_true_quantile_loses_least(self) -> None:
        sample = np.random.default_rng(1).exponential(1.0, 20_000)
        guesses = np.linspace(0.5, 4.0, 36)
        losses = [pinball_loss(sample, [np.full(len(sample), guess)], [0.8])[0] for guess in guesses]
        assert guesses[int(np.argmin(losses))] == pytest.approx(-np.log(0.2), abs=0.1)

    def test_many_quantiles_give_the_crps_of_the_ensemble(self) -> None:
        members = np.random.default_rng(2).normal(0.0, 1.0, 4000)
        levels = (np.arange(400) + 0.5) / 400
        by_quantiles = crps_of_quantiles([0.7], np.quantile(members, levels)[:, None], levels)
        assert by_quantiles == pytest.approx(crps_of_members([0.7], members[:, None]), rel=0.01)

    @pytest.mark.parametrize("levels", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.9, 0.1], [np.nan]])
    def test_levels_are_checked(self, levels: list[float]) -> None:
        with pytest.raises(InvalidInput, match="levels"):
            pinball_loss([1.0], np.ones((max(len(levels), 1), 1)), levels)

    def test_a_level_without_its_quantile_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="expected 2"):
            pinball_loss([1.0], [[1.0]], [0.1, 0.9])

    def test_coverage_counts_the_edges(self) -> None:
        assert interval_coverage([1.0, 2.0, 3.0, 9.0], [1.0] * 4, [3.0] * 4) == pytest.approx(0.75)


class TestEnsembles:
    def test_crps_by_hand(self) -> None:
        # Members 0 and 4, 1 came: E|X-y| = 2, E|X-X'| = 2.
        assert crps_of_members([1.0], [[0.0], [4.0]]) == pytest.approx(1.0)
        # Three of four chances for 0: E|X-y| = 1.5, E|X-X'| = 2 * 3/16 * 4 = 1.5.
        assert crps_of_members([1.0], [[0.0], [4.0]], [0.75, 0.25]) == pytest.approx(0.75)

    @given(NUMBERS, st.floats(-100, 100))
    def test_crps_is_its_definition(self, members: list[float], came: float) -> None:
        rows = np.array(members)
        weights = np.arange(1.0, len(rows) + 1)
        weights /= weights.sum()
        apart = np.abs(rows[:, None] - rows[None, :])
        expected = weights @ np.abs(rows - came) - 0.5 * weights @ apart @ weights
        assert crps_of_members([came], rows[:, None], weights) == pytest.approx(expected, abs=1e-9)
        assert energy_score([came], rows[:, None], weights) == pytest.approx(expected, abs=1e-9)

    def test_energy_score_by_hand(self) -> None:
        assert energy_score([0.0, 0.0], [[3.0, 4.0], [3.0, 4.0]]) == pytest.approx(5.0)
        assert energy_score([0.0, 0.0], [[3.0, 4.0], [-3.0, -4.0]]) == pytest.approx(5.0 - 0.5 * 5.0)

    def test_variogram_score_by_hand(self) -> None:
        # |0 - 4|^0.5 = 2 came, 0 and 3 were expected with equal chance: (2 - 1.5)^2 on two of four pairs.
        assert variogram_score([0.0, 4.0], [[1.0, 1.0], [0.0, 9.0]]) == pytest.approx(0.125)

    def test_paths_that_move_together_as_in_truth_score_best(self) -> None:
        rng = np.random.default_rng(3)
        truth = rng.normal(size=(200, 1)) + 0.2 * rng.normal(size=(200, 8))
        whole = rng.normal(size=(60, 1)) + 0.2 * rng.normal(size=(60, 8))
        shuffled = np.column_stack([rng.permutation(column) for column in whole.T])
        assert np.mean([variogram_score(day, whole) for day in truth]) < 0.6 * np.mean(
            [variogram_score(day, shuffled) for day in truth]
        )
        assert np.mean([energy_score(day, whole) for day in truth]) < np.mean(
            [energy_score(day, shuffled) for day in truth]
        )

    @pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [1.0]])
    def test_weights_are_probabilities(self, weights: list[float]) -> None:
        with pytest.raises(InvalidInput, match="weights"):
            energy_score([0.0], [[1.0], [2.0]], weights)

    def test_the_order_is_above_zero(self) -> None:
        with pytest.raises(InvalidInput, match="order"):
            variogram_score([0.0], [[1.0]], order=0.0)


class TestRegret:
    def test_regret_is_what_was_paid_above_foresight(self) -> None:
        regret = realised_regret([12.0, 9.0, 30.0], [10.0, 9.0, 20.0], np.random.default_rng(4), block_days=1)
        assert regret.mean == pytest.approx(4.0)
        assert 0.0 <= regret.low < 4.0 < regret.high <= 10.0
        assert regret.day_count == 3

    def test_a_constant_has_no_width_and_seeds_repeat(self) -> None:
        one = mean_with_interval(np.full(30, 2.5), np.random.default_rng(5))
        assert (one.low, one.mean, one.high) == (2.5, 2.5, 2.5)
        values = np.random.default_rng(6).normal(size=60)
        draws = [mean_with_interval(values, np.random.default_rng(7)) for _ in range(2)]
        assert draws[0] == draws[1]

    def test_the_interval_holds_the_true_mean_as_often_as_it_says(self) -> None:
        rng = np.random.default_rng(8)
        held = 0
        for _ in range(200):
            found = mean_with_interval(rng.normal(1.0, 1.0, 120), rng, block_days=1, resamples=400, confidence=0.9)
            held += found.low <= 1.0 <= found.high
        assert 0.83 < held / 200 < 0.96

    def test_days_that_go_together_widen_the_interval(self) -> None:
        rng = np.random.default_rng(9)
        weeks = np.repeat(rng.normal(size=40), 7)
        single = mean_with_interval(weeks, np.random.default_rng(1), block_days=1)
        blocks = mean_with_interval(weeks, np.random.default_rng(1), block_days=7)
        assert blocks.high - blocks.low > 1.7 * (single.high - single.low)

    @pytest.mark.parametrize(
        ("options", "field"),
        [({"block_days": 0}, "block_days"), ({"resamples": 0}, "resamples"), ({"confidence": 1.0}, "confidence")],
    )
    def test_wrong_options_are_named(self, options: dict[str, int], field: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            mean_with_interval([1.0, 2.0], np.random.default_rng(1), **options)
        assert refused.value.field == field

    def test_series_must_be_of_the_same_days(self) -> None:
        with pytest.raises(InvalidInput, match="expected 2"):
            realised_regret([1.0, 2.0], [1.0], np.random.default_rng(1))
        with pytest.raises(InvalidInput, match="at least one day"):
            mean_with_interval([], np.random.default_rng(1))
