"""Whether a partner is there, as the rest of the gateway is told, and what covers its absence."""

from gateway.domain.topology import Node
from gateway.oscp.names import PeerRole
from gateway.oscp.stand_ins import Absence
from gateway.oscp.surroundings import Surroundings
from gateway.ports import StatedLimits


class Presence:
    """Tells the limit desk whether one partner can be reached.

    Args:
        around: Settings and ports.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._told_lost: bool | None = None

    async def tell(self, *, is_lost: bool) -> None:
        """Tell the desk where it does not know yet, and see that an absence is covered.

        Optimisers and clients of ours limit nothing: nobody has to know whether they are there.

        Raises:
            StorageUnavailable: Not all of it is on disk; what lowers a limit acts as far as the desk holds it in memory. Tell again.
        """
        settings = self._around.settings
        if settings.role is not PeerRole.CAPACITY_PROVIDER:
            return
        if self._told_lost != is_lost:
            await self._around.limit_desk.contact(self._around.principal, settings.authority, is_lost=is_lost)
            self._told_lost = is_lost
        await (self._cover() if is_lost else self._uncover())

    def absence(self) -> Absence:
        """Return what the partner has stated, as it counts while it is gone."""
        tenant, authority = self._around.settings.tenant, self._around.settings.authority
        stated = self._around.limit_desk.stated_by(tenant, authority)
        return Absence(tenant=tenant, authority=authority, stated=stated, now=self._around.clock.now())

    async def _cover(self) -> None:
        absence = self.absence()
        names = sorted({limit.node for limit in absence.stated})
        rows = [await self._around.store.get(Node, absence.tenant, name) for name in names]
        limits = absence.missing([row.record for row in rows if row is not None], self._around.ids)
        if limits:
            await self._state(StatedLimits(authority=absence.authority, raw=None, limits=limits))

    async def _uncover(self) -> None:
        absence = self.absence()
        withdrawn = absence.standing_in()
        if withdrawn:
            await self._state(StatedLimits(authority=absence.authority, raw=None, withdrawn=withdrawn))

    async def _state(self, stated: StatedLimits) -> None:
        await self._around.limit_desk.state_limits(self._around.principal, stated)
