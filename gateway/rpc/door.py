"""The interceptor that every call passes: who is it, may it take its time, and what does it see when something goes wrong.

Authentication is by client certificate (URI SAN) or bearer token, never by anything in a message. An error of the domain becomes
its status; anything else becomes INTERNAL with an id, and its text stays in our log.
"""

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import grpc
from google.rpc import code_pb2, status_pb2
from typing_extensions import override

from gateway.domain.errors import InvalidInput, Overloaded, Unauthenticated, VoltbridgeError
from gateway.domain.identity import Principal
from gateway.observe import RPC_CALLS, RPC_UNEXPECTED, logger
from gateway.ports import Ids
from gateway.rpc import errors
from gateway.rpc.permissions import require_allowed

_log = logger("rpc")
_caller: ContextVar[Principal] = ContextVar("caller")

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})
"""Methods that anybody may call; they tell nothing of tenants."""
_OPEN_PREFIXES = ("/grpc.reflection.",)
_READING_VERBS = ("Get", "List", "Watch", "Resolve", "Verify")
_STREAMING_METHODS = ("Connect", "StreamTelemetry")
MOST_CALLS_PER_TENANT = 5_000
"""Calls and streams of one tenant at once, so that no tenant starves another."""
_WRAP: dict[tuple[bool, bool], Callable[..., Handler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
"""How a handler is made, by whether request and response are streams."""


class Gatekeeper(Protocol):
    """Who proves callers; implemented by `services.admit.Admission`."""

    async def by_token(self, token: str) -> Principal:
        """Return the caller of a bearer token; raises Unauthenticated."""
        ...

    async def by_certificate(self, uri: str) -> Principal:
        """Return the caller of a client certificate's URI; raises Unauthenticated."""
        ...


def caller() -> Principal:
    """Return who makes the call that is being served.

    Raises:
        Unauthenticated: Called outside a call.
    """
    try:
        return _caller.get()
    except LookupError as error:
        raise Unauthenticated("no caller") from error


class Door(grpc.aio.ServerInterceptor):
    """Authenticates, checks permissions, demands deadlines, maps errors and counts."""

    def __init__(self, gatekeeper: Gatekeeper, ids: Ids) -> None:
        """Remember who proves callers and where ids of unexpected errors come from."""
        self._gatekeeper = gatekeeper
        self._ids = ids
        self._calls: Counter[str] = Counter()

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wrap the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method in OPEN_METHODS or method.startswith(_OPEN_PREFIXES):
            return handler
        return _WRAP[handler.request_streaming, handler.response_streaming](
            self._streaming(handler, method) if handler.response_streaming else self._unary(handler, method),
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _unary(self, handler: Any, method: str) -> Callable[[Any, Context], Awaitable[Any]]:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def serve(request: Any, context: Context) -> Any:
            async with self._guarded(context, method):
                return await inner(request, context)

        return serve

    def _streaming(self, handler: Any, method: str) -> Callable[[Any, Context], Awaitable[None]]:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def serve(request: Any, context: Context) -> None:
            async with self._guarded(context, method):
                if not inspect.isasyncgenfunction(inner):
                    await inner(request, context)
                    return
                # A caller who goes away ends the generator here and now, not when it is collected.
                async with aclosing(inner(request, context)) as responses:
                    async for response in responses:
                        await context.write(response)

        return serve

    @asynccontextmanager
    async def _guarded(self, context: Context, method: str) -> AsyncIterator[None]:
        try:
            principal = await self._admit(context, method)
            with self._counted(principal):
                yield
        except VoltbridgeError as error:
            await _refuse(context, method, errors.status_of(error))
        except (grpc.aio.AbortError, grpc.aio.BaseError):
            raise
        except Exception as error:  # the one place at this door that may; it logs and counts
            await _refuse(context, method, self._unexpected(method, error))
        else:
            RPC_CALLS.labels(method=method, code="OK").inc()

    async def _admit(self, context: Context, method: str) -> Principal:
        principal = await self._principal(context)
        require_allowed(principal, method)
        _caller.set(principal)
        name = method.rpartition("/")[2]
        is_write = not name.startswith(_READING_VERBS) and name not in _STREAMING_METHODS
        if is_write and context.time_remaining() is None:
            raise InvalidInput("deadline", "calls that change something need a deadline")
        return principal

    @contextmanager
    def _counted(self, principal: Principal) -> Iterator[None]:
        if self._calls[principal.tenant] >= MOST_CALLS_PER_TENANT:
            raise Overloaded(f"at most {MOST_CALLS_PER_TENANT} calls of a tenant at once")
        self._calls[principal.tenant] += 1
        try:
            yield
        finally:
            self._calls[principal.tenant] -= 1

    def _unexpected(self, method: str, error: Exception) -> status_pb2.Status:
        error_id = self._ids.new("error")
        RPC_UNEXPECTED.labels(method=method).inc()
        _log.error("unexpected error", method=method, error_id=error_id, exc_info=error)
        return errors.internal_status(error_id)

    async def _principal(self, context: Context) -> Principal:
        for uri in _certificate_uris(context):
            return await self._gatekeeper.by_certificate(uri)
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str):
                scheme, _, token = value.partition(" ")
                if scheme.lower() == "bearer" and token:
                    return await self._gatekeeper.by_token(token)
        raise Unauthenticated("send a client certificate or the metadata `authorization: Bearer <token>`")


def _certificate_uris(context: Context) -> list[str]:
    names = context.auth_context().get("x509_subject_alternative_name", [])
    texts = [name.decode(errors="replace") for name in names]
    return [text for text in texts if text.startswith("spiffe://")]


async def _refuse(context: Context, method: str, status: status_pb2.Status) -> None:
    RPC_CALLS.labels(method=method, code=code_pb2.Code.Name(status.code)).inc()
    await errors.abort(context, status)
