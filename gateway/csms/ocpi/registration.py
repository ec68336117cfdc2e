"""How we and an OCPI platform exchange tokens: we register with it, or it registers with us.

```
we:   GET versions (A) -> GET version (A) -> POST credentials (A) with our token B -> its token C for us
it:   POST credentials (A) with its token B -> we read its versions with B -> answer with our token C for it
```
The token A works for nothing but this, and not while a registration stands; after the platform has ended one (DELETE credentials) the
token A of the settings begins a new one, so that whoever wants it spent changes the settings. What the platform shows us is kept as a
hash, what we show it sealed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.csms.delivery import DoorPorts
from gateway.csms.ocpi.client import OcpiClient
from gateway.csms.ocpi.envelope import OcpiRefused, Parties, is_authorized, matching_token
from gateway.csms.ocpi.models import (
    BusinessDetails,
    Credentials,
    CredentialsRole,
    Endpoint,
    Version,
    VersionDetails,
    read_model,
)
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.domain.doors import OcpiRegistration
from gateway.domain.errors import InvalidInput, PreconditionFailed, Unauthenticated
from gateway.domain.evidence import AuditEntry
from gateway.outbound import AddressRules
from gateway.ports import Batch, Put
from gateway.sealing import Seal, new_token, token_hash

MODULES = (("credentials", "SENDER"), ("sessions", "RECEIVER"), ("chargingprofiles", "SENDER"))
"""What we serve, with our role. Credentials have one address for both roles."""
_NO_HASH = ""
_GONE = "unregistered"


@dataclass(frozen=True, kw_only=True, slots=True)
class OcpiPeer:
    """What the registration works with."""

    settings: OcpiSettings
    ports: DoorPorts
    client: OcpiClient
    rules: AddressRules
    seal: Seal


class Registrar:
    """Keeps the registration with one platform.

    Args:
        peer: The world and the platform.
    """

    def __init__(self, peer: OcpiPeer) -> None:
        self._peer = peer
        self._settings = peer.settings
        self._token_a_hash = token_hash(peer.settings.token_a)
        self._offered_hash = _NO_HASH
        self._former: OcpiRegistration | None = None
        """Registration in another version than the settings ask for now: it is changed, not begun anew."""
        self.current: OcpiRegistration | None = None
        """How we know each other; None before and after."""

    # ---------------------------------------------------------------- who may call us

    def admits(self, header: str) -> bool:
        """Tell whether a caller shows the token of the registration."""
        kept = [self._offered_hash, _NO_HASH if self.current is None else self.current.inbound_sha256]
        matches = [is_authorized(header, known) for known in kept if known]
        return any(matches)

    def admits_first(self, header: str) -> bool:
        """Tell whether a caller shows the token A while nobody has registered with it."""
        return self.current is None and is_authorized(header, self._token_a_hash)

    # ---------------------------------------------------------------- what we say of ourselves

    @property
    def versions_url(self) -> str:
        """Where our versions are."""
        return f"{self._settings.root_url}/versions"

    @property
    def version_url(self) -> str:
        """Where our modules are listed."""
        return f"{self._settings.root_url}/{self._settings.version}"

    def details(self) -> VersionDetails:
        """Return our modules."""
        endpoints = [Endpoint(identifier=name, role=role, url=f"{self.version_url}/{name}") for name, role in MODULES]
        return VersionDetails(version=self._settings.version, endpoints=tuple(endpoints))

    def credentials_of(self, header: str) -> Credentials:
        """Return what the platform reaches us with; the token is kept as a hash only, so that it is the one just shown.

        Raises:
            Unauthenticated: It shows another one.
        """
        token = None if self.current is None else matching_token(header, self.current.inbound_sha256)
        if token is None:
            raise Unauthenticated("unknown token")
        return self._credentials(token)

    def _credentials(self, token: str) -> Credentials:
        own = self._settings
        role = CredentialsRole(
            role="SCSP",
            business_details=BusinessDetails(name=own.name),
            party_id=own.party_id,
            country_code=own.country_code,
        )
        return Credentials(token=token, url=self.versions_url, roles=(role,))

    # ---------------------------------------------------------------- registering

    async def load(self) -> None:
        """Go on from the row of an earlier registration.

        Raises:
            InvalidInput: Its token was sealed with another key.
        """
        ports = self._peer.ports
        row = await ports.store.get(OcpiRegistration, ports.principal.tenant, ports.csms)
        if row is None or row.record.version == _GONE:
            return
        if row.record.version == self._settings.version:
            self._use(row.record)
        else:
            self._former = row.record

    async def register(self) -> None:
        """Register with the platform.

        Raises:
            OcpiRefused: The platform said no.
            PeerUnavailable: It does not answer.
            InvalidInput: It says something that breaks a rule.
            StorageUnavailable: The registration could not be kept.
        """
        settings, former = self._settings, self._former
        if settings.versions_url is None:
            raise PreconditionFailed("the platform has to register with us")
        shown = settings.token_a if former is None else self._peer.seal.open(former.outbound_sealed)
        endpoints = await self._survey(settings.versions_url, shown)
        where = _address(endpoints, "credentials")
        token = new_token()
        # From now on the platform may call us with it: it reads our versions before it answers.
        self._offered_hash = token_hash(token)
        try:
            page = await self._peer.client.ask(
                "POST" if former is None else "PUT", where, self._credentials(token), token=shown, is_routed=False
            )
            theirs = read_model(Credentials, page.data)
            await self._keep(theirs, token, endpoints)
        finally:
            self._offered_hash = _NO_HASH

    async def take(self, theirs: Credentials, *, is_update: bool) -> Credentials:
        """Register a platform that came to us, or take its new token and address; return what it shall use from now on.

        Raises:
            PreconditionFailed: It is registered already, or is not and wants to change that.
            OcpiRefused: Its own versions cannot be read with the token that it gave.
            InvalidInput: An address must not be called.
        """
        if is_update != (self.current is not None):
            raise PreconditionFailed("already registered" if self.current is not None else "not registered")
        self._peer.rules.check("url", theirs.url)
        endpoints = await self._survey(theirs.url, theirs.token)
        token = new_token()
        await self._keep(theirs, token, endpoints)
        return self._credentials(token)

    async def leave(self) -> None:
        """Forget the platform: it took its registration back.

        Raises:
            PreconditionFailed: It was not registered.
        """
        if self.current is None:
            raise PreconditionFailed("not registered")
        gone = replace(self.current, version=_GONE, inbound_sha256=_NO_HASH, outbound_sealed="", endpoints=())
        await self._write(gone, "csms.unregister")
        self.current = None
        self._peer.client.token, self._peer.client.parties = "", None

    async def _survey(self, versions_url: str, token: str) -> tuple[Endpoint, ...]:
        """Return the platform's modules of our version."""
        client, wanted = self._peer.client, self._settings.version
        listed = await client.get(versions_url, token=token)
        versions = [read_model(Version, item) for item in listed] if isinstance(listed, list) else []
        found = next((version.url for version in versions if version.version == wanted), None)
        if found is None:
            raise InvalidInput("versions", f"the platform does not speak {wanted}")
        self._peer.rules.check("versions.url", found)
        details = read_model(VersionDetails, await client.get(found, token=token))
        for endpoint in details.endpoints:
            self._peer.rules.check(f"endpoints.{endpoint.identifier}", endpoint.url)
        return details.endpoints

    async def _keep(self, theirs: Credentials, inbound: str, endpoints: Sequence[Endpoint]) -> None:
        ports, settings = self._peer.ports, self._settings
        self._peer.rules.check("credentials.url", theirs.url)
        role = next((role for role in theirs.roles if role.role == "CPO"), theirs.roles[0])
        registration = OcpiRegistration(
            id=ports.csms,
            tenant=ports.principal.tenant,
            version=settings.version,
            inbound_sha256=token_hash(inbound),
            outbound_sealed=self._peer.seal.close(theirs.token),
            country_code=role.country_code.upper(),
            party_id=role.party_id.upper(),
            endpoints=tuple((e.identifier, e.role, e.url.rstrip("/")) for e in endpoints),
            registered_at=ports.clock.now(),
        )
        await self._write(registration, "csms.register")
        self._use(registration)

    async def _write(self, registration: OcpiRegistration, action: str) -> None:
        ports = self._peer.ports
        entry = AuditEntry(
            id=ports.ids.new("audit"),
            tenant=registration.tenant,
            at=ports.clock.now(),
            actor=f"csms:{ports.csms}",
            action=action,
            object_kind="csms",
            object_id=ports.csms,
            detail={"version": registration.version, "party": f"{registration.country_code}*{registration.party_id}"},
        )
        await ports.store.apply(Batch(tenant=registration.tenant, puts=(Put(record=registration),), audit=(entry,)))

    def _use(self, registration: OcpiRegistration) -> None:
        own, client = self._settings, self._peer.client
        client.token = self._peer.seal.open(registration.outbound_sealed)
        client.parties = Parties(
            from_country=own.country_code,
            from_party=own.party_id,
            to_country=registration.country_code,
            to_party=registration.party_id,
        )
        self.current = registration


def _address(endpoints: Sequence[Endpoint], module: str) -> str:
    found = next((endpoint.url for endpoint in endpoints if endpoint.identifier == module), None)
    if found is None:
        raise InvalidInput("endpoints", f"the platform serves no {module}")
    return found


__all__ = ["MODULES", "OcpiPeer", "OcpiRefused", "Registrar"]
