"""What strange chargers measure, announce and send: never a larger limit, and never a reason for others to wait."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from ocpp.messages import CallError, unpack

from gateway.domain.charging_profiles import RateUnit, Supply
from gateway.domain.errors import InvalidInput
from gateway.ocpp.connector import Connector
from gateway.ocpp.conversation import Conversation
from gateway.ocpp.dialect_2 import Dialect2
from gateway.ocpp.journal import ConnectorRecord, Journal, UplinkRecord
from gateway.ocpp.layers import Command, Slot, plan
from gateway.ocpp.profile_wire import profile_16
from gateway.ocpp.readings import read_samples
from gateway.ocpp.report_uplink import ReportUplink
from gateway.ocpp.settings import CsmsSettings, StationSettings
from gateway.ocpp.station import Station
from gateway.ocpp.words import Abilities, AnnouncedBlock, LimitNotice, Reading, Stage, TransactionNews
from gateway.sandbox.charge_point import ChargePoint, ChargerModel
from tests.fakes.clock import HandClock
from tests.ocpp import csms_scene
from tests.ocpp.csms_scene import FACTS, QUICK, Answers, CsmsScene, Skewed, csms_settings, until

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
_PHASES = ("L1-N", "L2-N", "L3-N")


def connector(**station: Any) -> Connector:
    entry = StationSettings(identity="CP-1", connectors=({"id": 1, "charger": "ch-1"},), **station)
    made = Connector(entry.connectors[0], entry, ConnectorRecord())
    made.facts = FACTS
    return made


def sample(measurand: str, *values: float, phases: Sequence[str] = _PHASES) -> list[dict[str, str]]:
    named = zip(values, phases, strict=False)
    return [{"measurand": measurand, "phase": phase, "value": str(value)} for value, phase in named]


# ------------------------------------------------------------------ what they measure


def test_o24_a_few_volts_on_phases_without_a_car_do_not_make_the_limit_larger() -> None:
    one = connector()
    one.begin("1", NOW, 0.0)
    currents = sample("Current.Import", 10.0, 0.0, 0.0, phases=("L1", "L2", "L3"))
    one.take(read_samples(NOW, [*sample("Voltage", 230.0, 8.0, 5.0), *currents]))
    assert one.supply() == Supply(phases=1, voltage_v=230.0)
    assert one.supply().limit(4.2, RateUnit.AMPERE) == 18.2


@pytest.mark.parametrize("volts", [0.23, 23.0, 150.0, 400.0])
def test_o24_a_voltage_that_no_grid_has_is_not_believed(volts: float) -> None:
    one = connector()
    one.take(read_samples(NOW, [{"measurand": "Voltage", "value": str(volts)}]))
    assert one.supply().voltage_v == 230.0


@pytest.mark.parametrize(("volts", "counted"), [(219.3, 220.0), (241.0, 242.0)])
def test_o24_a_voltage_of_the_grid_counts(volts: float, counted: float) -> None:
    one = connector()
    one.take(read_samples(NOW, [{"measurand": "Voltage", "value": str(volts)}]))
    assert one.supply().voltage_v == counted


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(sample("Current.Import", -0.1, 0.0, 0.0, phases=("L1", "L2", "L3")), id="negative-current"),
        pytest.param(sample("Voltage", -230.0), id="negative-voltage"),
        pytest.param([{"measurand": "Power.Active.Import", "value": "1e39"}], id="more-than-a-column-holds"),
        pytest.param([{"value": "1e308", "unit": "kWh"}], id="beyond-every-number"),
    ],
)
def test_c3_a_value_that_the_gateway_must_refuse_is_left_out_and_refuses_no_other(bad: list[dict[str, str]]) -> None:
    reading = read_samples(NOW, [{"value": "1000"}, *bad, {"measurand": "Power.Active.Import", "value": "5000"}])
    assert (reading.power_kw, reading.energy_kwh) == (5.0, 1.0)
    known = [value for value in (*reading.phase_current_a, *reading.phase_voltage_v) if value is not None]
    assert all(value >= 0.0 for value in known)


# ------------------------------------------------------------------ what outlives a car


def _slots(one: Connector, limit_kw: float, transaction: str | None) -> dict[Slot, Any]:
    command = Command(sequence=1, limit_kw=limit_kw, fallback_kw=4.2, lease_until=NOW + timedelta(seconds=900))
    wanted = plan(one.means(Abilities(max_stack=5, max_periods=24)), command, transaction, NOW)
    return {w.slot: profile_16(w.profile)["chargingSchedule"]["chargingSchedulePeriod"] for w in wanted if w.profile}


@pytest.mark.parametrize("carrier", ["transaction", "station"])
def test_o24_what_outlives_a_single_phase_car_is_for_whichever_car_comes_next(carrier: str) -> None:
    one = connector(carrier=carrier)
    one.begin("7", NOW, 0.0).phases = 1
    slots = _slots(one, 3.7, "7")
    lasting = Slot.DEFAULT_FALLBACK if carrier == "transaction" else Slot.STATION_FALLBACK
    live = Slot.TRANSACTION_LIVE if carrier == "transaction" else Slot.STATION_LIVE
    assert slots[lasting] == [{"startPeriod": 0, "limit": 6.0}], "18.2 A would be 12.6 kW on three phases"
    assert slots[live] == [{"startPeriod": 0, "limit": 16.0, "numberPhases": 1}]
    if carrier == "transaction":
        assert slots[Slot.TRANSACTION_FALLBACK] == [{"startPeriod": 0, "limit": 18.2, "numberPhases": 1}]


async def test_c3_a_lease_that_a_car_has_made_needless_is_not_looked_at_every_second(tmp_path: Path) -> None:
    scene = CsmsScene(csms_settings(tmp_path), ChargerModel())
    async with scene.running():
        await scene.command(0.0)
        await scene.plug()
        await scene.later(seconds=300)
        await scene.command(0.0)
        installer = scene.station.installer(1)
        assert installer is not None
        held = scene.station.connectors[1].record.command
        assert held is not None
        renewal = installer.renewal_at(held.lease_until)
        assert renewal is None or renewal > scene.clock.now() + timedelta(seconds=60)


# ------------------------------------------------------------------ what their clocks say


@pytest.mark.parametrize("seconds", [-120.0, -20.0, 20.0])
@pytest.mark.parametrize("expiry", ["duration", "period"])
async def test_o30_a_charger_whose_clock_is_wrong_is_at_no_instant_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, expiry: str
) -> None:
    def wrong(url: str, model: ChargerModel, clock: Any) -> ChargePoint:
        return ChargePoint(url, model, Skewed(clock, timedelta(seconds=seconds)))

    monkeypatch.setattr(csms_scene, "ChargePoint", wrong)
    scene = CsmsScene(csms_settings(tmp_path, expiry=expiry), ChargerModel())
    async with scene.running():
        assert scene.charger.limit_a() == 6.0
        await scene.plug()
        await scene.command(11.0)
        assert scene.charger.limit_a() == 15.9
        await scene.command(0.0)
        assert scene.charger.limit_a() == 0.0
        await scene.later(seconds=5)
        assert scene.charger.limit_a() == 0.0
        await scene.later(seconds=895 - min(seconds, 0.0))
        assert scene.charger.limit_a() == 6.0, "the lease ends, by the charger's own clock"


# ------------------------------------------------------------------ what they announce


class Wire:
    """A socket of which nothing is read."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, message: str) -> None:
        self.sent.append(message)

    async def recv(self) -> str:
        await asyncio.Event().wait()
        return ""

    async def close(self) -> None:
        return None


def station(settings: CsmsSettings, clock: HandClock, place: int = 0) -> Station:
    entry = settings.stations[place]
    made = Station(entry, settings.times, clock, Journal(settings.state_folder), Answers())
    for one in made.connectors.values():
        one.facts = FACTS
    return made


def notify(limit: str) -> str:
    schedule = f'{{"id":1,"chargingRateUnit":"A","chargingSchedulePeriod":[{{"startPeriod":0,"limit":{limit}}}]}}'
    source = '"chargingLimit":{"chargingLimitSource":"SO"}'
    return f'[2,"n1","NotifyChargingLimit",{{"evseId":1,{source},"chargingSchedule":[{schedule}]}}]'


async def announced(folder: Path, frame: str) -> tuple[object, Station]:
    clock = HandClock()
    guest = station(csms_settings(folder), clock)
    conversation = Conversation(Wire(), "2.0.1", 1.0)
    Dialect2(conversation, guest, clock, 300)
    return await conversation._answer(unpack(frame)), guest


@pytest.mark.parametrize("limit", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_o39_a_limit_that_is_no_number_is_refused_and_what_is_kept_can_be_read_again(
    tmp_path: Path, limit: str
) -> None:
    answer, guest = await announced(tmp_path, notify(limit))
    assert isinstance(answer, CallError)
    await guest.keep()
    assert Journal(tmp_path).station("CP-1").notices == []


async def test_o39_a_limit_below_zero_allows_nothing_to_be_drawn(tmp_path: Path) -> None:
    _, guest = await announced(tmp_path, notify("-5"))
    assert [kw for notice in guest.record.notices for _, _, kw in notice.blocks] == [0.0]


@pytest.mark.parametrize("frame", ["[" + "9" * 5_000 + "]", '[2,"1","Heartbeat",{"x":' + "9" * 5_000 + "}]"])
async def test_c3_a_number_that_nothing_holds_ends_no_connection(tmp_path: Path, frame: str) -> None:
    wire = Wire()
    conversation = Conversation(wire, "2.0.1", 1.0)
    Dialect2(conversation, station(csms_settings(tmp_path), HandClock()), HandClock(), 300)
    await conversation._take(frame)
    await conversation._take('[2,"2","Heartbeat",{}]')
    assert [unpack(text).unique_id for text in wire.sent] == ["2"]


async def test_c3_an_instant_that_no_calendar_holds_is_refused_and_ends_no_connection(tmp_path: Path) -> None:
    said = '{"evseId":1,"connectorId":1,"connectorStatus":"Available","timestamp":"9999-12-31T23:59:59-05:00"}'
    answer, _ = await announced(tmp_path, f'[2,"s1","StatusNotification",{said}]')
    assert isinstance(answer, CallError)


async def test_o39_a_limit_of_others_that_recurs_binds_although_it_first_began_long_ago(tmp_path: Path) -> None:
    periods = [{"startPeriod": 0, "limit": 16.0}, {"startPeriod": 61_200, "limit": 8.0}]
    profile = {
        "id": -1,
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Recurring",
        "recurrencyKind": "Daily",
        "chargingSchedule": [
            {
                "id": 1,
                "startSchedule": "2020-01-01T00:00:00Z",
                "duration": 86_400,
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": periods,
            }
        ],
    }
    said = {"requestId": 1, "chargingLimitSource": "SO", "evseId": 1, "chargingProfile": [profile]}
    _, guest = await announced(tmp_path, json.dumps([2, "r1", "ReportChargingProfiles", said]))
    [notice] = guest.record.notices
    [(start, end, kw)] = notice.blocks
    assert (start, end, round(kw, 6)) == (HandClock().now(), None, 5.52)


async def test_c3_of_ever_new_limits_the_newest_waits_and_of_ever_new_sources_not_all(
    tmp_path: Path,
) -> None:
    guest = station(csms_settings(tmp_path), HandClock())
    for kw in range(150):
        block = AnnouncedBlock(start=NOW, end=None, unit=RateUnit.WATT, limit=kw * 1_000.0)
        await guest.limit_announced(LimitNotice(connector=1, source="EMS", blocks=(block,)))
    assert len(guest.record.notices) <= 100
    assert guest.record.notices[-1].blocks == [(NOW, None, 149.0)]
    for number in range(99):
        await guest.limit_announced(replace(a_notice(), source=f"source-{number}"))
    with pytest.raises(InvalidInput):
        await guest.limit_announced(replace(a_notice(), source="one-more"))
    await guest.limit_announced(replace(a_notice(), source="source-5"))
    assert len(guest.record.notices) == 100
    with pytest.raises(InvalidInput):
        await guest.limit_announced(replace(a_notice(), source="source-5", connector=0))


# ------------------------------------------------------------------ what the gateway refuses


class Fleet:
    """A gateway that refuses what is said of some chargers."""

    def __init__(self, refuses: Callable[[str], grpc.StatusCode | None]) -> None:
        self._refuses = refuses
        self.sessions: list[str] = []
        self.limits: list[tuple[str, int]] = []

    def _judge(self, charger: str) -> None:
        code = self._refuses(charger)
        if code is not None:
            nothing = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(code, nothing, nothing, "blocks[0].max_power_kw: must be at least 0")

    async def ReportSessions(self, request: Any, timeout: float) -> None:  # noqa: N802  # as gRPC names it
        self._judge(request.sessions[0].charger_id)
        self.sessions += [session.charger_id for session in request.sessions]

    async def ReportChargerLimits(self, request: Any, timeout: float) -> None:  # noqa: N802  # as gRPC names it
        self._judge(request.charger_id)
        self.limits.append((request.charger_id, len(request.blocks)))


def uplink(folder: Path) -> tuple[ReportUplink, list[Station]]:
    clock = HandClock()
    stations = [StationSettings(identity=f"CP-{n}", connectors=({"id": 1, "charger": f"ch-{n}"},)) for n in (1, 2)]
    settings = csms_settings(folder).model_copy(update={"stations": tuple(stations)})
    made = [station(settings, clock, place) for place in (0, 1)]
    record = UplinkRecord(chargers={"ch-1": FACTS, "ch-2": FACTS})
    journal = Journal(folder)
    return ReportUplink(clock=clock, times=QUICK, journal=journal, record=record, stations=made), made


def a_notice(blocks: int = 1) -> LimitNotice:
    spans = [
        AnnouncedBlock(
            start=NOW + timedelta(minutes=place),
            end=NOW + timedelta(minutes=place + 1),
            unit=RateUnit.WATT,
            limit=7_000.0 + place % 7,
        )
        for place in range(blocks)
    ]
    return LimitNotice(connector=1, source="SO", blocks=tuple(spans))


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND])
async def test_o39_what_the_gateway_refuses_of_one_charger_holds_up_no_other(
    tmp_path: Path, code: grpc.StatusCode
) -> None:
    reports, (first, second) = uplink(tmp_path)
    for guest in (first, second):
        await guest.begin_transaction(1, NOW, 0.0)
        await guest.limit_announced(a_notice())
    fleet = Fleet(lambda charger: code if charger == "ch-1" else None)
    gateway: Any = SimpleNamespace(fleet=fleet)
    telling = asyncio.create_task(reports.tell_news(gateway))
    await until(lambda: fleet.limits, "the other charger's limit is told")
    assert (fleet.sessions, fleet.limits) == (["ch-2"], [("ch-2", 1)])
    if code is grpc.StatusCode.NOT_FOUND:
        with pytest.raises(grpc.aio.AioRpcError):
            await telling
        assert len(first.record.notices) == 1, "it may be known later"
        return
    await asyncio.sleep(0)
    assert first.record.notices == [], "the same words would be refused for ever"
    telling.cancel()


async def test_o39_more_blocks_than_the_gateway_takes_become_fewer_that_allow_no_more(tmp_path: Path) -> None:
    reports, (first, _) = uplink(tmp_path)
    await first.limit_announced(a_notice(blocks=3_000))
    fleet = Fleet(lambda charger: None)
    gateway: Any = SimpleNamespace(fleet=fleet)
    telling = asyncio.create_task(reports.tell_news(gateway))
    await until(lambda: fleet.limits, "the limit is told")
    telling.cancel()
    assert fleet.limits == [("ch-1", 1_000)]


# ------------------------------------------------------------------ what comes too late


def number_at(guest: Station) -> str | None:
    running = guest.connectors[1].transaction
    return None if running is None else running.number


@pytest.mark.parametrize("stage", [Stage.UPDATED, Stage.STARTED])
async def test_g4_a_word_about_a_transaction_that_is_over_begins_no_other(tmp_path: Path, stage: Stage) -> None:
    guest = station(csms_settings(tmp_path), HandClock())
    number = str(await guest.begin_transaction(1, NOW, 0.0))
    await guest.end_transaction(number, NOW + timedelta(minutes=5), ())
    late = TransactionNews(
        connector=1,
        transaction=number,
        stage=stage,
        at=NOW + timedelta(minutes=4),
        readings=(Reading(at=NOW + timedelta(minutes=4), power_kw=5.0, energy_kwh=1.0),),
    )
    await guest.transaction(late)
    assert number_at(guest) is None
    assert len(guest.record.ended) == 1
    await guest.transaction(replace(late, transaction="4711"))
    assert number_at(guest) == "4711", "one that began elsewhere is taken up"


async def test_a_charger_that_counts_anew_is_believed_that_a_transaction_of_an_old_number_has_started(
    tmp_path: Path,
) -> None:
    guest = station(csms_settings(tmp_path), HandClock())
    began = TransactionNews(connector=1, transaction="1", stage=Stage.STARTED, at=NOW)
    await guest.transaction(began)
    await guest.end_transaction("1", NOW + timedelta(minutes=5), ())
    later = NOW + timedelta(hours=1)
    await guest.transaction(replace(began, at=later))
    running = guest.connectors[1].transaction
    assert running is not None
    assert running.started_at == later
    await guest.transaction(replace(began, stage=Stage.UPDATED, at=later))
    assert guest.connectors[1].transaction is running
