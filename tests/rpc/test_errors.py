import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2

from gateway.domain import errors
from gateway.rpc.errors import CODES, DOMAIN, code_of, internal_status, status_of

EXAMPLES: dict[type[errors.VoltbridgeError], errors.VoltbridgeError] = {
    errors.InvalidInput: errors.InvalidInput("limit.max_kw", "must be at least 0"),
    errors.Unauthenticated: errors.Unauthenticated("no"),
    errors.PermissionRefused: errors.PermissionRefused("bid.approve"),
    errors.NotFound: errors.NotFound("bid", "b1"),
    errors.Conflict: errors.Conflict("changed"),
    errors.RequestReused: errors.RequestReused("r1"),
    errors.PreconditionFailed: errors.GateClosed("too late"),
    errors.ResumeTokenExpired: errors.ResumeTokenExpired("old"),
    errors.Overloaded: errors.Overloaded("full"),
    errors.Unavailable: errors.StorageUnavailable("disk"),
    errors.OutcomeUnknown: errors.OutcomeUnknown("who knows"),
}


def details(error: errors.VoltbridgeError) -> dict[str, Message]:
    found: dict[str, Message] = {}
    for packed in status_of(error).details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        message = kind()
        packed.Unpack(message)
        found[kind.DESCRIPTOR.name] = message
    return found


@pytest.mark.parametrize(("kind", "code"), CODES)
def test_every_row_of_the_table(kind: type[errors.VoltbridgeError], code: int) -> None:
    error = EXAMPLES[kind]
    status = status_of(error)
    assert status.code == code == code_of(error)
    assert details(error)["ErrorInfo"] == error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    assert ("RetryInfo" in details(error)) == error.retryable


def test_every_class_of_the_tree_has_a_code() -> None:
    def subclasses(kind: type[errors.VoltbridgeError]) -> list[type[errors.VoltbridgeError]]:
        return [kind] + [below for child in kind.__subclasses__() for below in subclasses(child)]

    mapped = tuple(kind for kind, _ in CODES)
    # An edge room may have classes for its own use; what services raise is in the one tree.
    public = [kind for kind in subclasses(errors.VoltbridgeError)[1:] if kind.__module__ == errors.__name__]
    assert len(public) > len(CODES)
    for kind in public:
        assert issubclass(kind, mapped), kind


def test_the_field_is_named() -> None:
    bad = details(EXAMPLES[errors.InvalidInput])["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == "limit.max_kw"


def test_the_missing_thing_and_the_forbidding_state_are_named() -> None:
    missing = details(EXAMPLES[errors.NotFound])["ResourceInfo"]
    assert isinstance(missing, error_details_pb2.ResourceInfo)
    assert (missing.resource_type, missing.resource_name) == ("bid", "b1")
    state = details(EXAMPLES[errors.PreconditionFailed])["PreconditionFailure"]
    assert isinstance(state, error_details_pb2.PreconditionFailure)
    assert state.violations[0].type == "GATE_CLOSED"


def test_an_unexpected_error_tells_nothing_but_an_id() -> None:
    status = internal_status("error-1")
    assert status.code == code_pb2.INTERNAL
    assert status.message == "internal error error-1"
