"""What the demo prints while time passes: one line per market hour with what is drawn, what binds and who does not follow."""

from collections.abc import Callable
from datetime import datetime, timedelta

import grpc

from gateway.client import Gateway, connect
from gateway.clock import FileClock
from gateway.v1.dispatch_service_pb2 import ListDispatchStatesRequest
from gateway.v1.signals_service_pb2 import ResolveLimitRequest

_CALL_SECONDS = 60.0


class Reporter:
    """Asks the gateway over gRPC, as an operator would, and prints."""

    def __init__(
        self, address: str, token: str, clock: FileClock, say: Callable[[str], None], node: str = "vpp-be"
    ) -> None:
        """Remember whom to ask and where to print."""
        self._address = address
        self._token = token
        self._clock = clock
        self._say = say
        self._node = node

    async def run(self) -> None:
        """Print a line every market hour until cancelled."""
        async with connect(self._address, token=self._token) as gateway:
            while True:
                now = self._clock.now()
                await self._clock.sleep_until(_next_hour(now))
                try:
                    self._say(await self._line(gateway))
                except grpc.aio.AioRpcError as error:
                    self._say(f"{self._clock.now():%d %b %H:%M}Z  the gateway does not answer ({error.code().name})")

    async def _line(self, gateway: Gateway) -> str:
        resolved = await gateway.signals.ResolveLimit(ResolveLimitRequest(node_id=self._node), timeout=_CALL_SECONDS)
        states = await gateway.dispatch.ListDispatchStates(ListDispatchStatesRequest(), timeout=_CALL_SECONDS)
        known = [charger.measured_power_kw for charger in states.chargers if charger.HasField("measured_power_kw")]
        not_following = sum(1 for charger in states.chargers if charger.likely_cause)
        return (
            f"{self._clock.now():%d %b %H:%M}Z  {sum(known):7.1f} kW at {len(known)} chargers; "
            f"{resolved.resolution.why}; {not_following} not following"
        )


def _next_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
