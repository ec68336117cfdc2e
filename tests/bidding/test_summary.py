"""The published summary: quantiles of outer bounds over scenarios, which nothing that bids or dispatches takes."""

import inspect
import pkgutil
import typing
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest

import bidding.orders
from bidding.fleet.flexibility import FlexibilityTable
from bidding.fleet.sessions import SessionArrays
from bidding.fleet.summary import OuterBound, PublishedSummary, outer_bound, summarise
from gateway.domain.errors import InvalidInput

Random = Callable[..., SessionArrays]
BANDS = ("power_min_kwh", "power_max_kwh", "energy_min_kwh", "energy_max_kwh")


def test_one_car_by_hand(sessions_of: Callable[..., SessionArrays]) -> None:
    bound = outer_bound(FlexibilityTable.build(sessions_of((1, 4, 2, 3, 5)), 5))
    np.testing.assert_array_equal(bound.power_min_kwh, [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(bound.power_max_kwh, [0, 2, 2, 2, 0])
    np.testing.assert_array_equal(bound.energy_min_kwh, [0, 0, 1, 3, 3])
    np.testing.assert_array_equal(bound.energy_max_kwh, [0, 2, 4, 5, 5])


@pytest.mark.parametrize("slot_count", [92, 96, 100])
def test_r7_the_summary_is_the_quantile_of_every_band(random_sessions: Random, slot_count: int) -> None:
    rng = np.random.default_rng(slot_count)
    fleets = [random_sessions(rng, 30, slot_count, with_range=True) for _ in range(11)]
    mixed = [fleet if i % 2 else FlexibilityTable.build(fleet, slot_count) for i, fleet in enumerate(fleets)]
    summary = summarise(mixed, slot_count)
    assert summary.scenario_count == 11
    for band in BANDS:
        every = np.sort(
            [getattr(outer_bound(FlexibilityTable.build(fleet, slot_count)), band) for fleet in fleets], axis=0
        )
        # Of eleven values the second, the sixth and the tenth are P10, P50 and P90.
        np.testing.assert_allclose(getattr(summary, band), every[[1, 5, 9]], atol=1e-12)


def test_a_sure_future_has_no_spread(random_sessions: Random) -> None:
    fleet = random_sessions(np.random.default_rng(1), 20, 12)
    summary = summarise([fleet] * 3, 12)
    for band in BANDS:
        rows = getattr(summary, band)
        np.testing.assert_array_equal(rows[0], rows[2])


def test_nothing_that_makes_orders_takes_a_summary() -> None:
    for module in pkgutil.iter_modules(bidding.orders.__path__, "bidding.orders."):
        for _, function in inspect.getmembers(import_module(module.name), inspect.isfunction):
            assert not {OuterBound, PublishedSummary} & set(typing.get_type_hints(function).values())
    assert not {"schedule_kwh", "volume_kwh", "volumes", "energy_kwh"} & set(PublishedSummary.__dataclass_fields__)


def test_what_cannot_be_summarised_is_refused(sessions_of: Callable[..., SessionArrays]) -> None:
    fleet = sessions_of((0, 3, 1, 1))
    with pytest.raises(InvalidInput, match="scenarios"):
        summarise([], 4)
    with pytest.raises(InvalidInput, match=r"scenarios\[1\]"):
        summarise([fleet, FlexibilityTable(5)], 4)
    with pytest.raises(InvalidInput, match="fit_to_horizon"):
        summarise([fleet], 2)
    for quantiles in ((), (0.5, 0.5), (0.9, 0.1), (-0.1,), (1.1,)):
        with pytest.raises(InvalidInput, match="quantiles"):
            summarise([fleet], 4, quantiles)
