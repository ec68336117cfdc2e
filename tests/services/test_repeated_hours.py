"""Energy when a clock is set back: a delivery period is counted once, however often the clock shows it (C4)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.settlement import MeteredPeriod
from gateway.services.track_fleet.registers import RegisterBank
from tests.fakes.clock import SetClock
from tests.services.scene import TENANT, Scene, tree
from tests.services.test_track_fleet import readings, take

KW = 6.0
QUARTER_KWH = KW / 4.0
STEP_S = 900.0
GRACE_S = 30.0


class Metering:
    """A bank whose one meter counts a constant power, read every so often, beside a clock that is set."""

    def __init__(self, *, every_s: float = 20.0, may_fall: bool = False) -> None:
        self.bank = RegisterBank(1, closed_until=0.0, step_s=STEP_S, longest_gap_s=120.0)
        self.energy_kwh: list[float] = []
        self.repeated_kwh = 0.0
        self._register_kwh = np.full(1, np.nan)
        self.elapsed_s = 0.0
        self.ahead_s = 0.0
        self._every_s = every_s
        self._may_fall = may_fall

    @property
    def now(self) -> float:
        return self.elapsed_s + self.ahead_s

    def run(self, seconds: float) -> "Metering":
        for _ in range(round(seconds / self._every_s)):
            kwh = np.array([100.0 + KW * self.elapsed_s / 3600.0])
            self.bank.take(np.array([0]), kwh, self.now, may_fall=self._may_fall)
            while self.now >= self.bank.closed_until + STEP_S + GRACE_S:
                closed = self.bank.close()
                self.energy_kwh.append(float(closed.energy_kwh[0]))
                self.repeated_kwh += closed.repeated_kwh
                self._register_kwh = closed.register_kwh
            self.elapsed_s += self._every_s
        return self

    def set_back(self, seconds: float) -> "Metering":
        self.ahead_s -= seconds
        self.bank.shift(-seconds)
        return self

    def restart(self) -> "Metering":
        """Go on from the register that was stored when the last period closed."""
        border = self.bank.closed_until
        self.bank = RegisterBank(1, closed_until=border, step_s=STEP_S, longest_gap_s=120.0)
        self.bank.restore(np.array([0]), self._register_kwh, border)
        return self


@pytest.mark.parametrize("may_fall", [False, True])
@pytest.mark.parametrize("back_s", [3_600.0, 7_200.0, 1_000.0, 910.0])
def test_c4_an_hour_that_the_clock_shows_twice_is_counted_once(back_s: float, may_fall: bool) -> None:
    metering = Metering(may_fall=may_fall).run(2 * 3_600.0 + 500.0).set_back(back_s).run(back_s + 3_600.0)
    assert metering.energy_kwh[1:] == pytest.approx([QUARTER_KWH] * (len(metering.energy_kwh) - 1))
    assert len(metering.energy_kwh) >= 12
    assert metering.repeated_kwh == pytest.approx(KW * back_s / 3600.0, abs=KW * 60.0 / 3600.0)


def test_c4_a_second_or_two_in_an_open_period_lose_nothing() -> None:
    metering = Metering().run(3_600.0 + 500.0).set_back(2.0).run(3_600.0)
    total_kwh = KW * 7_200.0 / 3600.0
    assert sum(metering.energy_kwh) == pytest.approx(total_kwh, abs=QUARTER_KWH * 1.1)
    assert metering.repeated_kwh == 0.0


def test_c4_a_start_within_the_repeated_hour_knows_it() -> None:
    metering = Metering().run(2 * 3_600.0 + 500.0).set_back(3_600.0).run(600.0).restart().run(2 * 3_600.0)
    assert metering.energy_kwh[1:] == pytest.approx([QUARTER_KWH] * (len(metering.energy_kwh) - 1))
    assert len(metering.energy_kwh) >= 11


def test_c4_a_new_tree_within_the_repeated_hour_changes_nothing() -> None:
    metering = Metering().run(2 * 3_600.0 + 500.0).set_back(3_600.0).run(600.0)
    older, one = metering.bank, np.array([0])
    metering.bank = RegisterBank(1, closed_until=0.0, step_s=STEP_S, longest_gap_s=120.0)
    metering.bank.carry_over(older, one, one)
    metering.run(2 * 3_600.0)
    assert metering.energy_kwh[1:] == pytest.approx([QUARTER_KWH] * (len(metering.energy_kwh) - 1))
    assert metering.repeated_kwh == pytest.approx(KW, rel=0.05)


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.floats(min_value=60.0, max_value=5_000.0), st.floats(min_value=1.0, max_value=9_000.0)), max_size=5
    )
)
def test_c4_no_period_holds_more_than_what_was_drawn_while_the_clock_showed_it(
    steps: Sequence[tuple[float, float]],
) -> None:
    metering, within_s = Metering(every_s=60.0), 0.0
    for run_s, back_s in steps:
        metering.run(run_s)
        is_within = metering.now - back_s >= metering.bank.closed_until
        within_s += back_s if is_within else 0.0
        metering.set_back(back_s)
    metering.run(5_000.0)
    most_kwh = KW * (STEP_S + within_s + 120.0) / 3600.0
    assert all(0.0 <= kwh <= most_kwh for kwh in metering.energy_kwh if not np.isnan(kwh))


async def test_c4_a_clock_set_back_leaves_a_word_in_the_audit() -> None:
    clock = SetClock()
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    scene.clock = scene.store._clock = clock
    scene.services = scene._build()
    await scene.load()
    begun = clock.monotonic()

    def feed(minutes: int) -> None:
        for _ in range(minutes):
            hours = (clock.monotonic() - begun) / 3600.0
            row: dict[str, Any] = {"kw": KW, "kwh": 100.0 + KW * hours, "meter": 1_000.0 + 7.0 * hours}
            take(scene, readings(clock.now(), **row))
            clock.move(minutes=1)

    feed(62)
    assert await scene.services.tracker.close_periods()
    clock.ahead = -timedelta(hours=1)
    feed(80)
    assert await scene.services.tracker.close_periods()
    periods = scene.store.all(MeteredPeriod, TENANT)
    assert {round(one.energy_kwh, 2) for one in periods} == {1.75}
    entries = [change.entry for change in await scene.store.audit_entries() if change.entry.action == "metered.close"]
    said = [entry.detail["repeated_kwh"] for entry in entries if "repeated_kwh" in entry.detail]
    assert [float(kwh) for kwh in said] == pytest.approx([7.0 * 2], rel=0.05), "of both connection points, once"
