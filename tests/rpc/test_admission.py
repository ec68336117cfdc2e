"""Who comes in, what each role may call, and what an error tells."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.client import connect
from gateway.domain.identity import GRANTS, Account, Permission, Role
from gateway.rpc import door
from gateway.rpc.permissions import REQUIRED
from gateway.rpc.server import SERVICE_NAMES, TlsFiles
from gateway.v1 import bidding_service_pb2, fleet_service_pb2, signals_service_pb2
from tests.fakes.wired import OTHER, PORTFOLIO, SPIFFE, TENANT, Wired, account, token_of
from tests.rpc.conftest import Caller
from tests.rpc.refusals import refusal

NODES = fleet_service_pb2.ListNodesRequest()


def methods() -> list[MethodDescriptor]:
    pool = descriptor_pool.Default()
    return [method for name in SERVICE_NAMES for method in pool.FindServiceByName(name).methods]


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


async def call_empty(channel: grpc.aio.Channel, method: MethodDescriptor, token: str) -> grpc.StatusCode:
    """Call a method with an empty request and return how it ended; a stream that goes on counts as OK."""
    kind = {(False, False): channel.unary_unary, (False, True): channel.unary_stream}.get(
        (method.client_streaming, method.server_streaming), channel.stream_stream
    )
    make: Any = kind
    multi = make(
        path_of(method),
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    metadata = (("authorization", f"Bearer {token}"),)
    try:
        if method.client_streaming:
            # Nothing is sent: a client that writes into a call that is over may see its own error instead of the answer.
            call = multi(metadata=metadata, timeout=0.5)
        else:
            call = multi(GetMessageClass(method.input_type)(), metadata=metadata, timeout=1.0)
        if method.server_streaming:
            await call.read()
            call.cancel()
            return grpc.StatusCode.OK
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("token", ["", "wrong", "Bearer"])
async def test_without_a_known_token_nobody_comes_in(address: str, token: str) -> None:
    async with connect(address, token=token) as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES)
    seen = refusal(caught.value)
    assert (seen.code, seen.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert not token or token == "Bearer" or token not in seen.text


@pytest.mark.parametrize("value", ["Basic dG9rZW4=", "Bearer ", "bearer", "token-of-demo-tara"])
async def test_other_schemes_are_refused(address: str, value: str) -> None:
    async with connect(address) as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES, metadata=(("authorization", value),))
    assert refusal(caught.value).code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_opens_its_own_tenant_only(call: Caller) -> None:
    async with call("olga", OTHER) as gateway:
        nodes = (await gateway.fleet.ListNodes(NODES)).nodes
    assert [(node.id, node.display_name) for node in nodes] == [(PORTFOLIO, "other")]


async def test_a_disabled_account_is_out_at_its_next_call(house: Wired, call: Caller) -> None:
    async with call("olga") as gateway:
        await gateway.fleet.ListNodes(NODES)
        [olga] = [a for a in house.scene.store.all(Account, TENANT) if a.actor == "olga"]
        await house.scene.store.seed(TENANT, replace(olga, enabled=False))
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES)
    assert refusal(caught.value).code is grpc.StatusCode.UNAUTHENTICATED


# ------------------------------------------------------------ certificates


def client_certificate(authority: trustme.CA, uri: str) -> tuple[bytes, bytes]:
    """Return key and certificate with a URI SAN, which trustme itself does not issue."""
    issuer_key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(issuer_key, hashes.SHA256())  # type: ignore[arg-type]  # trustme's keys are elliptic
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


def tls_files(authority: trustme.CA) -> TlsFiles:
    issued = authority.issue_cert("127.0.0.1", "localhost")
    return TlsFiles(
        key=issued.private_key_pem.bytes(),
        certificate=b"".join(blob.bytes() for blob in issued.cert_chain_pems),
        client_ca=authority.cert_pem.bytes(),
    )


def credentials(server: trustme.CA, client: trustme.CA | None, uri: str = SPIFFE) -> grpc.ChannelCredentials:
    key, chain = (None, None) if client is None else client_certificate(client, uri)
    return grpc.ssl_channel_credentials(server.cert_pem.bytes(), key, chain)


async def test_a_client_certificate_proves_its_platform(house: Wired) -> None:
    authority = trustme.CA()
    async with house.listening(tls_files(authority)) as address:
        async with connect(address, credentials=credentials(authority, authority)) as gateway:
            chargers = (await gateway.fleet.ListChargers(fleet_service_pb2.ListChargersRequest())).chargers
            assert len(chargers) == 60
        unknown = credentials(authority, authority, "spiffe://demo.example/other")
        async with connect(address, credentials=unknown) as gateway:
            with pytest.raises(grpc.RpcError) as caught:
                await gateway.fleet.ListNodes(NODES)
            assert refusal(caught.value).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("has_certificate", [True, False])
async def test_a_foreign_or_no_certificate_does_not_get_a_connection(house: Wired, has_certificate: bool) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    async with house.listening(tls_files(authority)) as address:
        theirs = credentials(authority, stranger if has_certificate else None)
        async with connect(address, token=token_of(TENANT, "olga"), credentials=theirs) as gateway:
            with pytest.raises(grpc.RpcError) as caught:
                await gateway.fleet.ListNodes(NODES, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# ------------------------------------------------------------ who may what


def test_every_method_of_the_contract_is_in_the_table_and_nothing_else() -> None:
    assert set(REQUIRED) == {path_of(method) for method in methods()}


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SYSTEM])
async def test_permission_matrix(address: str, role: Role) -> None:
    """Over the wire, with empty requests: refused exactly where the role has no grant."""
    async with grpc.aio.insecure_channel(address) as channel:
        for method in methods():
            code = await call_empty(channel, method, token_of(TENANT, f"only-{role}"))
            is_granted = REQUIRED[path_of(method)] in GRANTS[role]
            assert (code is not grpc.StatusCode.PERMISSION_DENIED) == is_granted, (method.full_name, code)
            assert code not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}, method.full_name


@pytest.mark.parametrize(
    ("name", "permission"),
    [
        ("ApproveBid", Permission.BID_APPROVE),
        ("ProposeBid", Permission.BID_PROPOSE),
        ("SetManualLimit", Permission.LIMIT_SET),
        ("DecideOpt", Permission.OPT_DECIDE),
        ("Connect", Permission.DISPATCH_CONNECT),
        ("ReportSessions", Permission.FLEET_WRITE),
        ("VerifyAudit", Permission.EVIDENCE_READ),
    ],
)
def test_the_table_says_what_moves_power_or_money(name: str, permission: Permission) -> None:
    [method] = [path for path in REQUIRED if path.endswith(f"/{name}")]
    assert REQUIRED[method] is permission


async def test_a_method_that_is_not_listed_is_closed(
    monkeypatch: pytest.MonkeyPatch, call: Caller, house: Wired
) -> None:
    monkeypatch.setattr("gateway.rpc.permissions.REQUIRED", {})
    async with call("olga") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES)
    assert refusal(caught.value).code is grpc.StatusCode.PERMISSION_DENIED


# ------------------------------------------------------------ what errors tell


async def test_a_write_needs_a_deadline_and_a_read_does_not(call: Caller) -> None:
    request = signals_service_pb2.WithdrawManualLimitRequest(limit_id="x", reason="y", request_id="z")
    async with call("olga") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.signals.WithdrawManualLimit(request)
        seen = refusal(caught.value)
        assert (seen.code, seen.field) == (grpc.StatusCode.INVALID_ARGUMENT, "deadline")
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.signals.WithdrawManualLimit(request, timeout=5)
        assert refusal(caught.value).reason == "NOT_FOUND"
        await gateway.signals.ListEvents(signals_service_pb2.ListEventsRequest())


async def test_an_unexpected_error_is_an_id_and_nothing_of_its_text(
    house: Wired, call: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("db password=hunter2")

    monkeypatch.setattr(house.scene.store, "find", fail)
    monkeypatch.setattr(house.services.admission, "by_token", _as_olga)
    async with call("olga") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES)
        seen = refusal(caught.value)
        assert (seen.code, seen.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
        assert seen.text.startswith("internal error error-")
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.bidding.WatchBids(bidding_service_pb2.WatchBidsRequest()).read()
    assert isinstance(caught.value, grpc.aio.AioRpcError)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.trailing_metadata())


async def _as_olga(_: str) -> Any:
    return account(TENANT, "olga", Role.OPERATOR).principal()


async def test_one_tenant_cannot_take_all_calls(monkeypatch: pytest.MonkeyPatch, call: Caller) -> None:
    monkeypatch.setattr(door, "MOST_CALLS_PER_TENANT", 2)
    watch = signals_service_pb2.WatchSignalsRequest(node_id=PORTFOLIO)
    async with call("olga") as gateway, call("olga", OTHER) as theirs:
        held = [gateway.signals.WatchSignals(watch) for _ in range(2)]
        for one in held:
            await one.read()
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ListNodes(NODES)
        seen = refusal(caught.value)
        assert (seen.code, seen.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        await theirs.fleet.ListNodes(NODES)
        held[0].cancel()
        for _ in range(100):
            try:
                await gateway.fleet.ListNodes(NODES)
                break
            except grpc.RpcError:
                await asyncio.sleep(0.01)
        else:
            pytest.fail("the place of a call that ended stays taken")


async def test_a_message_beyond_the_limit_is_refused(call: Caller) -> None:
    huge = fleet_service_pb2.ReportSessionsRequest(request_id="x" * 9_000_000)
    async with call("csms") as gateway:
        with pytest.raises(grpc.RpcError) as caught:
            await gateway.fleet.ReportSessions(huge, timeout=10)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await gateway.fleet.ListNodes(NODES)


# ------------------------------------------------------------ health and reflection


async def test_health_is_open_and_says_nothing_of_tenants(house: Wired) -> None:
    server = house.server()
    port = await server.start("127.0.0.1:0", None)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", *SERVICE_NAMES):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.stop(1.0))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()


@pytest.mark.parametrize("is_on", [False, True])
async def test_reflection_only_where_a_demo_wants_it(house: Wired, is_on: bool) -> None:
    async with (
        house.listening(with_reflection=is_on) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        call = stub.ServerReflectionInfo(iter([request]))
        if is_on:
            names = {service.name for service in (await call.read()).list_services_response.service}
            assert names >= set(SERVICE_NAMES)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_second_process_cannot_take_half_of_the_connections(house: Wired, address: str) -> None:
    with pytest.raises(RuntimeError):
        await house.server().start(address, None)
