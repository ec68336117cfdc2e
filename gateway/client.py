"""A thin client: a channel with certificates or a token, and the stubs of every service.

    async with connect("localhost:50051", token="...") as gateway:
        async for bid in gateway.bidding.WatchBids(WatchBidsRequest()): ...

Needs grpcio and the stubs only.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from typing_extensions import override

from gateway.v1 import (
    bidding_service_pb2_grpc,
    dispatch_service_pb2_grpc,
    evidence_service_pb2_grpc,
    fleet_service_pb2_grpc,
    market_data_service_pb2_grpc,
    signals_service_pb2_grpc,
    steering_service_pb2_grpc,
)

_COMES_BACK = (("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 5_000))
"""gRPC by itself would wait up to two minutes after a long outage, and chargers would stay at their fallback meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gateway:
    """The stubs of all services on one channel."""

    fleet: Any
    signals: Any
    dispatch: Any
    market_data: Any
    bidding: Any
    evidence: Any
    steering: Any


@asynccontextmanager
async def connect(
    address: str, *, token: str = "", credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[Gateway]:
    """Open a channel and close it at the end.

    Args:
        address: `host:port` of the gateway.
        token: Bearer token; empty when the client certificate proves the caller.
        credentials: TLS credentials; None speaks plain text, which the gateway accepts on loopback in the demo only.
    """
    interceptors: list[Any] = [kind(token) for kind in _BEARERS] if token else []
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=_COMES_BACK, interceptors=interceptors)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=_COMES_BACK, interceptors=interceptors)
    async with channel:
        yield Gateway(
            fleet=fleet_service_pb2_grpc.FleetServiceStub(channel),
            signals=signals_service_pb2_grpc.SignalsServiceStub(channel),
            dispatch=dispatch_service_pb2_grpc.DispatchServiceStub(channel),
            market_data=market_data_service_pb2_grpc.MarketDataServiceStub(channel),
            bidding=bidding_service_pb2_grpc.BiddingServiceStub(channel),
            evidence=evidence_service_pb2_grpc.EvidenceServiceStub(channel),
            steering=steering_service_pb2_grpc.SteeringServiceStub(channel),
        )


class _Bearer:
    """Adds the token to the metadata of a call of one kind."""

    def __init__(self, token: str) -> None:
        self._entry = ("authorization", f"Bearer {token}")

    def _with_token(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()), self._entry)
        return grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )


class _BearerUnaryUnary(_Bearer, grpc.aio.UnaryUnaryClientInterceptor):
    @override
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._with_token(client_call_details), request)


class _BearerUnaryStream(_Bearer, grpc.aio.UnaryStreamClientInterceptor):
    @override
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self._with_token(client_call_details), request)


class _BearerStreamUnary(_Bearer, grpc.aio.StreamUnaryClientInterceptor):
    @override
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(self._with_token(client_call_details), request_iterator)


class _BearerStreamStream(_Bearer, grpc.aio.StreamStreamClientInterceptor):
    @override
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(self._with_token(client_call_details), request_iterator)


_BEARERS = (_BearerUnaryUnary, _BearerUnaryStream, _BearerStreamUnary, _BearerStreamStream)
