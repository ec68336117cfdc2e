"""VENs of OpenADR 3.x VTNs, made from settings."""

from dataclasses import dataclass, field

from gateway.app.notifications import mqtt_listener_of, subscriptions_of
from gateway.app.supervise import Job
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import system_principal
from gateway.domain.signals import Instruction
from gateway.grid_settings import VtnSettings
from gateway.openadr.health import PartnerBook
from gateway.openadr.https import TlsFiles
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.profiles import ProfileGate, load_profile
from gateway.openadr.profiles.gate import gate_of_dialect, program_profile
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.noted import NotedTransport
from gateway.openadr.v3.report_engine import ReportEngine, ReportPorts, ReportSettings
from gateway.openadr.v3.rereading import Rereader
from gateway.openadr.v3.settings import Credentials, OwnResource, VenSettings
from gateway.openadr.v3.transport import HttpTransport
from gateway.openadr.v3.understanding import GateOf
from gateway.openadr.v3.ven import Ven, VenPorts
from gateway.openadr.v3.webhook import WebhookReceiver
from gateway.openadr.v3.wire import Program, Target
from gateway.ports import Clock, Ids, SignalDesk, StatusDesk, Store, UsageDesk
from gateway.settings import private_key, read_secret, seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class VenWorld:
    """What VENs of 3.x VTNs work with."""

    store: Store
    signal_desk: SignalDesk
    usage_desk: UsageDesk
    status_desk: StatusDesk
    clock: Clock
    ids: Ids
    journal: ExchangeJournal
    receiver: WebhookReceiver | None = None
    """Where VTNs notify us over callbacks; None when none does."""
    book: PartnerBook = field(default_factory=PartnerBook)
    """Knows the VENs, for those who want to know how they are."""


def ven3_jobs(settings: VtnSettings, world: VenWorld) -> list[Job]:
    """Return what runs for one 3.x VTN: the VEN with its reports and, where wanted, what hears its notifications.

    Raises:
        InvalidInput: A setting is wrong, or a profile, secret or TLS file is missing.
    """
    ven = ven3_of(settings, world)
    world.book.add(settings.tenant, settings.authority, ven)
    jobs = [Job(name=settings.authority, run=ven.run)]
    if settings.v3.mqtt:
        listener = mqtt_listener_of(settings, ven, world.clock, world.ids)
        jobs.append(Job(name=f"{settings.authority} mqtt", run=listener.run))
    if settings.v3.webhook and world.receiver is not None:
        keeper = subscriptions_of(ven, world.receiver, world.clock, world.ids)
        jobs.append(Job(name=f"{settings.authority} subscriptions", run=keeper.run))
    return jobs


def ven3_of(settings: VtnSettings, world: VenWorld) -> Ven:
    """Return the VEN for one 3.x VTN, with its reports.

    Raises:
        InvalidInput: A setting is wrong, or a profile, secret or TLS file is missing.
    """
    ports = VenPorts(
        store=world.store,
        signal_desk=world.signal_desk,
        clock=world.clock,
        ids=world.ids,
        principal=system_principal(settings.tenant, "openadr"),
    )
    told = ven3_settings(settings)
    gate_of = _gates(settings)
    transport = HttpTransport(told.tls, max_bytes=told.json.max_bytes, timeout_s=told.request_timeout_s)
    noted = NotedTransport(transport, world.journal.page(settings.tenant, settings.authority, world.clock))
    ven = Ven(told, ports, gate_of=gate_of, transport=noted)
    reported = ReportPorts(
        usage_desk=world.usage_desk,
        status_desk=world.status_desk,
        standing=lambda: ven.standing,
        gate_of=gate_of,
    )
    times = ReportSettings(part=seconds(settings.v3.report_part), patience=seconds(settings.v3.report_patience))
    ven.accompany(ReportEngine(ven.around, ven.client, reported, times))
    return ven


def rereader3_of(settings: VtnSettings, store: Store) -> Rereader:
    """Return what reads stored messages of a 3.x VTN again.

    Raises:
        InvalidInput: As of `ven3_of`.
    """
    return Rereader(ven3_settings(settings), store, _gates(settings))


def ven3_settings(settings: VtnSettings) -> VenSettings:
    """Return what a 3.x VEN is told, from the settings of the deployment.

    Raises:
        InvalidInput: A setting is wrong or a secret is missing.
    """
    own, poll = settings.v3, seconds(settings.poll)
    return VenSettings(
        authority=settings.authority,
        tenant=settings.tenant,
        dialect=Dialect(settings.dialect),
        vtn_url=settings.url,
        ven_name=settings.ven_name,
        own_nodes=(settings.portfolio_node,),
        nodes=settings.targets,
        resources=tuple(OwnResource(name=name, node=node) for name, node in own.resources.items()),
        programs=own.programs,
        targets=tuple(Target(kind, value) for kind, values in own.ask_targets.items() for value in values),
        registers=own.registers,
        credentials=_credentials(settings),
        control_setpoint=Instruction(own.control_setpoint),
        unasked_errors=own.unasked_errors,
        private_payloads={
            **_only_informing(settings),
            **{name: _instruction(name, said) for name, said in own.private_payloads.items()},
        },
        poll_interval=poll,
        survey_interval=max(poll, seconds(own.survey)),
        lost_after=seconds(settings.lost_after),
        first_backoff=poll,
        longest_backoff=max(poll, seconds(300.0)),
        horizon=seconds(own.horizon),
        tls=TlsFiles(
            ca_file=settings.ca,
            cert_file=settings.client_certificate,
            key_file=private_key("vtn.client_key", settings.client_key),
            fingerprints=frozenset(settings.tls_fingerprints),
        ),
        allow_plain_http=settings.allow_plain_on_loopback,
    )


def _credentials(settings: VtnSettings) -> Credentials | None:
    own = settings.v3
    if own.client_id is None:
        return None
    if own.client_secret_file is None:
        raise InvalidInput("vtn.v3.client_secret_file", "is required with client_id")
    return Credentials(
        client_id=own.client_id,
        client_secret=read_secret("vtn.v3.client_secret_file", own.client_secret_file),
        scope=own.scope,
        token_url=own.token_url,
    )


def _instruction(payload_type: str, said: str) -> Instruction:
    try:
        return Instruction(said)
    except ValueError as error:
        raise InvalidInput(f"vtn.v3.private_payloads.{payload_type}", "must be an instruction") from error


def _only_informing(settings: VtnSettings) -> dict[str, Instruction]:
    """Return the payload types of its profiles that are kept and shown and change nothing."""
    informing = (load_profile(name).informs for name in _profile_names(settings))
    return {payload: Instruction.INFORMATION for names in informing for payload in names}


def _profile_names(settings: VtnSettings) -> set[str]:
    return {name for name in (*settings.v3.profiles.values(), settings.v3.profile) if name}


def _gates(settings: VtnSettings) -> GateOf:
    """Return what holds a program's objects against its profile; every profile is loaded now, so that a wrong name is found."""
    own = settings.v3
    gates = {
        name: gate_of_dialect(
            name,
            settings.dialect,
            tenant=settings.tenant,
            authority=settings.authority,
            applies_broken=own.applies_broken,
        )
        for name in _profile_names(settings)
    }

    def gate_of(program: Program | None) -> ProfileGate | None:
        said = {} if program is None else program.content
        return gates.get(program_profile(said, own.profiles, own.profile))

    return gate_of
