"""OSCP partners, made from settings: the room, the door on the page server, and what they may ask of the fleet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from fastapi import FastAPI

from gateway.app.services import Services, World
from gateway.app.supervise import Job
from gateway.domain.errors import InvalidInput
from gateway.domain.fleet import FleetView
from gateway.domain.identity import system_principal
from gateway.openadr.journal import ExchangeJournal
from gateway.oscp.names import HANDSHAKE_ACKNOWLEDGMENT, PeerRole
from gateway.oscp.room import OscpRoom, OscpUnit
from gateway.oscp.settings import PeerSettings
from gateway.oscp.site import create_door
from gateway.oscp.surroundings import AssetReading, Surroundings
from gateway.oscp_settings import OscpDoorSettings, OscpSettings
from gateway.outbound import AddressRules, ClientTls, PeerHttp
from gateway.ports import PartnerHealth, PartnerStanding
from gateway.sealing import Seal
from gateway.settings import Settings, read_secret, seconds

DOOR_PATH = "/oscp"
"""Where the page server has the door."""
_LONGEST_ANSWER_BYTES = 65_536
_TIMEOUT_REAL_S = 10.0


class FleetFacts:
    """What OSCP partners may know of chargers (see `gateway.oscp.surroundings.GroupFacts`).

    Args:
        view_of: Returns the fleet of a tenant as it is known now.
    """

    def __init__(self, view_of: Callable[[str], FleetView]) -> None:
        self._view_of = view_of

    def demand_kw(self, tenant: str, node: str) -> float | None:
        """Return what the cars below a node would draw if nothing limited them; None when there is no such node."""
        view = self._view_of(tenant)
        if node not in view.nodes:
            return None
        left = view.energy_needed_kwh - view.delivered_kwh
        wants = view.tree.below(node) & view.has_session & ~(left <= 0.0)
        return float(view.session_max_kw[wants].sum())

    def assets(self, tenant: str, node: str) -> Sequence[AssetReading]:
        """Return the last measured power of each charger below a node; those that nobody measured are left out."""
        view = self._view_of(tenant)
        return _readings(view, node) if node in view.nodes else ()


def _readings(view: FleetView, node: str) -> list[AssetReading]:
    places = np.flatnonzero(view.tree.below(node) & ~np.isnan(view.power_kw) & ~np.isnan(view.power_at))
    return [
        AssetReading(
            asset=view.tree.charger_ids[int(place)],
            power_kw=float(view.power_kw[place]),
            at=datetime.fromtimestamp(float(view.power_at[place]), UTC),
        )
        for place in places
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class AllPartners:
    """Implements `ports.PartnerHealth` over the partners of several rooms."""

    rooms: tuple[PartnerHealth, ...]

    def standings(self, tenant: str) -> Sequence[PartnerStanding]:
        """Return how a tenant stands with each of its partners, room by room."""
        return [one for room in self.rooms for one in room.standings(tenant)]


def oscp_room(settings: Settings, world: World, services: Services, journal: ExchangeJournal) -> OscpRoom:
    """Return the room for the OSCP partners of a deployment; empty without any.

    Raises:
        InvalidInput: A setting is wrong, or a secret or TLS file is missing; names the key as the settings file does.
    """
    door = settings.oscp_door
    if door is None:
        return OscpRoom()
    _refuse_shared_tokens(settings.oscp)
    seal = Seal(read_secret("oscp_door.seal_key_file", door.seal_key_file))
    units = []
    for place, entry in enumerate(settings.oscp):
        told = peer_settings(f"oscp[{place}]", entry, door, settings.oscp)
        around = Surroundings(
            settings=told,
            store=world.store,
            limit_desk=services.signals,
            usage_desk=services.reporter,
            facts=FleetFacts(services.fleet.view),
            clock=world.clock,
            ids=world.ids,
            principal=system_principal(entry.tenant, "oscp"),
            seal=seal,
            notes=journal.page(entry.tenant, entry.authority, world.clock),
        )
        units.append(OscpUnit(around, _http_of(f"oscp[{place}]", told)))
    return OscpRoom(units=tuple(units))


def _refuse_shared_tokens(entries: Sequence[OscpSettings]) -> None:
    """A token says who calls: two partners with one token would be the same partner."""
    seen: set[str] = set()
    for place, entry in enumerate(entries):
        where = f"oscp[{place}].token_file"
        token = read_secret(where, entry.token_file)
        if token in seen:
            raise InvalidInput(where, "holds the token of another partner")
        seen.add(token)


def _http_of(where: str, told: PeerSettings) -> PeerHttp:
    try:
        return PeerHttp(told.rules, told.tls, max_bytes=_LONGEST_ANSWER_BYTES, timeout_s=_TIMEOUT_REAL_S)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.ca", error.problem) from error


def oscp_jobs(room: OscpRoom) -> list[Job]:
    """Return what runs for each partner."""
    return [Job(name=unit.peer.link.id, run=unit.run) for unit in room.units]


def mount_door(site: FastAPI, room: OscpRoom) -> None:
    """Open the door on the page server; without partners there is none."""
    if room.units:
        site.mount(DOOR_PATH, create_door(room))


def peer_settings(
    where: str, entry: OscpSettings, door: OscpDoorSettings, others: Sequence[OscpSettings] = ()
) -> PeerSettings:
    """Return what the room is told about one partner.

    Args:
        where: Place of the entry in the settings file, for errors.
        entry: The entry.
        door: What all share.
        others: All entries: optimisers of the same tenant get a provider's forecasts.

    Raises:
        InvalidInput: The token is missing, or an address must not be called.
    """
    role = PeerRole(entry.role)
    rules = AddressRules(
        hosts=frozenset(host.lower() for host in entry.hosts), allow_plain_on_loopback=entry.allow_plain_on_loopback
    )
    if entry.url:
        rules.check(f"{where}.url", entry.url)
    is_optimiser = role is PeerRole.CAPACITY_OPTIMIZER
    return PeerSettings(
        authority=entry.authority,
        tenant=entry.tenant,
        role=role,
        public_url=door.public_url,
        first_token=read_secret(f"{where}.token_file", entry.token_file),
        url=entry.url.rstrip("/"),
        rules=rules,
        tls=ClientTls(ca_file=entry.ca),
        beat_wish=seconds(entry.heartbeat),
        sends_handshake=is_optimiser if entry.sends_handshake is None else entry.sends_handshake,
        ack_path=HANDSHAKE_ACKNOWLEDGMENT if entry.acknowledgment else "",
        naive_zone=entry.naive_zone,
        asks_for_more=entry.asks_for_more,
        measurement_patience=seconds(entry.measurement_patience),
        asset_every=seconds(entry.asset_every),
        optimisers=tuple(
            one.authority for one in others if one.tenant == entry.tenant and one.role == "capacity-optimizer"
        ),
    )
