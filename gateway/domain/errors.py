"""The one tree of errors that services raise and edges translate.

```
VoltbridgeError
├── InvalidInput            a field is wrong; names it                  INVALID_ARGUMENT     400
├── Unauthenticated         nobody we know                             UNAUTHENTICATED      401
├── PermissionRefused       known, but may not                         PERMISSION_DENIED    403
├── NotFound                not there, or another tenant's             NOT_FOUND            404
├── Conflict                the row changed meanwhile                  ABORTED              409  retryable
├── RequestReused           same request_id, other content             ALREADY_EXISTS       409
├── PreconditionFailed      right request, wrong moment or state       FAILED_PRECONDITION  409
│   ├── GateClosed
│   ├── SelfApproval
│   ├── ContentChanged
│   ├── NoRoute
│   ├── PreTradeLimitExceeded
│   ├── RateMissing
│   └── Superseded
├── ResumeTokenExpired      the stream must start over                 OUT_OF_RANGE         410
├── Overloaded              a bounded queue or quota is full           RESOURCE_EXHAUSTED   429  retryable
└── Unavailable             a dependency does not answer               UNAVAILABLE          503  retryable
    ├── StorageUnavailable
    └── PeerUnavailable     a grid, market or CSMS peer
```

`reason` is stable and machine-readable; texts may change.
"""

from typing import ClassVar


class VoltbridgeError(Exception):
    """Root of all errors the product raises on purpose."""

    reason: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False


class InvalidInput(VoltbridgeError):
    """A value from outside is wrong.

    Attributes:
        field: Path of the offending field as the caller knows it, for example `limit.max_import_kw`.
        problem: What is wrong with it, in one sentence without the value's secrets.
    """

    reason = "INVALID_INPUT"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Survive the pipe of a worker process, which pickles exceptions."""
        return (type(self), (self.field, self.problem))


class Unauthenticated(VoltbridgeError):
    """The caller did not prove who it is."""

    reason = "UNAUTHENTICATED"


class PermissionRefused(VoltbridgeError):
    """The caller is known but its roles do not allow this.

    Attributes:
        permission: The permission that is missing.
    """

    reason = "PERMISSION_REFUSED"

    def __init__(self, permission: str) -> None:
        super().__init__(f"permission {permission} is missing")
        self.permission = permission


class NotFound(VoltbridgeError):
    """No such thing for this tenant; another tenant's thing is reported the same way.

    Attributes:
        kind: Kind of the thing, for example `bid`.
        name: Its id as asked for.
    """

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} not found")
        self.kind = kind
        self.name = name


class Conflict(VoltbridgeError):
    """The row has another version than expected: read again and retry."""

    reason = "VERSION_CONFLICT"
    retryable = True


class RequestReused(VoltbridgeError):
    """A `request_id` came again with other content."""

    reason = "REQUEST_ID_REUSED"


class PreconditionFailed(VoltbridgeError):
    """The request is well formed but the state does not allow it now."""

    reason = "PRECONDITION_FAILED"


class GateClosed(PreconditionFailed):
    """The market's gate for this delivery day has closed."""

    reason = "GATE_CLOSED"


class SelfApproval(PreconditionFailed):
    """A person may not approve what the same person proposed."""

    reason = "SELF_APPROVAL"


class ContentChanged(PreconditionFailed):
    """The hash that was approved is not the hash that is there now."""

    reason = "CONTENT_CHANGED"


class NoRoute(PreconditionFailed):
    """No route with a balance responsible party leads to this market."""

    reason = "NO_ROUTE"


class PreTradeLimitExceeded(PreconditionFailed):
    """A volume or price is outside the collar of the portfolio."""

    reason = "PRE_TRADE_LIMIT_EXCEEDED"


class RateMissing(PreconditionFailed):
    """Amounts are in another currency than they are wanted in, and no one exchange rate is known; nothing is converted.

    Attributes:
        field: What is in the other currency, for example `imbalance.currency`.
        problem: Which rate is missing.
    """

    reason = "EXCHANGE_RATE_MISSING"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # type: ignore[explicit-override]  # typing.override is 3.12
        """Survive the pipe of a worker process, which pickles exceptions."""
        return (type(self), (self.field, self.problem))


class Superseded(PreconditionFailed):
    """A newer stream of the same charging platform took over."""

    reason = "SUPERSEDED"


class ResumeTokenExpired(VoltbridgeError):
    """The stream cannot be resumed from this token; start again without one."""

    reason = "RESUME_TOKEN_EXPIRED"


class Overloaded(VoltbridgeError):
    """A bounded queue or quota is full."""

    reason = "OVERLOADED"
    retryable = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        """Say what is full, and when to try again if that is known, in seconds."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(VoltbridgeError):
    """Something we depend on does not answer."""

    reason = "UNAVAILABLE"
    retryable = True


class StorageUnavailable(Unavailable):
    """The store cannot make a write durable now."""

    reason = "STORAGE_UNAVAILABLE"


class PeerUnavailable(Unavailable):
    """A grid, market or charging peer does not answer or answers nonsense."""

    reason = "PEER_UNAVAILABLE"


class OutcomeUnknown(VoltbridgeError):
    """A message left but no answer tells whether it took effect; a person decides, never a blind retry."""

    reason = "OUTCOME_UNKNOWN"
