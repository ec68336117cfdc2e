"""OCPI over real sockets against the sandbox operator: registration, sessions, profiles, results, pushes."""

import pytest

from gateway.domain.dispatch import DispatchState
from gateway.domain.doors import CommandOutcome, CsmsCommand
from tests.csms.door_scene import ocpi_scene, until
from tests.services.scene import GRID, TENANT, event, message


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
async def test_o38_a_limit_reaches_a_running_session(version: str) -> None:
    async with ocpi_scene(version) as ocpi:
        car = await ocpi.plug("ch-1-0")
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is DispatchState.ACCEPTED, "acceptance")
        profile = ocpi.profiles(car)[-1]
        assert isinstance(profile["charging_profile_period"], list)
        assert profile["charging_rate_unit"] == "A"
        assert profile["charging_profile_period"][0] == {"start_period": 0, "limit": 15.9}
        assert profile["charging_profile_period"][1] == {"start_period": 900, "limit": 0.0}, (
            "the fallback after the lease"
        )
        assert profile["duration"] == 900 + 12 * 3600, "never without end"
        headers = {name.lower(): value for name, value in ocpi.cpo.headers[-1].items()}
        assert headers["ocpi-to-party-id"] == "CPO"
        assert headers["x-request-id"]
        assert headers["x-correlation-id"]
        rows = ocpi.scene.store.all(CsmsCommand, TENANT)
        assert [(row.charger, row.outcome) for row in rows] == [("ch-1-0", CommandOutcome.ACCEPTED)]
        assert ocpi.state("ch-1-1") is DispatchState.NONE, "no session: nobody is told anything"


async def test_a_reduction_reaches_the_car() -> None:
    async with ocpi_scene() as ocpi:
        car = await ocpi.plug("ch-1-0")
        await ocpi.steps_until(lambda: ocpi.state("ch-1-0") is DispatchState.ACCEPTED)
        await ocpi.scene.services.signals.receive(GRID, message(event(start=ocpi.scene.clock.now(), max_kw=6.0)))
        await ocpi.steps_until(lambda: len(ocpi.profiles(car)) == 2, "a second profile")
        await until(lambda: ocpi.cpo.world.power_kw(car) <= 5.7)
