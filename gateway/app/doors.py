"""Doors to charging platforms, made from settings."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from gateway.app.supervise import Job
from gateway.csms.citrineos.door import CitrineDoor, CitrineSettings
from gateway.csms.citrineos.messages import Station
from gateway.csms.delivery import DoorPorts
from gateway.csms.keeper import DispatchDoor
from gateway.csms.listening import DoorListener, ListenSettings, path_of
from gateway.csms.ocpi.client import OcpiClient
from gateway.csms.ocpi.door import OcpiDoor
from gateway.csms.ocpi.profiles import ProfileRules
from gateway.csms.ocpi.receiver import OcpiReceiver
from gateway.csms.ocpi.registration import OcpiPeer
from gateway.csms.ocpi.sessions import FleetDoor
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.csms.standing import DoorBook
from gateway.csms.webhook.door import WebhookDoor, WebhookSettings
from gateway.csms.webhook.signing import Signer, SigningKey
from gateway.csms_settings import CsmsListenerSettings, CsmsSettings
from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.id_list import IdList
from gateway.domain.identity import Principal, Role
from gateway.domain.topology import EnforcementClass
from gateway.outbound import AddressRules, ClientTls, PeerHttp
from gateway.ports import Clock, Ids, Store
from gateway.sealing import Seal
from gateway.settings import Settings, private_key, read_secret, seconds

_LONGEST_ANSWER_BYTES = 2_000_000


class FleetOfDoors(FleetDoor, Protocol):
    """What all doors together need of `services.track_fleet.FleetTracker`."""

    def view(self, tenant: str) -> FleetView:
        """Return the fleet as it is known now."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorWorld:
    """What doors work with."""

    store: Store
    clock: Clock
    ids: Ids
    dispatcher: DispatchDoor
    fleet: FleetOfDoors
    book: DoorBook
    """Knows the doors, for those who want to know how they stand."""


def door_jobs(settings: Settings, world: DoorWorld) -> list[Job]:
    """Return what runs for the doors of a deployment: one job each, and the port at which platforms call back.

    Raises:
        InvalidInput: A setting is wrong, or a secret or TLS file is missing; names the key as the settings file does.
    """
    if settings.csms_listener is None:
        return []
    listen = listen_settings(settings.csms_listener)
    listener = DoorListener(listen)
    jobs = [Job(name="csms listener", run=listener.run)]
    for place, entry in enumerate(settings.csms):
        where, path = f"csms[{place}]", path_of(entry.name)
        door: OcpiDoor | CitrineDoor | WebhookDoor
        match entry.kind:
            case "citrineos":
                door = citrine_door_of(where, entry, listen, world)
                listener.add(door.routes(path))
            case "webhook":
                door = webhook_door_of(where, entry, listen, world)
                listener.add(door.routes(path))
            case _:
                door = ocpi_door_of(where, entry, listen, world)
                listener.add(OcpiReceiver(door, door.settings, world.clock, f"{path}/ocpi").routes())
        world.book.add(entry.tenant, door)
        jobs.append(Job(name=f"csms {entry.name}", run=door.run))
    return jobs


def best_classes(settings: Settings) -> dict[tuple[str, str], EnforcementClass]:
    """Return the best enforcement class of targets by tenant and platform, where a door decides it."""
    return {(entry.tenant, entry.name): EnforcementClass(entry.best_class) for entry in settings.csms}


def listen_settings(section: CsmsListenerSettings) -> ListenSettings:
    """Return where platforms call us back.

    Raises:
        InvalidInput: The address or the certificate cannot be used.
    """
    return ListenSettings(
        port=section.port,
        public_url=section.public_url,
        host=section.host,
        cert_file=section.certificate,
        key_file=private_key("csms_listener.key", section.key),
        allow_plain_on_loopback=section.allow_plain_on_loopback,
    )


def ocpi_door_of(where: str, entry: CsmsSettings, listen: ListenSettings, world: DoorWorld) -> OcpiDoor:
    """Return the door to one OCPI platform.

    Raises:
        InvalidInput: A setting is wrong, or a secret or TLS file is missing.
    """
    own, rules = entry.ocpi, rules_of(where, entry)
    told = OcpiSettings(
        version=entry.kind.removeprefix("ocpi-"),
        root_url=f"{listen.root_of(entry.name)}/ocpi",
        token_a=_secret(where, entry),
        versions_url=entry.url,
        country_code=own.country_code,
        party_id=own.party_id,
        name=own.party_name,
        charger_of=entry.chargers,
        watt_chargers=frozenset(own.watt_chargers),
        voltage_v=own.voltage_v,
        read_back=own.read_back,
        history=seconds(own.history),
        profile=ProfileRules(tail=seconds(own.tail), most_periods=own.most_periods),
    )
    if own.seal_key_file is None:
        raise InvalidInput(f"{where}.ocpi.seal_key_file", "is required")
    peer = OcpiPeer(
        settings=told,
        ports=ports_of(entry, world),
        client=OcpiClient(http_of(where, entry, rules), world.ids),
        rules=rules,
        seal=Seal(read_secret(f"{where}.ocpi.seal_key_file", own.seal_key_file)),
    )
    return OcpiDoor(
        peer,
        world.dispatcher,
        world.fleet,
        lease=_lease(entry),
        enforcement=EnforcementClass(entry.best_class),
    )


def citrine_door_of(where: str, entry: CsmsSettings, listen: ListenSettings, world: DoorWorld) -> CitrineDoor:
    """Return the door to one CitrineOS.

    Raises:
        InvalidInput: A setting is wrong, or a secret or TLS file is missing.
    """
    own, rules = entry.citrineos, rules_of(where, entry)
    told = CitrineSettings(
        url=_url(where, entry),
        callback_url=f"{listen.root_of(entry.name)}/citrineos",
        token="" if entry.secret_file is None else _secret(where, entry),
        ocpp=own.ocpp,
        tenant_id=own.tenant_id,
        stations={charger: _station(name, own.evse_id) for name, charger in entry.chargers.items()},
        usual_evse=own.evse_id,
        levels=own.stack_levels,
        watt_chargers=frozenset(own.watt_chargers),
        voltage_v=own.voltage_v,
        callback_patience=seconds(own.callback_patience),
        read_back=own.read_back,
        tail=seconds(own.tail),
    )
    return CitrineDoor(
        told,
        ports_of(entry, world),
        http_of(where, entry, rules),
        world.dispatcher,
        SessionAt(world.fleet, entry.tenant),
        lease=_lease(entry),
        enforcement=EnforcementClass(entry.best_class),
    )


def webhook_door_of(where: str, entry: CsmsSettings, listen: ListenSettings, world: DoorWorld) -> WebhookDoor:
    """Return the door of one platform that takes signed messages.

    Raises:
        InvalidInput: A setting is wrong, or a secret or TLS file is missing.
    """
    own, rules = entry.webhook, rules_of(where, entry)
    keys = [_signing_key(f"{where}.secret_file", own.key_id, _secret(where, entry))]
    if own.older_key_file is not None:
        field = f"{where}.webhook.older_key_file"
        keys.append(_signing_key(field, own.older_key_id, read_secret(field, own.older_key_file)))
    told = WebhookSettings(
        url=_url(where, entry), ack_url=f"{listen.root_of(entry.name)}/webhook/acks", retry=seconds(own.retry)
    )
    return WebhookDoor(
        told,
        ports_of(entry, world),
        http_of(where, entry, rules),
        world.dispatcher,
        Signer(tuple(keys), seconds(own.replay_window)),
        lease=_lease(entry),
        enforcement=EnforcementClass(entry.best_class),
    )


class SessionAt:
    """Which session is at a charger now."""

    def __init__(self, fleet: FleetOfDoors, tenant: str) -> None:
        """Remember who has the fleet."""
        self._fleet = fleet
        self._tenant = tenant

    def __call__(self, charger: str) -> str | None:
        """Return the id of the session as the platform reported it; None without a car."""
        view = self._fleet.view(self._tenant)
        place = IdList.of(view.tree.charger_ids).find(charger)
        return None if place is None else view.session_ids[place]


def _lease(entry: CsmsSettings) -> timedelta | None:
    return None if entry.lease is None else seconds(entry.lease)


def _url(where: str, entry: CsmsSettings) -> str:
    if entry.url is None:
        raise InvalidInput(f"{where}.url", "is required")
    return entry.url


def _station(name: str, usual_evse: int) -> Station:
    """Return the station that a name such as `CP1` or `CP1/2` means."""
    identifier, slash, number = name.rpartition("/")
    if slash and number.isascii() and number.isdigit():
        return Station(identifier=identifier, evse=int(number))
    return Station(identifier=name, evse=usual_evse)


def _signing_key(field: str, key_id: str, secret: str) -> SigningKey:
    try:
        return SigningKey(id=key_id, secret=secret)
    except InvalidInput as error:
        raise InvalidInput(field, error.problem) from error


def ports_of(entry: CsmsSettings, world: DoorWorld) -> DoorPorts:
    """Return what a door works with; it acts as the platform and may do no more than that."""
    principal = Principal(
        tenant=entry.tenant, actor=f"csms:{entry.name}", roles=frozenset({Role.CSMS}), csms=entry.name
    )
    return DoorPorts(store=world.store, clock=world.clock, ids=world.ids, principal=principal)


def rules_of(where: str, entry: CsmsSettings) -> AddressRules:
    """Return which addresses may be called for a platform, and check the one that the settings name."""
    rules = AddressRules(hosts=entry.known_hosts, allow_plain_on_loopback=entry.allow_plain_on_loopback)
    if entry.url is not None:
        rules.check(f"{where}.url", entry.url)
    return rules


def http_of(where: str, entry: CsmsSettings, rules: AddressRules) -> PeerHttp:
    """Return what carries requests to a platform."""
    tls = ClientTls(
        ca_file=entry.ca,
        cert_file=entry.client_certificate,
        key_file=private_key(f"{where}.client_key", entry.client_key),
    )
    try:
        return PeerHttp(rules, tls, max_bytes=_LONGEST_ANSWER_BYTES, timeout_s=entry.timeout_real_seconds)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.ca", error.problem) from error


def _secret(where: str, entry: CsmsSettings) -> str:
    if entry.secret_file is None:
        raise InvalidInput(f"{where}.secret_file", "is required")
    return read_secret(f"{where}.secret_file", entry.secret_file)
