"""OCPI over real sockets against the sandbox operator: registration, sessions, profiles, results, pushes."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from gateway.csms.ocpi.profiles import ProfileRules
from gateway.domain.dispatch import DispatchState
from gateway.domain.doors import CommandOutcome, CsmsCommand, OcpiRegistration
from gateway.domain.sessions import DriverGoal, Session, SessionState
from gateway.domain.topology import Charger
from gateway.sandbox.vtn_control import Fault
from tests.csms.door_scene import (
    RULES,
    SEAL,
    TOKEN_A,
    OcpiScene,
    ocpi_door,
    ocpi_scene,
    running,
    until,
)
from tests.services.scene import CSMS, GRID, OPERATOR, TENANT, Scene, event, message

ACCEPTED, TIMED_OUT, REJECTED = DispatchState.ACCEPTED, DispatchState.TIMED_OUT, DispatchState.REJECTED


async def told(ocpi: OcpiScene, charger: str = "ch-1-0", **changes: Any) -> Any:
    """A car that holds its first profile."""
    car = await ocpi.plug(charger, **changes)
    await ocpi.steps_until(lambda: ocpi.state(charger) is ACCEPTED, "acceptance")
    return car


async def tighten(ocpi: OcpiScene, kw: float, number: int = 1) -> None:
    """Let the grid operator limit everything from now on."""
    grid_event = event(f"e{number}", start=ocpi.scene.clock.now(), max_kw=kw, minutes=240)
    await ocpi.scene.services.signals.receive(GRID, message(grid_event, raw_id=f"raw-{number}"))


async def ask(method: str, url: str, token: str, body: object = None, *, plain: bool = False) -> tuple[int, Any]:
    """Call the gateway as a platform."""
    shown = token if plain else base64.b64encode(token.encode()).decode()
    headers = {"Authorization": f"Token {shown}", "X-Request-ID": "r-1", "X-Correlation-ID": "c-1"}
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, url, headers=headers, data=None if body is None else json.dumps(body)) as answer,
    ):
        if answer.status != 401:
            assert answer.headers["X-Request-ID"] == "r-1"
            assert answer.headers["X-Correlation-ID"] == "c-1"
        return answer.status, json.loads(await answer.read())


def inbound(ocpi: OcpiScene) -> str:
    """The token that the platform shows us."""
    assert ocpi.cpo.partner is not None
    return ocpi.cpo.partner.token


# -------------------------------------------------------------------- limits out


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_o38_a_limit_reaches_a_running_session(version: str) -> None:
    async with ocpi_scene(version) as ocpi:
        car = await told(ocpi)
        profile = ocpi.profiles(car)[-1]
        assert isinstance(profile["charging_profile_period"], list)
        assert profile["charging_rate_unit"] == "A"
        assert profile["charging_profile_period"][0] == {"start_period": 0, "limit": 15.9}
        assert profile["charging_profile_period"][1] == {"start_period": 900, "limit": 0.0}, "then the fallback"
        assert profile["duration"] == 900 + 12 * 3600, "never without end"
        headers = {name.lower(): value for name, value in ocpi.cpo.headers[-1].items()}
        assert headers["ocpi-to-party-id"] == "CPO"
        assert headers["x-request-id"] != headers["x-correlation-id"]
        rows = ocpi.scene.store.all(CsmsCommand, TENANT)
        assert [(row.charger, row.outcome) for row in rows] == [("ch-1-0", CommandOutcome.ACCEPTED)]
        assert ocpi.state("ch-1-1") is DispatchState.NONE, "no session: nobody is told anything"
        standing = ocpi.door.standing()
        assert (standing.is_connected, standing.kind) == (True, f"ocpi-{version}")
        assert (standing.charger_count, standing.reached_count, standing.accepted) == (4, 1, 1)


async def test_o40_a_reduction_reaches_the_car_and_its_address_for_the_result_is_its_own() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "a second profile")
        await until(lambda: ocpi.cpo.world.power_kw(car) <= 5.7)
        urls = [body["response_url"] for method, _, body in ocpi.cpo.requests if method == "PUT" and body]
        assert len(set(urls)) == len(urls) == 2


async def test_o44_nothing_is_sent_again_while_it_holds_and_it_is_renewed_after_a_third() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        await ocpi.pass_time(290, step=10.0)
        assert len(ocpi.profiles(car)) == 1
        await ocpi.pass_time(30, step=10.0)
        await until(lambda: len(ocpi.profiles(car)) == 2, "a renewal")


async def test_o37_no_result_in_time_is_unknown_and_counts_at_the_higher_of_old_and_new() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        before = ocpi.counted_kw("ch-1-0")
        ocpi.cpo.faults.add(Fault(on="PUT", do="no-result", times=1))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "a second profile")
        assert ocpi.state("ch-1-0") is DispatchState.SENT
        ocpi.scene.clock.move(seconds=31)
        await until(lambda: ocpi.state("ch-1-0") is TIMED_OUT, "a time-out")
        assert ocpi.counted_kw("ch-1-0") == before, "the old value is the higher one"
        row = ocpi.scene.store.all(CsmsCommand, TENANT)[0]
        assert (row.outcome, row.detail) == (CommandOutcome.UNKNOWN, "no result within 30 s")
        assert ocpi.door.standing().troubled == ("ch-1-0",)
        await ocpi.pass_time(35)
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is ACCEPTED, "acceptance of a new request")
        assert ocpi.door.standing().troubled == ()


async def test_o37_a_result_promised_for_a_time_that_no_calendar_holds_is_waited_for_as_long_as_any() -> None:
    async with ocpi_scene() as ocpi:
        door = ocpi.door
        with door.results.expect() as token:
            waiting = asyncio.create_task(door._result(token, 10**15))
            await asyncio.sleep(0)
            ocpi.scene.clock.move(seconds=301)
            verdict, result = await waiting
        assert (verdict.reason, result) == ("no result within 300 s", None)


async def test_o37_a_late_result_changes_nothing_and_is_acknowledged() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        ocpi.cpo.faults.add(Fault(on="PUT", do="no-result", times=1))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "a second profile")
        url = [body["response_url"] for _, _, body in ocpi.cpo.requests if body][-1]
        ocpi.scene.clock.move(seconds=31)
        await until(lambda: ocpi.state("ch-1-0") is TIMED_OUT, "a time-out")
        for _ in range(2):
            status, said = await ask("POST", url, inbound(ocpi), {"result": "ACCEPTED"})
            assert (status, said["status_code"]) == (200, 1000)
        assert ocpi.state("ch-1-0") is TIMED_OUT


async def test_o37_too_often_is_waited_out_longer_each_time() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        ocpi.cpo.faults.add(Fault(on="PUT", do="too-often", times=2))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "a second request")
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is REJECTED, "a refusal")
        await ocpi.pass_time(25)
        assert len(ocpi.profiles(car)) == 2, "not again within 30 s"
        await ocpi.pass_time(10)
        await until(lambda: len(ocpi.profiles(car)) == 3, "a third request")
        await ocpi.pass_time(50)
        assert len(ocpi.profiles(car)) == 3, "not again within a minute"
        await ocpi.pass_time(15)
        await until(lambda: len(ocpi.profiles(car)) >= 4, "a fourth request")
        await until(lambda: ocpi.cpo.world.power_kw(car) <= 5.7, "the limit")
        assert ocpi.door.standing().delayed == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("rejected", "REJECTED", id="o35-rejected"),
        pytest.param("not-supported", "NOT_SUPPORTED", id="o35-not-supported"),
        pytest.param("result-rejected", "the charger refused the profile", id="o35-result"),
    ],
)
async def test_g8_what_was_refused_counts_at_the_old_value_and_is_tried_again(fault: str, reason: str) -> None:
    async with ocpi_scene() as ocpi:
        await told(ocpi)
        before = ocpi.counted_kw("ch-1-0")
        ocpi.cpo.faults.add(Fault(on="PUT", do=fault, times=1))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is REJECTED, "a refusal")
        assert ocpi.counted_kw("ch-1-0") == before
        trouble = ocpi.scene.services.follower.states(OPERATOR, only_not_following=True)
        assert [(t.charger_id, t.likely_cause) for t in trouble] == [("ch-1-0", f"refused by csms-demo: {reason}")]
        await ocpi.pass_time(35)
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is ACCEPTED, "acceptance")


@pytest.mark.parametrize("fault", ["status", "garbage", "result-unknown"])
async def test_what_nobody_can_read_is_unknown(fault: str) -> None:
    async with ocpi_scene() as ocpi:
        await told(ocpi)
        ocpi.cpo.faults.add(Fault(on="PUT", do=fault, times=1, status=502))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is TIMED_OUT, "an unknown outcome")


async def test_o38_data_in_a_list_is_read_all_the_same() -> None:
    async with ocpi_scene() as ocpi:
        ocpi.cpo.faults.add(Fault(on="PUT", do="list", times=-1))
        await told(ocpi)


async def test_an_unknown_session_is_out_of_reach() -> None:
    async with ocpi_scene() as ocpi:
        await told(ocpi)
        ocpi.cpo.faults.add(Fault(on="PUT", do="unknown-session", times=1))
        await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: ocpi.door.standing().reached_count == 0, "the session is given up")
        assert ocpi.state("ch-1-0") is DispatchState.NONE
        assert ocpi.counted_kw("ch-1-0") == 11.0


async def test_one_silent_charger_holds_nobody_up() -> None:
    async with ocpi_scene() as ocpi:
        ocpi.cpo.faults.add(Fault(on="PUT", do="no-result", times=1))
        for charger in ("ch-1-0", "ch-1-1", "ch-2-0", "ch-2-1"):
            await ocpi.plug(charger)

        def count(state: DispatchState) -> int:
            return sum(ocpi.state(f"ch-{s}-{k}") is state for s in (1, 2) for k in (0, 1))

        await ocpi.steps_until(lambda: count(ACCEPTED) == 3, "the other three")
        assert count(DispatchState.SENT) == 1


async def test_a_profile_that_is_read_back_is_applied() -> None:
    async with ocpi_scene(read_back=True) as ocpi:
        await ocpi.plug("ch-1-0")
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is DispatchState.APPLIED, "the read-back")
        assert [method for method, _, _ in ocpi.cpo.requests] == ["PUT", "GET"]


async def test_o28_periods_are_as_few_as_the_platform_takes() -> None:
    async with ocpi_scene(profile=ProfileRules(tail=timedelta(hours=1), most_periods=1)) as ocpi:
        car = await told(ocpi)
        assert ocpi.profiles(car)[-1]["charging_profile_period"] == [{"start_period": 0, "limit": 0.0}]


async def test_dc_takes_watts() -> None:
    async with ocpi_scene(watt_chargers=frozenset({"ch-1-0"})) as ocpi:
        car = await told(ocpi)
        profile = ocpi.profiles(car)[-1]
        assert profile["charging_rate_unit"] == "W"
        assert profile["charging_profile_period"][0]["limit"] == 11_000.0


# -------------------------------------------------------------------- sessions in


async def test_sessions_become_cars_without_their_drivers() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        row = ocpi.scene.store.all(Session, TENANT)[0]
        assert (row.charger, row.state, row.max_power_kw) == ("ch-1-0", SessionState.PLUGGED_IN, 11.0)
        assert "DRIVER-RFID" not in repr(ocpi.scene.store.applied)
        leaves = ocpi.scene.clock.now() + timedelta(hours=3)
        preferences = {"profile_type": "GREEN", "departure_time": leaves.isoformat(), "energy_need": 12.5}
        await ocpi.cpo.prefer(car, preferences)
        row = ocpi.scene.store.all(Session, TENANT)[0]
        assert (row.goal, row.energy_needed_kwh, row.expected_departure) == (DriverGoal.GREENEST, 12.5, leaves)
        await ocpi.cpo.prefer(car, {"profile_type": "FAST"})
        assert ocpi.scene.store.all(Session, TENANT)[0].boost
        ocpi.scene.clock.move(seconds=60)
        await ocpi.cpo.report(car)
        view = ocpi.scene.services.tracker.view(TENANT)
        i = view.tree.charger_ids.index("ch-1-0")
        assert view.power_kw[i] == pytest.approx(10.971)
        assert view.delivered_kwh[i] == pytest.approx(10.971 / 60, abs=1e-3)
        ocpi.scene.clock.move(seconds=60)
        batches = len(ocpi.scene.store.applied)
        await ocpi.cpo.report(car)
        assert len(ocpi.scene.store.applied) == batches, "energy alone is a measurement: no row, no audit"
        view = ocpi.scene.services.tracker.view(TENANT)
        assert view.delivered_kwh[i] == pytest.approx(10.971 / 30, abs=1e-3)
        await ocpi.cpo.tell(ocpi.cpo.world.unplug(car.session))
        row = ocpi.scene.store.all(Session, TENANT)[0]
        assert (row.state, row.departure) == (SessionState.ENDED, ocpi.scene.clock.now())
        assert ocpi.door.standing().reached_count == 0


async def test_a_new_car_counts_at_the_worst_until_it_holds_a_profile() -> None:
    async with ocpi_scene() as ocpi:
        await tighten(ocpi, 20.0)
        first = await told(ocpi)
        await ocpi.cpo.tell(ocpi.cpo.world.unplug(first.session))
        ocpi.cpo.faults.add(Fault(on="PUT", do="no-result", times=1))
        second = await ocpi.plug("ch-1-0")
        assert ocpi.counted_kw("ch-1-0") == 11.0
        await ocpi.steps_until(lambda: len(ocpi.profiles(second)) == 1, "a profile")
        assert ocpi.counted_kw("ch-1-0") == 11.0, "nobody has accepted anything"


async def test_an_older_word_about_a_session_changes_nothing() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        stale = ocpi.cpo.world.session_document(car)
        ocpi.scene.clock.move(seconds=30)
        await ocpi.cpo.tell(ocpi.cpo.world.unplug(car.session))
        url = f"{ocpi.root}/2.2.1/sessions/NL/CPO/{car.session}"
        assert (await ask("PUT", url, inbound(ocpi), stale))[0] == 200
        assert ocpi.scene.store.all(Session, TENANT)[0].state is SessionState.ENDED
        status, said = await ask("GET", url, inbound(ocpi))
        assert (status, said["data"]["status"]) == (200, "COMPLETED")
        assert "cdr_token" not in said["data"]


async def test_a_word_from_the_future_does_not_silence_those_that_follow() -> None:
    async with ocpi_scene() as ocpi:
        car = ocpi.cpo.world.plug("ch-1-0")
        said = {
            "country_code": "NL",
            "party_id": "CPO",
            "id": car.session,
            "start_date_time": "2025-10-15T07:00:00Z",
            "kwh": 1.0,
            "location_id": "L",
            "evse_uid": "ch-1-0",
            "connector_id": "1",
            "status": "ACTIVE",
            "last_updated": "2099-01-01T00:00:00Z",
        }
        where = f"{ocpi.root}/2.2.1/sessions/NL/CPO/{car.session}"
        assert (await ask("PUT", where, inbound(ocpi), said))[0] == 200
        assert ocpi.door.sessions.running("ch-1-0") is not None
        ocpi.scene.clock.move(seconds=60)
        over = {"status": "COMPLETED", "last_updated": "2025-10-15T08:00:50Z"}
        assert (await ask("PUT", where, inbound(ocpi), said | over))[0] == 200
        assert ocpi.door.sessions.running("ch-1-0") is None


async def test_what_is_wrong_about_a_session_is_named_and_affects_no_other() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        good = ocpi.cpo.world.session_document(car)
        base = f"{ocpi.root}/2.2.1/sessions/NL/CPO"
        lower = f"{ocpi.root}/2.2.1/sessions/nl/cpo/{car.session.upper()}"
        assert (await ask("GET", lower, inbound(ocpi)))[0] == 200, "ids are case-insensitive"
        wrong = [
            ("PUT", f"{base}/other", good, 400, "id: must be the one of the address"),
            ("PUT", f"{base}/{car.session}", {**good, "kwh": -1}, 400, "kwh: "),
            ("PUT", f"{base}/{car.session}", {**good, "last_updated": 17}, 400, "last_updated: "),
            ("PUT", f"{base}/s9", {**good, "id": "s9", "evse_uid": "strange"}, 400, "evse_uid: is not a charger"),
            ("PUT", f"{base}/{car.session}", [], 400, ""),
            ("PATCH", f"{base}/{car.session}", {"kwh": 1.0}, 400, "last_updated: is required"),
            ("PATCH", f"{base}/s9", {"kwh": 1.0, "last_updated": good["last_updated"]}, 404, "session S9 not found"),
            ("GET", f"{base}/s9", None, 404, "session S9 not found"),
        ]
        for method, url, body, status, text in wrong:
            got, said = await ask(method, url, inbound(ocpi), body)
            assert (got, said["status_message"].startswith(text)) == (status, True), said
            assert 2000 <= said["status_code"] < 3000
        assert ocpi.state("ch-1-0") is ACCEPTED


async def test_when_nothing_can_be_written_the_platform_is_not_answered_with_success() -> None:
    async with ocpi_scene() as ocpi:
        car = ocpi.cpo.world.plug("ch-1-0")
        ocpi.scene.store.is_down = True
        url = f"{ocpi.root}/2.2.1/sessions/NL/CPO/{car.session}"
        status, said = await ask("PUT", url, inbound(ocpi), ocpi.cpo.world.session_document(car))
        assert (status, said["status_code"]) == (503, 3000)
        ocpi.scene.store.is_down = False
        assert (await ask("PUT", url, inbound(ocpi), ocpi.cpo.world.session_document(car)))[0] == 200


async def test_sessions_from_before_the_start_are_read_page_by_page() -> None:
    async with ocpi_scene(plugged=("ch-1-0", "ch-1-1", "ch-2-0", "ch-2-1", "strange")) as ocpi:
        await until(lambda: ocpi.door.standing().reached_count == 4, "all sessions")


# -------------------------------------------------------------------- pushes


async def test_who_overrides_us_with_more_is_told_again_and_counts_at_the_worst() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi, max_kw=22.0)
        sent = len(ocpi.profiles(car))
        less = {**ocpi.profiles(car)[-1], "charging_profile_period": [{"start_period": 0, "limit": 6.0}]}
        ocpi.cpo.world.apply(car.session, less)
        await ocpi.cpo.push_active(car)
        assert ocpi.state("ch-1-0") is ACCEPTED, "less than we allow is no harm"
        more = {**ocpi.profiles(car)[-1], "charging_profile_period": [{"start_period": 0, "limit": 20.0}]}
        ocpi.cpo.world.apply(car.session, more)
        await ocpi.cpo.push_active(car)
        assert ocpi.counted_kw("ch-1-0") == 11.0
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == sent + 1, "another profile")
        await until(lambda: ocpi.cpo.world.power_kw(car) <= 11.0)
        ocpi.cpo.world.apply(car.session, more)
        await ocpi.cpo.push_active(car)
        await ocpi.pass_time(20)
        assert len(ocpi.profiles(car)) == sent + 1, "two controllers never race"
        await ocpi.pass_time(15)
        await until(lambda: len(ocpi.profiles(car)) == sent + 2, "the answer after a pause")
        url = f"{ocpi.root}/2.2.1/chargingprofiles/strange"
        assert (await ask("PUT", url, inbound(ocpi), ocpi.cpo.world.active_profile(car)))[0] == 404


# -------------------------------------------------------------------- registration


async def test_the_platform_may_register_with_us() -> None:
    async with ocpi_scene(they_register=True) as ocpi:
        assert ocpi.door.registrar.current is not None
        await told(ocpi)


async def test_tokens_are_hashed_or_sealed_and_survive_a_restart() -> None:
    async with ocpi_scene() as ocpi:
        row = ocpi.scene.store.all(OcpiRegistration, TENANT)[0]
        shown = inbound(ocpi)
        assert shown not in repr(row)
        assert ocpi.cpo._inbound not in repr(row)
        assert SEAL.open(row.outbound_sealed) == ocpi.cpo._inbound
        again = ocpi_door(ocpi.scene, ocpi.root, f"{ocpi.cpo_url}/ocpi/versions", "2.2.1")
        await again.registrar.load()
        assert again.registrar.current == row
        header = "Token " + base64.b64encode(shown.encode()).decode()
        assert again.registrar.admits(header)
        entries = [c.entry.action for c in await ocpi.scene.store.audit_entries()]
        assert entries.count("csms.register") == 1


async def test_o38_who_does_not_show_the_token_learns_nothing() -> None:
    async with ocpi_scene() as ocpi:
        base = f"{ocpi.root}/2.2.1"
        for token in ("wrong", TOKEN_A, ""):
            for method, path in (("GET", "/credentials"), ("PUT", "/sessions/NL/CPO/x"), ("POST", "/results/x")):
                status, said = await ask(method, f"{base}{path}", token, {})
                assert status == 401
                assert "data" not in said
        assert (await ask("GET", f"{base}/credentials", inbound(ocpi)))[1]["data"]["roles"][0]["role"] == "SCSP"
        assert (await ask("GET", base, inbound(ocpi), plain=True))[0] == 200, "some platforms do not encode"


async def test_registering_twice_and_leaving() -> None:
    async with ocpi_scene(they_register=True) as ocpi:
        credentials = f"{ocpi.root}/2.2.1/credentials"
        own = {**ocpi.cpo._own_credentials("new-token-of-the-cpo")}
        token = inbound(ocpi)
        status, _ = await ask("POST", credentials, token, own)
        assert status == 405
        ocpi.cpo._inbound = "new-token-of-the-cpo"
        status, said = await ask("PUT", credentials, token, own)
        assert status == 200
        renewed = said["data"]["token"]
        assert renewed != token
        assert (await ask("GET", credentials, token))[0] == 401
        assert (await ask("DELETE", credentials, renewed))[0] == 200
        assert ocpi.door.registrar.current is None
        assert (await ask("GET", credentials, renewed))[0] == 401
        assert ocpi.door.standing().state == "not registered"


async def test_a_platform_that_left_holds_what_it_has_and_is_told_again_when_it_is_back() -> None:
    async with ocpi_scene(they_register=True) as ocpi:
        car = await told(ocpi)
        credentials = f"{ocpi.root}/2.2.1/credentials"
        assert (await ask("DELETE", credentials, inbound(ocpi)))[0] == 200
        ocpi.cpo.partner, ocpi.cpo._inbound = None, TOKEN_A
        assert ocpi.state("ch-1-0") is DispatchState.NONE
        assert ocpi.counted_kw("ch-1-0") == 11.0
        await ocpi.pass_time(30, step=10.0)
        assert len(ocpi.profiles(car)) == 1, "nothing is sent to whom we do not know"
        await ocpi.cpo.register(f"{ocpi.root}/versions")
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is ACCEPTED, "acceptance")


async def test_another_version_is_agreed_with_the_token_of_the_old_one() -> None:
    async with ocpi_scene() as ocpi:
        former = ocpi.scene.store.all(OcpiRegistration, TENANT)[0]
        await ocpi.scene.store.seed(TENANT, replace(former, version="2.3.0"))
        registrar, shown = ocpi.door.registrar, ocpi.cpo._inbound
        registrar.current = None
        await registrar.load()
        assert ocpi.door.standing().state == "not registered", "agreed for another version"
        await registrar.register()
        row = ocpi.scene.store.all(OcpiRegistration, TENANT)[0]
        assert ocpi.door.registrar.current == row
        assert (row.version, SEAL.open(row.outbound_sealed)) == ("2.2.1", ocpi.cpo._inbound)
        assert ocpi.cpo._inbound != shown


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/ocpi", "http://10.0.0.5/ocpi", "/ocpi/versions", "https://[fe80::1]/x"]
)
async def test_o6_addresses_of_a_peer_never_lead_inside(url: str) -> None:
    async with ocpi_scene(they_register=True) as ocpi:
        credentials = f"{ocpi.root}/2.2.1/credentials"
        own = {**ocpi.cpo._own_credentials("t" * 20), "url": url}
        status, said = await ask("PUT", credentials, inbound(ocpi), own)
        assert (status, said["status_code"]) == (400, 2001)
    with pytest.raises(Exception, match="inner|https"):
        RULES.check("url", url)


async def test_a_platform_that_does_not_speak_the_version_is_named() -> None:
    async with ocpi_scene("2.3.0") as ocpi:
        other = ocpi_door(Scene(), ocpi.root, f"{ocpi.cpo_url}/ocpi/versions", "2.2.1")
        ocpi.cpo._inbound = TOKEN_A
        async with running(other.run):
            await until(lambda: "does not speak 2.2.1" in other.standing().last_error, "the reason")
        assert not other.standing().is_connected


# -------------------------------------------------------------------- restarts and storage


async def test_a_command_under_way_at_a_restart_is_unknown_and_told_again() -> None:
    async with ocpi_scene() as ocpi:
        ocpi.cpo.faults.add(Fault(on="PUT", do="no-result", times=1))
        car = await ocpi.plug("ch-1-0")
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 1, "a profile")
        assert ocpi.scene.store.all(CsmsCommand, TENANT)[0].outcome is CommandOutcome.PENDING
        again = ocpi_door(ocpi.scene, ocpi.root, f"{ocpi.cpo_url}/ocpi/versions", "2.2.1")
        ocpi.door.sessions, kept = again.sessions, ocpi.door
        async with running(again.run):
            await until(lambda: again.standing().reached_count == 1, "the session of before the restart")
            await ocpi.steps_until(lambda: len(ocpi.profiles(car)) >= 2, "another profile")
            actions = [c.entry.action for c in await ocpi.scene.store.audit_entries()]
            assert actions.count("csms.unknown") == 1
        assert kept.standing().csms == CSMS


async def test_when_nothing_can_be_written_a_reduction_goes_out_and_an_increase_does_not() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        ocpi.scene.store.is_down = True
        with pytest.raises(Exception, match="disk"):
            await tighten(ocpi, 6.0)
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "the reduction")
        assert ocpi.cpo.world.power_kw(car) <= 5.7


async def test_a_charger_that_is_new_in_the_inventory_is_served_without_a_restart() -> None:
    async with ocpi_scene() as ocpi:
        await told(ocpi)
        old = ocpi.scene.store.all(Charger, TENANT)[0]
        async with running(ocpi.scene.services.tracker.run):
            await asyncio.sleep(0.05)
            await ocpi.scene.store.seed(TENANT, replace(old, id="ch-1-9"))
            await until(lambda: "ch-1-9" in ocpi.scene.services.tracker.view(TENANT).tree.charger_ids, "the new tree")
        ocpi.scene.clock.move(seconds=31)
        await until(lambda: ocpi.door.standing().charger_count == 5, "five chargers")
        await told(ocpi, "ch-1-9")


async def test_a_charger_that_is_no_longer_ours_is_given_back() -> None:
    async with ocpi_scene() as ocpi:
        car = await told(ocpi)
        mine = next(charger for charger in ocpi.scene.store.all(Charger, TENANT) if charger.id == "ch-1-0")
        await ocpi.scene.store.seed(TENANT, replace(mine, csms="another"))
        await until(lambda: ("DELETE", car.session, None) in ocpi.cpo.requests, "a DELETE")
        await until(lambda: car.profile is None, "no profile")
