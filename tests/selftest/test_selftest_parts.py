"""The parts of the conformance runner that need no programs: choice of cases, pace, intermission, verdicts."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest

from gateway.client import Gateway
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.selftest import run
from gateway.selftest.catalogue import CASES, chosen
from gateway.selftest.identity import make_identity
from gateway.selftest.intermission import Intermission
from gateway.selftest.pace import FASTEST, SLOWEST, next_speed
from gateway.selftest.partner import CaseFailed, expect
from gateway.selftest.repertoire import JUDGED_IN_TESTS, SCRIPTS
from gateway.selftest.run import first_of


def test_there_are_58_cases_each_played_or_judged_elsewhere_and_both_only_where_a_broker_may_be_missing() -> None:
    numbers = {case.number for case in CASES}
    assert len(numbers) == len(CASES) == 58
    assert set(SCRIPTS) | set(JUDGED_IN_TESTS) == numbers
    assert {number for number in JUDGED_IN_TESTS if number in SCRIPTS} == {
        number for number, script in SCRIPTS.items() if script.needs_broker
    }


def test_cases_are_chosen_by_number_once_each() -> None:
    assert [case.number for case in chosen(["b2", "A1", "B2"])] == ["B2", "A1"]
    assert chosen([]) == CASES
    with pytest.raises(InvalidInput, match="A39"):
        chosen(["A39"])


def test_market_time_slows_down_at_once_and_speeds_up_bit_by_bit() -> None:
    assert next_speed(60.0, lag_s=1.0) == 36.0
    assert next_speed(SLOWEST, lag_s=1.0) == SLOWEST
    assert next_speed(10.0, lag_s=0.08) == 10.0
    assert 10.0 < next_speed(10.0, lag_s=0.0) < 12.0
    assert next_speed(FASTEST, lag_s=0.0) == FASTEST


async def test_the_gateway_is_killed_once_when_all_others_are_over() -> None:
    restarts: list[str] = []

    async def restart() -> None:
        restarts.append("killed")

    intermission = Intermission(3, restart)

    async def waits() -> None:
        await intermission.wait()
        await intermission.leave()

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(waits()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not restarts
        await intermission.leave()
        await asyncio.gather(*waiting)
    assert restarts == ["killed"]


async def test_without_a_case_that_waits_nothing_is_killed() -> None:
    async def restart() -> None:
        pytest.fail("nobody waited")

    intermission = Intermission(1, restart)
    await intermission.leave()


def test_a_case_fails_with_what_was_seen() -> None:
    expect([1], "unused")
    with pytest.raises(CaseFailed, match="seen"):
        expect([], "seen")


def test_identities_differ_and_are_pinned_by_ten_bytes() -> None:
    now = datetime(2026, 3, 3, tzinfo=UTC)
    one, other = make_identity(now), make_identity(now)
    assert one.fingerprint != other.fingerprint
    assert len(one.fingerprint.split(":")) == 10
    assert "PRIVATE KEY" in one.key


def test_what_stops_the_run_is_told_in_one_line_however_deep_it_was_raised() -> None:
    deep = PeerUnavailable("the gateway refuses the charging platform")
    caught = ExceptionGroup("outer", [ExceptionGroup("inner", [deep]), OSError()]).subgroup(PeerUnavailable)
    assert caught is not None
    assert first_of(caught) is deep


async def test_a_gateway_that_is_killed_while_it_is_asked_only_slows_market_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed:
        async def ListEvents(self, _request: object, **_options: object) -> None:  # noqa: N802  # name of the contract
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    monkeypatch.setattr(run, "LOST_S", 0.0)
    nobody = Killed()
    await run.ask_something(
        Gateway(
            fleet=nobody,
            signals=nobody,
            dispatch=nobody,
            market_data=nobody,
            bidding=nobody,
            evidence=nobody,
            steering=nobody,
        )
    )
