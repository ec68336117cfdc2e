"""Leases of chargers whose clocks are wrong: they end when they should, and whatever a clock does, no limit is late to end (o30, C4)."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ocpp.charger_clock import Behind, ChargerClock
from gateway.ocpp.words import Verdict
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from tests.ocpp import csms_scene
from tests.ocpp.csms_scene import CsmsScene, Skewed, csms_settings, until

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
OPEN_A, FALLBACK_A = 15.9, 6.0


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def watched(behind_s: float, ages_s: list[float], every_s: float = 20.0) -> ChargerClock:
    """A clock that was told the time, and has stamped messages of some ages since."""
    clock = ChargerClock()
    clock.told()
    for number, age_s in enumerate(ages_s):
        came_at = NOW + seconds(number * every_s)
        clock.see(came_at - seconds(age_s + behind_s), came_at)
    return clock


# ------------------------------------------------------------------ what stamps tell


@given(
    behind_s=st.floats(min_value=-90_000.0, max_value=90_000.0),
    ages_s=st.lists(st.floats(min_value=0.0, max_value=1.0), min_size=3, max_size=9),
)
def test_c4_messages_that_say_the_same_tell_how_far_a_clock_is_off(behind_s: float, ages_s: list[float]) -> None:
    found = watched(behind_s, ages_s).behind
    assert abs(found.most.total_seconds() - behind_s) <= 3.5, "seconds are whole, and so little is not worth a write"
    assert found.most == found.least


@given(st.lists(st.floats(min_value=0.0, max_value=90_000.0), max_size=30), st.floats(min_value=0.0, max_value=30.0))
def test_c4_a_right_clock_is_never_taken_for_one_ahead(ages_s: list[float], every_s: float) -> None:
    assert watched(0.0, ages_s, every_s).behind.least >= timedelta(0)


@given(st.lists(st.floats(min_value=-90_000.0, max_value=90_000.0), max_size=30))
def test_c4_what_is_known_has_an_order(off_s: list[float]) -> None:
    behind = watched(0.0, off_s).behind
    assert behind.least <= behind.most <= behind.worst


def test_c4_what_was_kept_while_there_was_no_contact_says_nothing_of_the_clock() -> None:
    behind = watched(0.0, [3_600.0 - 60.0 * n for n in range(60)], every_s=0.2).behind
    assert (behind.least, behind.most) == (timedelta(0), timedelta(0))
    assert behind.worst >= timedelta(0)


def test_c4_one_late_message_changes_nothing() -> None:
    clock = watched(600.0, [0.2] * 4)
    known = clock.behind
    assert not clock.see(NOW + seconds(80 - 600 - 7), NOW + seconds(80))
    assert clock.behind == known


def test_c4_after_it_was_told_the_time_a_clock_may_be_right_or_as_it_was() -> None:
    clock = watched(600.0, [0.2] * 4)
    assert clock.behind == Behind.by(600.0)
    clock.told()
    assert clock.behind.least == seconds(600), "it was told before and did not mind"
    clock.begin()
    clock.told()
    assert clock.behind == Behind(least=timedelta(0), most=seconds(600), worst=seconds(600))


@pytest.mark.parametrize("year", [1, 1970, 2000, 9999])
def test_c4_no_date_is_too_far_away(year: int) -> None:
    stamped = datetime(year, 6, 1, tzinfo=UTC)
    clock = ChargerClock()
    for count in range(4):
        clock.see(stamped + seconds(20 * count), NOW + seconds(20 * count))
    assert clock.behind.is_absurd
    assert NOW - clock.behind.most > datetime.min.replace(tzinfo=UTC)


# ------------------------------------------------------------------ what is written by them


class Wrong:
    """Chargers of a scene have a clock that is off, and somebody may set it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, off_s: float) -> None:
        self.off_s = off_s
        self._clocks: list[Skewed] = []

        def charger(url: str, model: ChargerModel, clock: Any) -> ChargePoint:
            self._clocks.append(Skewed(clock, seconds(self.off_s)))
            return ChargePoint(url, model, self._clocks[-1])

        monkeypatch.setattr(csms_scene, "ChargePoint", charger)

    def set(self, off_s: float) -> None:
        self.off_s = off_s
        for clock in self._clocks:
            clock._by = seconds(off_s)


async def measure(scene: CsmsScene, count: int = 3) -> None:
    """Let so many measurements come, ten seconds apart."""
    for _ in range(count):
        await scene.later(seconds=10)
        await scene.charger.meter()
        await scene.quiet()


def scene_of(folder: Path, version: str = "1.6", **station: Any) -> CsmsScene:
    return CsmsScene(csms_settings(folder, **station), ChargerModel(version=version))


@pytest.mark.parametrize("off_s", [-50_000.0, -600.0, -20.0, 20.0, 600.0])
@pytest.mark.parametrize(
    ("version", "station"),
    [("1.6", {}), ("2.0.1", {"expiry": "period"}), ("2.1", {}), ("1.6", {"carrier": "station"})],
    ids=["1.6", "2.0.1-period", "2.1", "1.6-station"],
)
async def test_o30_a_lease_ends_in_time_whatever_the_chargers_clock_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: float, version: str, station: dict[str, Any]
) -> None:
    Wrong(monkeypatch, off_s)
    scene = scene_of(tmp_path, version, **station)
    async with scene.running():
        await scene.plug()
        await measure(scene)
        for limit_kw, limit_a in ((11.0, OPEN_A), (0.0, 0.0)):
            await scene.command(limit_kw)
            assert scene.charger.limit_a() == limit_a
            ends_at = scene.clock.now() + csms_scene.LEASE
            async with scene.out_of_contact():
                await scene.at(ends_at - seconds(5))
                assert scene.charger.limit_a() == limit_a
                await scene.at(ends_at + seconds(5))
                assert scene.charger.limit_a() == FALLBACK_A


@pytest.mark.parametrize("off_s", [-1_800.0, -60.0])
async def test_o30_a_clock_that_is_set_right_meanwhile_never_lengthens_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    wrong = Wrong(monkeypatch, off_s)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        await measure(scene)
        await scene.command(11.0)
        ends_at = scene.clock.now() + csms_scene.LEASE
        wrong.set(0.0)
        async with scene.out_of_contact():
            await scene.at(ends_at + seconds(1))
            assert scene.charger.limit_a() == FALLBACK_A
        wrong.set(0.0)
        await scene.command(11.0)
        await measure(scene, 1)
        assert scene.charger.limit_a() == OPEN_A, "one measurement shows that its clock is right"


@pytest.mark.parametrize("off_s", [-600.0, 0.0])
@pytest.mark.parametrize(("limit_kw", "after_s", "most_a"), [(0.0, 890.0, 0.0), (11.0, 905.0, FALLBACK_A)])
async def test_o30_between_two_clocks_no_limit_ever_allows_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: float, limit_kw: float, after_s: float, most_a: float
) -> None:
    wrong = Wrong(monkeypatch, -600.0)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        await measure(scene)
        await scene.charger.reboot()
        await until(lambda: not scene.charger._must_boot and scene.charger.connected.is_set(), "it is back")
        await scene.quiet()
        await scene.command(limit_kw)
        given_at = scene.clock.now()
        async with scene.out_of_contact():
            wrong.set(off_s)
            await scene.at(given_at + seconds(after_s))
            assert scene.charger.limit_a() <= most_a, "it was told the time: both may be"


async def test_o30_a_clock_that_is_set_back_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Wrong(monkeypatch, 0.0)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        await scene.command(11.0)
        ends_at = scene.clock.now() + csms_scene.LEASE
        await measure(scene)
        wrong.set(-3_600.0)
        await measure(scene, 4)
        assert scene.charger.limit_a() == OPEN_A
        async with scene.out_of_contact():
            await scene.at(ends_at + seconds(5))
            assert scene.charger.limit_a() == FALLBACK_A


@pytest.mark.parametrize("off_s", [-200_000.0, 200_000.0])
async def test_o30_no_lease_is_left_to_a_clock_that_nobody_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, off_s: float
) -> None:
    Wrong(monkeypatch, off_s)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        with caplog.at_level(logging.ERROR):
            await measure(scene)
        assert "its clock is 200000 s" in caplog.text
        sequence = await scene.command(11.0)
        assert scene.answers.of(sequence) == [Verdict.REJECTED]
        assert scene.charger.limit_a() == FALLBACK_A
        sequence = await scene.command(0.0)
        assert scene.answers.of(sequence) == [Verdict.ACCEPTED]
        assert scene.charger.limit_a() == 0.0
        await scene.later(hours=3)
        assert scene.charger.limit_a() == FALLBACK_A, "the CSMS ends the lease, which is connected"


async def test_o30_the_first_word_of_a_charger_whose_clock_is_behind_lets_its_limit_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wrong(monkeypatch, -7_200.0)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        assert scene.charger.limit_a() == FALLBACK_A
        await scene.command(0.0)
        assert scene.charger.limit_a() == 0.0


async def test_o30_what_is_known_of_a_clock_outlives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Wrong(monkeypatch, -600.0)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        await measure(scene)
    later = CsmsScene(scene.settings, scene.model, scene.clock)
    async with later.running():
        later.sequence = 100
        await later.plug()
        await later.command(11.0)
        ends_at = later.clock.now() + csms_scene.LEASE
        async with later.out_of_contact():
            await later.at(ends_at + seconds(5))
            assert later.charger.limit_a() == FALLBACK_A


async def test_o30_seconds_to_and_fro_wear_no_flash_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Wrong(monkeypatch, -600.0)
    scene = scene_of(tmp_path)
    async with scene.running():
        await scene.plug()
        await measure(scene)
        await scene.command(11.0)
        before = len(scene.pushed)
        for off_s in (-601.0, -599.6, -600.4, -601.2, -599.0, -600.0):
            wrong.set(off_s)
            await measure(scene, 1)
        assert len(scene.pushed) == before
