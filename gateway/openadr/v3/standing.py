"""Who we are for a VTN: our ven and resources, found or made, the same after every restart.

The VTN knows us by name. An id that it does not know any more is looked up by name again, so that a VTN that was set up anew, or a
kill between creating and keeping, never leads to a second ven.
"""

from dataclasses import dataclass, replace
from http import HTTPStatus

from gateway.domain.errors import PeerUnavailable
from gateway.domain.signals import VenRegistration
from gateway.observe import logger
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.refusals import VtnRefused
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.wire import Target, WireResource, WireVen
from gateway.openadr.v3.writer import write_resource

_NOT_OURS = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Our ven and resources as the VTN has them."""

    ven: WireVen | None
    """None where no vens are kept, as for a public tariff."""
    resources: tuple[WireResource, ...] = ()

    @property
    def targets(self) -> frozenset[Target]:
        """The targets that the VTN granted us (Definition, object privacy)."""
        own = () if self.ven is None else self.ven.targets
        return frozenset((*own, *(target for resource in self.resources for target in resource.targets)))


class Registrar:
    """Finds or makes our ven and resources at the VTN.

    Args:
        around: Settings and ports.
        client: Asks the VTN.
        holdings: Keeps what was found.
    """

    def __init__(self, around: Surroundings, client: VtnClient, holdings: Holdings) -> None:
        self._around = around
        self._settings = around.settings
        self._client = client
        self._holdings = holdings
        self.registration: VenRegistration | None = None
        """Our row; None before `load`."""

    @property
    def seed(self) -> str:
        """What randomised starts are drawn from."""
        return "" if self.registration is None else self.registration.registration_id

    async def load(self) -> None:
        """Take up the registration of an earlier run, or begin one: its seed is on disk before anything is drawn from it.

        Raises:
            StorageUnavailable: Try again.
        """
        stored = await self._around.store.get(VenRegistration, self._settings.tenant, self._settings.authority)
        if stored is not None:
            self.registration = replace(stored.record, poll_interval=self._settings.poll_interval)
            return
        self.registration = await self._keep(
            VenRegistration(
                id=self._settings.authority,
                tenant=self._settings.tenant,
                vtn_id="",
                ven_id="",
                registration_id=self._around.ids.new("registration"),
                poll_interval=self._settings.poll_interval,
                registered_at=self._around.clock.now(),
                active=False,
            ),
            "openadr.begin",
        )

    async def ensure(self) -> Standing:
        """Return our ven and resources; what is missing is made.

        Raises:
            PeerUnavailable: The VTN does not answer or refuses us.
            StorageUnavailable: What was found could not be kept.
        """
        if not self._settings.registers:
            return Standing(ven=None)
        ven = await self._own_ven()
        known = self.registration
        if known is not None and (known.ven_id != ven.meta.id or not known.active):
            now = self._around.clock.now()
            self.registration = await self._keep(
                replace(known, ven_id=ven.meta.id, active=True, registered_at=now), "openadr.register"
            )
            _log.info("registered", authority=self._settings.authority, ven_id=ven.meta.id)
        resources = await self._own_resources(ven.meta.id)
        self._hold(ven, resources)
        return Standing(ven=ven, resources=resources)

    async def _own_ven(self) -> WireVen:
        ven_id = "" if self.registration is None else self.registration.ven_id
        if ven_id:
            try:
                return await self._client.ven(ven_id)
            except VtnRefused as error:
                if error.status not in _NOT_OURS:
                    raise
        found = await self._find_ven()
        if found is not None:
            return found
        try:
            return await self._client.create_ven(self._settings.ven_name)
        except VtnRefused as error:
            found = await self._find_ven() if error.status == HTTPStatus.CONFLICT else None
            if found is None:
                raise
            return found

    async def _find_ven(self) -> WireVen | None:
        listed = await self._client.vens(self._settings.ven_name)
        ours = [ven for ven in listed.objects if ven.name == self._settings.ven_name]
        return min(ours, key=lambda ven: ven.meta.id, default=None)

    async def _own_resources(self, ven_id: str) -> tuple[WireResource, ...]:
        known = await self._list_resources(ven_id)
        for wanted in self._settings.resources:
            if wanted.name not in known:
                content = write_resource(self._settings.dialect, ven_id, wanted.name, wanted.attributes)
                try:
                    known[wanted.name] = await self._client.create_resource(ven_id, content)
                except VtnRefused as error:
                    if error.status != HTTPStatus.CONFLICT:
                        raise
                    known = await self._list_resources(ven_id)
                    if wanted.name not in known:
                        raise PeerUnavailable("the VTN has a resource of ours and does not show it") from error
        return tuple(known.values())

    async def _list_resources(self, ven_id: str) -> dict[str, WireResource]:
        listed = await self._client.resources(ven_id)
        return {one.name: one for one in listed.objects if one.ven_id in {"", ven_id}}

    def _hold(self, ven: WireVen, resources: tuple[WireResource, ...]) -> None:
        self._holdings.see(ObjectKind.VEN, ven.meta, ven.content)
        for resource in resources:
            self._holdings.see(ObjectKind.RESOURCE, resource.meta, resource.content)
        self._holdings.leave_out(ObjectKind.RESOURCE, {resource.meta.id for resource in resources})

    async def _keep(self, registration: VenRegistration, action: str) -> VenRegistration:
        await self._around.keep(registration, action=action, detail={"ven_id": registration.ven_id})
        return registration
