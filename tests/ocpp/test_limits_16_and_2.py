"""Limits as chargers of every version get them: the fallback first, the leased limit after it, and what is left when we are gone."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.ocpp.words import Verdict
from gateway.sandbox.charge_point import ChargerModel, external_limit
from gateway.sandbox.charge_point_profiles import Quirks
from tests.ocpp.csms_scene import CsmsScene, csms_settings, until

VERSIONS = ("1.6", "2.0.1", "2.1")


def scene(folder: Path, version: str = "1.6", *, quirk: str = "", connectors: int = 1, **station: Any) -> CsmsScene:
    model = ChargerModel(version=version, evses=connectors, quirks=Quirks.named([quirk] if quirk else []))
    return CsmsScene(csms_settings(folder, connectors=connectors, **station), model)


@pytest.mark.parametrize("version", VERSIONS)
async def test_o30_the_fallback_is_in_before_the_limit_and_the_limit_ends_by_itself(
    tmp_path: Path, version: str
) -> None:
    async with scene(tmp_path, version).running() as world:
        number = await world.plug()
        sequence = await world.command(11.0)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        assert world.wires() == [
            ("TxDefaultProfile", 0, None),
            ("TxProfile", 0, number),
            ("TxProfile", 1, number),
        ] or world.wires() == [
            ("TxDefaultProfile", 0, None),
            ("TxProfile", 0, number),
            ("TxProfile", 1, number),
            ("TxProfile", 1, number),
        ]
        live = world.pushed[-1]
        began_at = datetime.fromisoformat(live.schedule["startSchedule"])
        ends_at = began_at + timedelta(seconds=live.schedule["duration"])
        assert timedelta(seconds=895) <= ends_at - world.clock.now() <= timedelta(seconds=900)
        assert live.schedule["chargingRateUnit"] == "A"
        given = datetime.fromisoformat(live.wire["validTo"]) - world.clock.now()
        assert timedelta(seconds=895) <= given <= timedelta(seconds=900)
        assert world.charger.limit_a() == pytest.approx(15.9)  # 11 kW over 3 x 230 V, never rounded up
        world.clock.move(seconds=901)
        assert world.charger.limit_a() == pytest.approx(6.0), "without anybody's doing the charger is at its fallback"


@pytest.mark.parametrize("version", VERSIONS)
async def test_o34_a_change_during_a_session_goes_to_its_transaction(tmp_path: Path, version: str) -> None:
    async with scene(tmp_path, version).running() as world:
        number = await world.plug()
        await world.command(11.0)
        await world.command(6.9)
        assert (world.pushed[-1].purpose, world.pushed[-1].transaction) == ("TxProfile", number)
        assert world.charger.limit_a() == pytest.approx(10.0)
        await world.later(seconds=10)
        assert world.charger.current_a() == pytest.approx(10.0)
        await world.command(0.0)
        await world.later(seconds=5)
        assert world.charger.current_a() == 0.0


async def test_o31_a_station_of_2_1_is_told_how_long_a_limit_outlives_the_contact(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.1").running() as world:
        await world.plug()
        await world.command(11.0)
        live = world.pushed[-1]
        assert live.stack == 1
        assert 0 < live.wire["maxOfflineDuration"] <= 900
        fallback = next(p for p in world.charger.profiles.installed if p.purpose == "TxProfile" and p.stack == 0)
        assert "maxOfflineDuration" not in fallback.wire
        assert fallback.schedule["chargingSchedulePeriod"][0]["limit"] == pytest.approx(6.0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_o33_a_charger_without_station_profiles_is_limited_by_its_transactions(
    tmp_path: Path, version: str
) -> None:
    async with scene(tmp_path, version, quirk="rejects_station_profile", carrier="station").running() as world:
        number = await world.plug()
        sequence = await world.command(6.9)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        purposes = [purpose for purpose, _, _ in world.wires()]
        assert "TxDefaultProfile" in purposes
        assert world.wires()[-1] == ("TxProfile", 1, number)
        assert world.charger.limit_a() == pytest.approx(10.0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_stations_profile_carries_the_limit_where_it_is_taken(tmp_path: Path, version: str) -> None:
    async with scene(tmp_path, version, carrier="station").running() as world:
        await world.plug()
        await world.command(6.9)
        name = "ChargePointMaxProfile" if version == "1.6" else "ChargingStationMaxProfile"
        assert {purpose for purpose, _, _ in world.wires()} == {name}
        assert [p.evse for p in world.pushed] == [0] * len(world.pushed)
        assert world.charger.limit_a() == pytest.approx(10.0)
        world.clock.move(seconds=901)
        assert world.charger.limit_a() == pytest.approx(6.0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_o44_after_a_reboot_everything_is_pushed_again_within_ten_seconds(tmp_path: Path, version: str) -> None:
    async with scene(tmp_path, version, quirk="forgets_on_reboot").running() as world:
        await world.plug()
        await world.command(11.0)
        before = len(world.pushed)
        rebooted_at = world.clock.now()
        await world.charger.reboot()
        await until(lambda: len(world.pushed) >= before + 3, "all three profiles were pushed again")
        assert world.clock.now() - rebooted_at <= timedelta(seconds=10)
        assert world.charger.limit_a() == pytest.approx(15.9)


async def test_o44_a_return_without_a_reboot_is_noticed_within_ten_seconds_too(tmp_path: Path) -> None:
    async with scene(tmp_path).running() as world:
        await world.plug()
        await world.command(11.0)
        before = len(world.pushed)
        await world.charger.hang_up()
        await until(lambda: not world.station.is_connected)
        await until(lambda: world.station.is_connected)
        await asyncio.sleep(0.05)
        assert len(world.pushed) == before, "it may still say that it has booted"
        await world.later(seconds=4)
        await until(lambda: len(world.pushed) >= before + 3, "all three profiles were pushed again")


async def test_renewals_of_the_same_limit_are_written_sparingly_but_before_the_lease_ends(tmp_path: Path) -> None:
    async with scene(tmp_path).running() as world:
        await world.plug()
        await world.command(11.0)
        before, ends = len(world.pushed), world.clock.now() + timedelta(seconds=900)
        await world.later(seconds=300)
        sequence = await world.command(11.0)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        assert len(world.pushed) == before, "two thirds of the lease are left in the charger"
        await world.at(ends - timedelta(seconds=2))
        assert len(world.pushed) == before + 1, "renewed by itself before it ends, the command goes on for longer"
        await world.at(ends + timedelta(seconds=60))
        assert world.charger.limit_a() == pytest.approx(15.9)


async def test_g4_when_the_gateway_is_gone_the_charger_is_written_to_its_fallback_at_the_end_of_the_lease(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, quirk="ignores_expiry").running() as world:
        await world.plug()
        await world.command(11.0)
        await world.later(seconds=899)
        assert world.charger.limit_a() == pytest.approx(15.9)
        await world.later(seconds=2)
        assert world.charger.limit_a() == pytest.approx(6.0), "class B: the charger never lets a profile end"
        await world.later(seconds=3)
        assert world.charger.current_a() == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("quirk", "station", "limit_a"),
    [
        ("rejects_second_layer", {}, 15.9),
        ("rejects_overwrite", {}, 15.9),
        ("rejects_watt", {"is_dc": True}, 15.9),
        ("no_composite", {}, 15.9),
        ("ignores_ampere", {}, 11000.0 / 690.0),
    ],
)
async def test_g8_a_refusal_is_followed_by_another_way(
    tmp_path: Path, quirk: str, station: dict[str, Any], limit_a: float
) -> None:
    async with scene(tmp_path, quirk=quirk, **station).running() as world:
        await world.plug()
        await world.command(6.9)
        sequence = await world.command(11.0)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        assert world.charger.limit_a() == pytest.approx(limit_a, abs=0.1)
        world.clock.move(seconds=901)
        assert world.charger.limit_a() <= 6.0 + 1e-6


async def test_what_a_charger_shows_beyond_what_it_took_is_told_to_the_gateway(tmp_path: Path) -> None:
    async with scene(tmp_path, quirk="ignores_ampere", unit="A").running() as world:
        await world.plug()
        sequence = await world.command(4.83)
        [answer] = [answer for _, number, answer in world.answers.settled_commands if number == sequence]
        assert answer.verdict is Verdict.REJECTED
        assert "its composite schedule allows" in answer.reason
        assert answer.shown_kw is not None
        assert answer.shown_kw > 4.83


async def test_o36_what_may_not_be_overwritten_is_replaced_without_an_instant_without_a_limit(tmp_path: Path) -> None:
    async with scene(tmp_path, quirk="rejects_overwrite").running() as world:
        await world.plug()
        store, seen, between = world.charger.profiles, [], []
        clear = store.clear

        def watched(profile_id: int) -> str:
            status = clear(profile_id)
            between.append(world.charger.limit_a())
            return status

        store.clear = watched  # type: ignore[method-assign]
        for limit_kw in (11.0, 6.9, 8.28, 4.83):
            await world.command(limit_kw)
            seen.append(world.charger.limit_a())
            lives = [p for p in store.installed if p.purpose == "TxProfile" and p.stack > 0]
            assert len(lives) == 1
        assert seen == pytest.approx([15.9, 10.0, 12.0, 7.0])
        actions = [name for name, _ in world.charger.calls if name.endswith("ChargingProfile")]
        clears = [i for i, name in enumerate(actions) if name == "ClearChargingProfile"]
        assert clears
        assert max(between) <= 15.9, "at no instant without a limit"
        assert all(actions[i - 1] == "SetChargingProfile" for i in clears), "first the new one, then the old one goes"


async def test_g8_a_charger_that_refuses_everything_is_reported_and_asked_ever_more_rarely(tmp_path: Path) -> None:
    world_of = scene(tmp_path)
    world_of.model = replace(world_of.model, max_stack=-1)
    async with world_of.running() as world:
        sequence = await world.command(6.9)
        assert world.answers.of(sequence) == [Verdict.REJECTED]
        asked = len(world.charger.calls)
        await world.later(seconds=31)
        second = len(world.charger.calls)
        assert second > asked
        await world.later(seconds=31)
        assert len(world.charger.calls) == second, "twice as long the next time"
        await world.later(seconds=30)
        assert len(world.charger.calls) > second


async def test_g8_a_charger_that_does_not_answer_is_reported_as_timed_out(tmp_path: Path) -> None:
    async with scene(tmp_path, quirk="silent_profiles").running(is_booted=False) as world:
        sequence = await world.command(6.9)
        assert world.answers.of(sequence) == [Verdict.NO_ANSWER]


async def test_every_connector_of_a_station_has_its_own_limit(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.0.1", connectors=2).running() as world:
        await world.plug(1)
        await world.plug(2)
        await world.command(11.0, charger="ch-1")
        await world.command(4.83, charger="ch-2")
        assert world.charger.limit_a(1) == pytest.approx(15.9)
        assert world.charger.limit_a(2) == pytest.approx(7.0)
        ids = [p.id for p in world.charger.profiles.installed]
        assert len(set(ids)) == len(ids)


async def test_a_place_without_a_car_is_written_only_where_the_limit_is_below_the_fallback(tmp_path: Path) -> None:
    async with scene(tmp_path).running() as world:
        before = len(world.pushed)
        await world.command(11.0)
        assert len(world.pushed) == before, "what begins begins at the fallback"
        await world.command(0.0)
        assert world.wires()[-1] == ("TxDefaultProfile", 1, None)
        await world.charger.plug()
        await world.quiet()
        assert world.charger.limit_a() == 0.0
        await world.command(11.0)
        assert world.charger.limit_a() == pytest.approx(15.9)


async def test_a_lease_can_end_by_a_second_period_and_few_periods_never_allow_more(tmp_path: Path) -> None:
    world_of = scene(tmp_path, expiry="period")
    async with world_of.running() as world:
        await world.plug()
        await world.command(11.0)
        live = world.pushed[-1]
        assert "duration" not in live.schedule
        assert [p["limit"] for p in live.schedule["chargingSchedulePeriod"]] == [15.9, 6.0]
        world.clock.move(seconds=900)
        assert world.charger.limit_a() == pytest.approx(6.0)
    few = scene(tmp_path / "few", expiry="period")
    few.model = replace(few.model, max_periods=1)
    async with few.running() as world:
        await world.plug()
        await world.command(11.0)
        assert [p["limit"] for p in world.pushed[-1].schedule["chargingSchedulePeriod"]] == [6.0]


async def test_a_restart_of_the_csms_goes_on_with_the_command_and_its_lease(tmp_path: Path) -> None:
    first = scene(tmp_path)
    async with first.running() as world:
        await world.plug()
        await world.command(6.9)
        number = world.charger.evses[1].transaction
    again = CsmsScene(first.settings, first.model, first.clock)
    kept = again.station.connectors[1]
    assert kept.transaction is not None
    assert kept.transaction.number == number
    command = kept.command()
    assert command is not None
    assert (command.sequence, command.limit_kw) == (1, 6.9)
    assert command.lease_until == first.clock.now() + timedelta(seconds=900)


@pytest.mark.parametrize("version", VERSIONS)
async def test_g4_when_the_csms_itself_is_killed_the_charger_ends_the_lease_alone(tmp_path: Path, version: str) -> None:
    async with scene(tmp_path, version).running() as world:
        await world.plug()
        await world.command(11.0)
        assert world.charger.limit_a() == pytest.approx(15.9)
    assert not world.station.is_connected
    world.clock.move(seconds=905)
    assert world.charger.limit_a() == pytest.approx(6.0)
    world.charger.current_a()
    world.clock.move(seconds=5)
    assert world.charger.current_a() == pytest.approx(6.0), "the car has come down"


async def test_a_car_on_one_phase_gets_all_its_amperes_on_that_phase(tmp_path: Path) -> None:
    world_of = scene(tmp_path)
    world_of.model = replace(world_of.model, car=replace(world_of.model.car, phases=1, most_a=32.0))
    async with world_of.running() as world:
        await world.plug()
        await world.command(4.2)
        await world.later(seconds=10)
        await world.charger.meter()
        await world.quiet()
        await world.command(4.2)
        assert world.pushed[-1].schedule["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": 18.2, "numberPhases": 1}
        ]


async def test_measured_voltage_lowers_the_amperes_and_not_every_volt_is_written(tmp_path: Path) -> None:
    world_of = scene(tmp_path)
    world_of.model = replace(world_of.model, car=replace(world_of.model.car, voltage_v=237.0))
    async with world_of.running() as world:
        await world.plug()
        await world.command(6.9)
        assert world.pushed[-1].schedule["chargingSchedulePeriod"][0]["limit"] == pytest.approx(10.0)
        await world.charger.meter()
        await world.quiet()
        await world.command(6.9)
        assert world.pushed[-1].schedule["chargingSchedulePeriod"][0]["limit"] == pytest.approx(9.6)  # 238 V


async def test_too_often_is_waited_out_and_not_answered_by_another_way(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.0.1", quirk="too_often").running() as world:
        await world.plug()
        await world.later(seconds=11)
        await world.command(11.0)
        sequence = await world.command(6.9)
        assert world.answers.of(sequence) == [Verdict.TOO_OFTEN]
        asked = len(world.charger.calls)
        await world.later(seconds=20)
        assert len(world.charger.calls) == asked, "it is left alone for a while"
        await world.later(seconds=11)
        assert world.answers.of(sequence) == [Verdict.TOO_OFTEN, Verdict.ACCEPTED]
        assert world.charger.limit_a() == pytest.approx(10.0)
        assert {p.schedule["chargingRateUnit"] for p in world.pushed} == {"A"}


async def test_o39_a_limit_that_is_announced_without_a_number_is_asked_for(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.1").running() as world:
        world.charger.external = external_limit(1, 8.0, "EMS", world.clock.now())["chargingSchedule"]
        await world.charger.announce({"chargingLimit": {"chargingLimitSource": "EMS"}, "evseId": 1})
        await until(lambda: world.journal.station("CP-1").notices, "it is on disk until the gateway knows")
        [notice] = world.station.record.notices
        assert (notice.source, notice.is_cleared) == ("EMS", False)
        assert notice.blocks[0][2] == pytest.approx(8.0 * 0.69)


async def test_o33_half_of_the_stations_layers_is_taken_away_again(tmp_path: Path) -> None:
    async with scene(tmp_path, quirk="rejects_second_layer", carrier="station").running() as world:
        await world.plug()
        sequence = await world.command(11.0)
        assert world.answers.of(sequence) == [Verdict.ACCEPTED]
        assert world.charger.limit_a() == pytest.approx(15.9), (
            "a fallback left for the station would bound the transaction"
        )
        said = [(name, payload.get("csChargingProfiles", {})) for name, payload in world.charger.calls]
        first_clear = [name for name, _ in said].index("ClearChargingProfile")
        before = {profile.get("chargingProfilePurpose") for _, profile in said[:first_clear]}
        assert "TxDefaultProfile" in before, "what bounds from now on is in before what bounded so far is taken away"


async def test_o44_a_charger_that_boots_within_its_connection_gets_everything_again(tmp_path: Path) -> None:
    async with scene(tmp_path, quirk="forgets_on_reboot").running() as world:
        await world.plug()
        await world.command(11.0)
        world.charger.profiles.reboot()
        assert world.charger.profiles.installed == []
        await world.charger._say(world.charger._tongue.boot())
        await until(lambda: len(world.charger.profiles.installed) >= 3, "all three profiles were pushed again")
        assert world.charger.limit_a() == pytest.approx(15.9)


async def test_o39_a_limit_of_the_whole_station_is_shared_by_its_connectors(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.0.1", connectors=2).running() as world:
        whole = external_limit(0, 16.0, "SO", world.clock.now())
        del whole["evseId"]
        await world.charger.announce(whole)
        notices = world.journal.station("CP-1").notices
        assert [(notice.charger, notice.is_grid_critical) for notice in notices] == [("ch-1", True), ("ch-2", True)]
        assert sum(notice.blocks[0][2] for notice in notices) == pytest.approx(16.0 * 0.69)
        await world.charger.announce({"chargingLimitSource": "SO"}, is_cleared=True)
        assert [notice.is_cleared for notice in world.journal.station("CP-1").notices] == [False, False, True, True]
        assert all(notice.is_of_station for notice in world.journal.station("CP-1").notices)


async def test_o39_one_source_bounds_the_station_and_an_evse_by_two_words(tmp_path: Path) -> None:
    async with scene(tmp_path, "2.0.1", connectors=2).running() as world:
        await world.charger.announce(external_limit(0, 16.0, "SO", world.clock.now()))
        await world.charger.announce(external_limit(1, 10.0, "SO", world.clock.now()))
        await world.charger.announce({"chargingLimitSource": "SO", "evseId": 1}, is_cleared=True)
        kept = world.journal.station("CP-1").notices
        assert [(one.charger, one.is_of_station, one.is_cleared) for one in kept] == [
            ("ch-1", True, False),
            ("ch-2", True, False),
            ("ch-1", False, False),
            ("ch-1", False, True),
        ]
