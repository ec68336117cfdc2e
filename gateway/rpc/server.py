"""The gRPC server: ports, certificates, limits and services."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gateway.ports import Ids
from gateway.rpc.bidding import BiddingServicer
from gateway.rpc.dispatch import DispatchServicer
from gateway.rpc.door import Door, Gatekeeper
from gateway.rpc.evidence import EvidenceServicer
from gateway.rpc.fleet import FleetServicer
from gateway.rpc.market_data import MarketDataServicer
from gateway.rpc.signals import SignalsServicer
from gateway.rpc.steering import SteeringServicer
from gateway.v1 import (
    bidding_service_pb2,
    bidding_service_pb2_grpc,
    dispatch_service_pb2,
    dispatch_service_pb2_grpc,
    evidence_service_pb2,
    evidence_service_pb2_grpc,
    fleet_service_pb2,
    fleet_service_pb2_grpc,
    market_data_service_pb2,
    market_data_service_pb2_grpc,
    signals_service_pb2,
    signals_service_pb2_grpc,
    steering_service_pb2,
    steering_service_pb2_grpc,
)

_LARGEST_MESSAGE_BYTES = 8 * 1024 * 1024
SERVICE_NAMES = (
    fleet_service_pb2.DESCRIPTOR.services_by_name["FleetService"].full_name,
    signals_service_pb2.DESCRIPTOR.services_by_name["SignalsService"].full_name,
    dispatch_service_pb2.DESCRIPTOR.services_by_name["DispatchService"].full_name,
    market_data_service_pb2.DESCRIPTOR.services_by_name["MarketDataService"].full_name,
    bidding_service_pb2.DESCRIPTOR.services_by_name["BiddingService"].full_name,
    evidence_service_pb2.DESCRIPTOR.services_by_name["EvidenceService"].full_name,
    steering_service_pb2.DESCRIPTOR.services_by_name["SteeringService"].full_name,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsFiles:
    """Certificates as PEM bytes; with `client_ca` every client must show a certificate that it signed."""

    key: bytes
    certificate: bytes
    client_ca: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Servicers:
    """One servicer per service of the contract."""

    fleet: FleetServicer
    signals: SignalsServicer
    dispatch: DispatchServicer
    market_data: MarketDataServicer
    bidding: BiddingServicer
    evidence: EvidenceServicer
    steering: SteeringServicer


class RpcServer:
    """An aio server that is not yet, is, or was listening."""

    def __init__(self, gatekeeper: Gatekeeper, ids: Ids, servicers: Servicers, *, with_reflection: bool) -> None:
        """Register all services; reflection only where a demo wants it."""
        self._server = grpc.aio.server(interceptors=[Door(gatekeeper, ids)], options=_OPTIONS)
        fleet_service_pb2_grpc.add_FleetServiceServicer_to_server(servicers.fleet, self._server)
        signals_service_pb2_grpc.add_SignalsServiceServicer_to_server(servicers.signals, self._server)
        dispatch_service_pb2_grpc.add_DispatchServiceServicer_to_server(servicers.dispatch, self._server)
        market_data_service_pb2_grpc.add_MarketDataServiceServicer_to_server(servicers.market_data, self._server)
        bidding_service_pb2_grpc.add_BiddingServiceServicer_to_server(servicers.bidding, self._server)
        evidence_service_pb2_grpc.add_EvidenceServiceServicer_to_server(servicers.evidence, self._server)
        steering_service_pb2_grpc.add_SteeringServiceServicer_to_server(servicers.steering, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if with_reflection:
            reflection.enable_server_reflection((*SERVICE_NAMES, reflection.SERVICE_NAME), self._server)

    async def start(self, address: str, tls: TlsFiles | None) -> int:
        """Listen and return the port.

        Args:
            address: `host:port`; port 0 picks a free one.
            tls: Certificates; None listens in plain text, which the composition root allows on loopback only.

        Raises:
            RuntimeError: The address is in use or not ours.
        """
        if tls is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, _credentials(tls))
        await self._server.start()
        await self._serving(is_serving=True)
        return int(port)

    async def stop(self, grace_seconds: float) -> None:
        """Say NOT_SERVING, let calls finish for a while, then end them."""
        await self._serving(is_serving=False)
        await self._server.stop(grace_seconds)

    async def wait(self) -> None:
        """Return when the server has stopped."""
        # Shielded: grpc hands out one future, and whoever cancels it makes a later `stop` fail.
        await asyncio.shield(self._server.wait_for_termination())

    async def tell_health(self, *, is_serving: bool) -> None:
        """Say to whoever asks for health whether we serve: not when the control loop does not turn."""
        await self._serving(is_serving=is_serving)

    async def _serving(self, *, is_serving: bool) -> None:
        kind = health_pb2.HealthCheckResponse
        status = kind.SERVING if is_serving else kind.NOT_SERVING
        set_status: Callable[[str, int], Awaitable[None]] = self._health.set
        for name in ("", *SERVICE_NAMES):
            await set_status(name, status)


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(tls.key, tls.certificate)],
        root_certificates=tls.client_ca,
        require_client_auth=tls.client_ca is not None,
    )


_OPTIONS: list[tuple[str, int]] = [
    # A second process on the same port would silently take half the connections.
    ("grpc.so_reuseport", 0),
    # After a break thousands come back at once: they wait for their turn, or are told when to come again, and never just fail.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 60_000),
    ("grpc.max_receive_message_length", _LARGEST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _LARGEST_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", 100),
    ("grpc.max_metadata_size", 8 * 1024),
    # Dead peers are found by heartbeats; these only free sockets (without ping_timeout_ms it would take over a minute).
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
]
