"""All OSCP partners of a gateway: what runs for each, whose token a request shows, and how we stand with them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.domain.errors import PermissionRefused, Unauthenticated, Unavailable
from gateway.domain.oscp import LinkState
from gateway.observe import redacted
from gateway.oscp import link as links
from gateway.oscp.admission import AddressGate
from gateway.oscp.names import OWN_ROLE
from gateway.oscp.outbox import Http, Outbox
from gateway.oscp.peer import OscpPeer
from gateway.oscp.pulse import Heartbeats, Watch
from gateway.oscp.reports import Reports
from gateway.oscp.surroundings import Surroundings
from gateway.ports import PartnerStanding

_LONGEST_ERROR = 200


class OscpUnit:
    """What runs for one partner.

    Args:
        around: Settings and ports.
        http: Calls the partner.
        gate: Judges addresses that it names; None judges by the settings.
    """

    def __init__(self, around: Surroundings, http: Http, gate: AddressGate | None = None) -> None:
        judge = AddressGate(around.settings.rules) if gate is None else gate
        self._http = http
        self.peer = OscpPeer(around, judge.admit)
        self.outbox = Outbox(self.peer, http)
        self.watch = Watch(self.peer)
        self.heartbeats = Heartbeats(self.peer, self.outbox)
        self.reports = Reports(self.peer)
        self.is_ready = False
        """Whether the link was read from its row: no request is taken before."""

    async def run(self) -> None:
        """Keep up the link until cancelled.

        Raises:
            StorageUnavailable: The link cannot be read; call again.
        """
        await self.peer.begin()
        self.is_ready = True
        try:
            async with asyncio.TaskGroup() as tasks:
                for part in (self.outbox, self.watch, self.heartbeats, self.reports):
                    tasks.create_task(part.run())
        finally:
            await self._http.close()

    def standing(self) -> PartnerStanding:
        """Return how we stand with the partner."""
        link = self.peer.link
        is_out = links.is_lost(link) and link.state is not LinkState.UNREGISTERED
        return PartnerStanding(
            authority=link.id,
            state=link.state.value,
            ven_id="",
            heard_at=self.peer.heard_at,
            lost_since=link.changed_at if is_out else None,
            failures=self.outbox.failures,
            last_error=redacted(self.peer.problem)[:_LONGEST_ERROR],
            pending_reports=self.outbox.waiting,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OscpRoom:
    """Implements `ports.PartnerHealth` for the OSCP partners of a gateway."""

    units: tuple[OscpUnit, ...] = field(default=())

    def caller(self, own_role: str, token_sha256: str, message: str) -> OscpPeer:
        """Return the partner that shows a token; all partners are asked, so that the time tells nothing.

        Args:
            own_role: What the address says that we are: `fp` or `co`.
            token_sha256: Hex SHA-256 of the token.
            message: Name of the message.

        Raises:
            Unauthenticated: Nobody has this token.
            PermissionRefused: It is of a partner to whom we are something else.
            Unavailable: A link was not read from its row yet, and the token may be of it.
        """
        known = [unit.peer for unit in self.units if unit.peer.knows(token_sha256, message) and unit.is_ready]
        if not known:
            if not all(unit.is_ready for unit in self.units):
                raise Unavailable("the links are being read")
            raise Unauthenticated("the token is not valid")
        if OWN_ROLE[known[0].around.settings.role] != own_role:
            raise PermissionRefused(f"oscp.{own_role}")
        return known[0]

    def standings(self, tenant: str) -> Sequence[PartnerStanding]:
        """Return how a tenant stands with each of its partners (see `ports.PartnerHealth`)."""
        return [unit.standing() for unit in self.units if unit.peer.around.settings.tenant == tenant]
