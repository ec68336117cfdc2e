"""Domain errors as gRPC status with machine-readable details (google.rpc.Status, AIP-193).

Every error carries exactly one `ErrorInfo` with a stable reason and domain `gateway.v1`; what else it carries depends on its class:
`BadRequest` names the field, `ResourceInfo` the thing that is not there, `PreconditionFailure` the state that forbids it, and
`RetryInfo` the pause before another try.
"""

from datetime import timedelta

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from gateway.domain import errors

DOMAIN = "gateway.v1"
_RETRY_SECONDS = 1

CODES: tuple[tuple[type[errors.VoltbridgeError], int], ...] = (
    (errors.InvalidInput, code_pb2.INVALID_ARGUMENT),
    (errors.Unauthenticated, code_pb2.UNAUTHENTICATED),
    (errors.PermissionRefused, code_pb2.PERMISSION_DENIED),
    (errors.NotFound, code_pb2.NOT_FOUND),
    (errors.Conflict, code_pb2.ABORTED),
    (errors.RequestReused, code_pb2.ALREADY_EXISTS),
    (errors.PreconditionFailed, code_pb2.FAILED_PRECONDITION),
    (errors.ResumeTokenExpired, code_pb2.OUT_OF_RANGE),
    (errors.Overloaded, code_pb2.RESOURCE_EXHAUSTED),
    (errors.Unavailable, code_pb2.UNAVAILABLE),
    (errors.OutcomeUnknown, code_pb2.UNKNOWN),
)
"""The mapping, first match wins; the same table as the tree in `gateway.domain.errors`."""


def code_of(error: errors.VoltbridgeError) -> int:
    """Return the gRPC status code of a domain error."""
    return next((code for kind, code in CODES if isinstance(error, kind)), code_pb2.INTERNAL)


def status_of(error: errors.VoltbridgeError) -> status_pb2.Status:
    """Return the status with its details."""
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    details: list[Message] = [info, *_details(error)]
    return _status(code_of(error), str(error), details)


def internal_status(error_id: str) -> status_pb2.Status:
    """Return what a caller is told about an error nobody planned for: an id to quote, and nothing else."""
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": error_id})
    return _status(code_pb2.INTERNAL, f"internal error {error_id}", [info])


async def abort(context: "grpc.aio.ServicerContext[object, object]", status: status_pb2.Status) -> None:
    """End the call with a rich status; never returns."""
    await context.abort_with_status(rpc_status.to_status(status))


def _status(code: int, message: str, details: list[Message]) -> status_pb2.Status:
    packed = []
    for detail in details:
        wrapped = any_pb2.Any()
        wrapped.Pack(detail)
        packed.append(wrapped)
    return status_pb2.Status(code=code, message=message, details=packed)


def _details(error: errors.VoltbridgeError) -> list[Message]:
    if isinstance(error, errors.InvalidInput):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.problem)
        return [error_details_pb2.BadRequest(field_violations=[violation])]
    if isinstance(error, errors.NotFound):
        return [error_details_pb2.ResourceInfo(resource_type=error.kind, resource_name=error.name)]
    if isinstance(error, errors.PreconditionFailed):
        failure = error_details_pb2.PreconditionFailure.Violation(type=error.reason, description=str(error))
        return [error_details_pb2.PreconditionFailure(violations=[failure])]
    if error.retryable:
        return [error_details_pb2.RetryInfo(retry_delay=_retry_delay(error))]
    return []


def _retry_delay(error: errors.VoltbridgeError) -> duration_pb2.Duration:
    told_s = error.retry_after_s if isinstance(error, errors.Overloaded) else None
    delay = duration_pb2.Duration()
    delay.FromTimedelta(timedelta(seconds=_RETRY_SECONDS if told_s is None else told_s))
    return delay
