"""A charger's passport: what is measured of good and of bad chargers, and what follows. The clock runs fast, sockets are real."""

import asyncio
import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.topology import EnforcementClass
from gateway.ocpp.passport.findings import Findings, judge
from gateway.ocpp.passport.report import Passport, as_csv, as_json, as_markdown
from gateway.ocpp.passport.run import take_passport, write_passport
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from gateway.sandbox.charge_point_car import CarModel
from gateway.sandbox.charge_point_profiles import Quirks
from gateway.sandbox.charge_point_wire import Sample
from tests.fakes.clock import HandClock
from tests.ocpp.csms_scene import Skewed, csms_settings

STEP_S = 2.0


async def passport_of(
    folder: Path,
    model: ChargerModel,
    *,
    with_car: bool = True,
    kind: type[ChargePoint] = ChargePoint,
    ahead: timedelta = timedelta(0),
) -> Passport:
    """Test a charger, whose clock may be ahead, while the clock runs as fast as the sockets let it."""
    clock, ports = HandClock(), asyncio.Queue[int]()
    settings = csms_settings(folder)

    async def run_clock() -> None:
        while True:
            await asyncio.sleep(0.003)
            for _ in range(10):
                await asyncio.sleep(0)  # on a busy machine too everybody has a turn before time goes on
            clock.move(seconds=STEP_S)

    async def live(port: int) -> None:
        charger = kind(f"ws://127.0.0.1:{port}/CP-1", model, Skewed(clock, ahead))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(charger.run())
            if with_car:
                await charger.connected.wait()
                await charger.plug()

    async with asyncio.TaskGroup() as tasks:
        testing = tasks.create_task(
            take_passport(settings, "ch-1", clock, lambda line: None, on_listening=ports.put_nowait)
        )
        others = [tasks.create_task(run_clock()), tasks.create_task(live(await ports.get()))]
        passport = await testing
        for task in others:
            task.cancel()
    return passport


def model(*quirks: str, version: str = "1.6", **car: object) -> ChargerModel:
    found = Quirks.named(quirks)
    return ChargerModel(version=version, quirks=found, car=replace(CarModel(), stays_asleep=found.does_not_wake, **car))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["1.6", "2.0.1", "2.1"])
async def test_a_good_charger_is_of_class_a_and_good_for_reserve(tmp_path: Path, version: str) -> None:
    passport = await passport_of(tmp_path, model(version=version))
    findings, judgement = passport.findings, passport.judgement
    assert passport.ocpp == version
    assert judgement.enforcement is EnforcementClass.A, as_markdown(passport)
    assert judgement.is_reserve_eligible, judgement.reserve_notes
    assert findings.number("least_current") == pytest.approx(6.0)
    response_s = findings.number("response")
    assert response_s is not None
    assert 0.0 < response_s <= 30.0
    assert findings.is_proven("says_what_binds")
    assert judgement.settings == {"unit": "A"}
    assert judgement.inventory == {"enforcement": '"A"', "min_import_kw": "4.27"}  # 6 A at 3 % above the 230 V measured
    duration = passport.ended_at - passport.started_at
    assert 8 * 60 <= duration.total_seconds() <= 22 * 60


@pytest.mark.parametrize(
    ("quirk", "enforcement", "finding", "value"),
    [
        ("ignores_expiry", EnforcementClass.B, "lease_ends_by_duration", False),
        ("no_fallback", EnforcementClass.A, "lease_ends_by_period", True),
        ("does_not_wake", EnforcementClass.A, "wakes_after_pause", False),
        ("rejects_station_profile", EnforcementClass.A, "takes_station_profile", False),
        ("rejects_second_layer", EnforcementClass.A, "takes_two_layers", False),
        ("ignores_ampere", EnforcementClass.A, "follows_amperes", False),
        ("no_composite", EnforcementClass.A, "says_what_binds", False),
    ],
)
async def test_what_is_wrong_with_a_charger_is_found(
    tmp_path: Path, quirk: str, enforcement: EnforcementClass, finding: str, value: bool
) -> None:
    passport = await passport_of(tmp_path, model(quirk))
    assert passport.findings.all[finding].value is value, as_markdown(passport)
    assert passport.judgement.enforcement is enforcement, as_markdown(passport)


async def test_a_charger_that_follows_nothing_is_of_class_c(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model("ignores_ampere", "ignores_watt"))
    assert passport.judgement.enforcement is EnforcementClass.C
    assert not passport.judgement.is_reserve_eligible
    assert passport.findings.all["wakes_after_pause"].value is None


async def test_the_car_that_needs_more_than_six_amperes_is_measured(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model(least_a=7.0))
    assert passport.findings.number("least_current") == pytest.approx(7.0)


class Full(ChargePoint):
    """A charger whose car is full as soon as a lease is tried."""

    is_full = False

    def _set_profile(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        self.is_full = self.is_full or "duration" in payload["csChargingProfiles"]["chargingSchedule"]
        return super()._set_profile(payload)

    def sample(self, evse: int) -> Sample:
        found = super().sample(evse)
        return Sample(found.at, (0.0, 0.0, 0.0), found.voltage_v, found.energy_wh) if self.is_full else found


async def test_a_car_that_is_full_proves_no_end_of_a_lease(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model("ignores_expiry"), kind=Full)
    assert passport.findings.all["lease_ends_by_duration"].value is None
    assert passport.findings.all["lease_ends_by_duration"].note == "the car drew nothing after the lease"
    assert passport.judgement.enforcement is EnforcementClass.B, as_markdown(passport)


@pytest.mark.parametrize("seconds", [-7_200.0, -40.0, 25.0, 7_200.0])
async def test_how_soon_a_charger_follows_does_not_depend_on_what_its_clock_says(
    tmp_path: Path, seconds: float
) -> None:
    passport = await passport_of(tmp_path, model(), ahead=timedelta(seconds=seconds))
    response_s, behind_s = passport.findings.number("response"), passport.findings.number("clock_behind")
    assert response_s is not None
    assert behind_s is not None
    assert 0.0 < response_s <= 15.0, "as of the same charger with a right clock"
    assert -seconds <= behind_s <= -seconds + 15.0
    assert passport.judgement.enforcement is EnforcementClass.A, as_markdown(passport)
    assert "absolute and written by its clock" in passport.findings.all["clock_behind"].note


async def test_o30_a_clock_that_nobody_set_makes_no_class_a(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model(), ahead=timedelta(days=-400))
    assert passport.findings.all["clock_usable"].value is False
    assert passport.judgement.enforcement is EnforcementClass.B, as_markdown(passport)
    assert passport.judgement.why == "its clock is more than a day off: no lease is left to it"


async def test_without_a_car_it_says_what_could_not_be_measured(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model(), with_car=False)
    assert passport.judgement.enforcement is EnforcementClass.C
    assert "no transaction began" in passport.findings.all["car"].note
    row = dict(zip(*csv.reader(io.StringIO(as_csv(passport))), strict=True))
    assert row["response"] == "not measured"
    assert row["enforcement"] == "C"


async def test_a_charger_that_never_connects_ends_the_test(tmp_path: Path) -> None:
    clock = HandClock()

    async def run_clock() -> None:
        while True:
            await asyncio.sleep(0.001)
            clock.move(seconds=10)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(run_clock())
        with pytest.raises(PeerUnavailable):
            await take_passport(csms_settings(tmp_path), "ch-1", clock, lambda line: None)
        running.cancel()
    with pytest.raises(InvalidInput, match="no station"):
        await take_passport(csms_settings(tmp_path), "ch-9", clock, lambda line: None)


async def test_the_passport_is_written_for_programs_people_and_tables(tmp_path: Path) -> None:
    passport = await passport_of(tmp_path, model())
    files = write_passport(replace(passport, charger="site-1/ch 1"), tmp_path / "out")
    assert [file.name for file in files] == [f"passport-site-1_ch_1.{end}" for end in ("json", "md", "csv")]
    document = json.loads(files[0].read_text())
    assert document == json.loads(as_json(replace(passport, charger="site-1/ch 1")))
    assert document["enforcement"] == "A"
    assert {"name", "value", "unit", "note"} == set(document["findings"][0])
    page = files[1].read_text()
    assert "Enforcement class **A**" in page
    assert "| wakes_after_pause | yes |" in page


def test_what_was_not_measured_is_not_proven() -> None:
    findings = Findings()
    findings.add("follows_amperes", value=True)
    findings.add("response", 40.0, "s")
    findings.add("lease_ends_by_duration", value=True)
    findings.add("lease_ends_offline", None, note="it did not come back")
    judgement = judge(findings)
    assert judgement.enforcement is EnforcementClass.B
    assert any("40 s" in note for note in judgement.reserve_notes)
    assert any("wake" in note for note in judgement.reserve_notes)
