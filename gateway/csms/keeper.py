"""Keeps one door's link to the dispatcher open: the chargers of the platform as the inventory has them, again when it changes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Protocol

from gateway.csms.delivery import DoorPorts
from gateway.domain.errors import Superseded, VoltbridgeError
from gateway.domain.identity import Principal
from gateway.domain.topology import Charger
from gateway.observe import logger
from gateway.services.plan_dispatch import DispatchLink

_log = logger("csms")
_MOST_CHARGERS = 200_000
_RETRY_AFTER = timedelta(seconds=30)


class DispatchDoor(Protocol):
    """What doors need of `services.plan_dispatch.Dispatcher`."""

    async def connect(
        self, principal: Principal, charger_ids: Sequence[str], resume_token: str, *, lease: timedelta | None = None
    ) -> DispatchLink:
        """Open the link of a platform."""
        ...


Serve = Callable[[DispatchLink, Sequence[Charger]], Coroutine[Any, Any, None]]
"""Serves a link until cancelled; the chargers are in the link's order."""


class LinkKeeper:
    """Opens the link of one platform again and again.

    Args:
        ports: The world.
        dispatcher: Who gives out links.
        lease: How long commands over this door hold; None for as long as everybody's.
    """

    def __init__(self, ports: DoorPorts, dispatcher: DispatchDoor, lease: timedelta | None) -> None:
        self._ports = ports
        self._dispatcher = dispatcher
        self._lease = lease
        self.is_linked = False
        """Whether the dispatcher counts on this door now."""

    async def run(self, serve: Serve) -> None:
        """Keep a link open and let it be served, for ever."""
        while True:
            chargers = await self._chargers()
            if chargers:
                await self._once(serve, chargers)
            else:
                await self._until_changed(chargers)

    async def _once(self, serve: Serve, chargers: Sequence[Charger]) -> None:
        ids = [charger.id for charger in chargers]
        try:
            link = await self._dispatcher.connect(self._ports.principal, ids, "", lease=self._lease)
        except VoltbridgeError as error:
            _log.warning("no link", csms=self._ports.csms, reason=str(error))
            await self._ports.clock.sleep(_RETRY_AFTER)
            return
        self.is_linked = True
        try:
            await self._while_unchanged(serve, link, chargers)
        except* Superseded:
            _log.warning("another stream speaks for the platform", csms=self._ports.csms)
            await self._ports.clock.sleep(_RETRY_AFTER)
        finally:
            self.is_linked = False
            link.close()

    async def _while_unchanged(self, serve: Serve, link: DispatchLink, chargers: Sequence[Charger]) -> None:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve(link, chargers))
            await self._until_changed(chargers)
            serving.cancel()

    async def _until_changed(self, chargers: Sequence[Charger]) -> None:
        """Return when the chargers of the platform are others than these."""
        async with self._ports.store.changes({Charger.__name__}) as changes:
            if await self._chargers() != chargers:
                return
            async for change in changes:
                is_ours = change.tenant == self._ports.principal.tenant
                if is_ours and await self._chargers() != chargers:
                    return

    async def _chargers(self) -> list[Charger]:
        where = {"csms": self._ports.csms}
        rows = await self._ports.store.find(Charger, self._ports.principal.tenant, where, limit=_MOST_CHARGERS)
        return sorted((row.record for row in rows), key=lambda charger: charger.id)
