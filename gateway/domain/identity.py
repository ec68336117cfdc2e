"""Who acts, for which tenant, in which roles, and what each role may do.

Deny by default: a permission that is not in `GRANTS` is refused. A tenant comes from the proof of identity only (certificate,
token, login), never from a message body.
"""

from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.errors import InvalidInput, PermissionRefused


class Role(StrEnum):
    """What a caller is there for."""

    CSMS = "csms"
    UTILITY = "utility"
    TRADER = "trader"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"
    STEERING_BOX = "steering-box"
    """A steering box of the grid operator, or the sidecar that speaks for it: says limits of its own box and nothing else."""
    SYSTEM = "system"
    """The gateway itself acting on its own rules; never granted to a login or token."""


class Permission(StrEnum):
    """One thing a caller may do."""

    FLEET_READ = "fleet.read"
    FLEET_WRITE = "fleet.write"
    TELEMETRY_WRITE = "telemetry.write"
    DISPATCH_CONNECT = "dispatch.connect"
    SIGNAL_READ = "signal.read"
    SIGNAL_RECEIVE = "signal.receive"
    OPT_DECIDE = "opt.decide"
    ENROLMENT_MANAGE = "enrolment.manage"
    PROGRAM_SWITCH = "program.switch"
    LIMIT_SET = "limit.set"
    POWER_STEER = "power.steer"
    STEERING_READ = "steering.read"
    MARKET_READ = "market.read"
    MARKET_WRITE = "market.write"
    MARKET_ACKNOWLEDGE = "market.acknowledge"
    BID_READ = "bid.read"
    BID_DRAFT = "bid.draft"
    BID_PROPOSE = "bid.propose"
    BID_APPROVE = "bid.approve"
    BID_WITHDRAW = "bid.withdraw"
    ORDER_SUBMIT = "order.submit"
    EVIDENCE_READ = "evidence.read"
    USER_MANAGE = "user.manage"


_READ_ALL = frozenset(
    {
        Permission.FLEET_READ,
        Permission.SIGNAL_READ,
        Permission.MARKET_READ,
        Permission.BID_READ,
        Permission.EVIDENCE_READ,
        Permission.STEERING_READ,
    }
)

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.CSMS: frozenset(
        {
            Permission.FLEET_READ,
            Permission.FLEET_WRITE,
            Permission.TELEMETRY_WRITE,
            Permission.DISPATCH_CONNECT,
            Permission.SIGNAL_READ,
        }
    ),
    Role.UTILITY: frozenset({Permission.SIGNAL_READ, Permission.EVIDENCE_READ, Permission.STEERING_READ}),
    Role.TRADER: _READ_ALL
    | {Permission.BID_DRAFT, Permission.BID_PROPOSE, Permission.BID_WITHDRAW, Permission.MARKET_ACKNOWLEDGE},
    Role.APPROVER: _READ_ALL | {Permission.BID_APPROVE, Permission.BID_WITHDRAW, Permission.MARKET_ACKNOWLEDGE},
    Role.OPERATOR: _READ_ALL
    | {
        Permission.LIMIT_SET,
        Permission.OPT_DECIDE,
        Permission.FLEET_WRITE,
        Permission.ENROLMENT_MANAGE,
        Permission.PROGRAM_SWITCH,
    },
    Role.AUDITOR: _READ_ALL,
    Role.ADMIN: frozenset({Permission.USER_MANAGE, Permission.FLEET_READ, Permission.FLEET_WRITE}),
    Role.STEERING_BOX: frozenset({Permission.POWER_STEER, Permission.STEERING_READ}),
    Role.SYSTEM: frozenset(Permission)
    - {Permission.BID_APPROVE, Permission.BID_PROPOSE, Permission.MARKET_ACKNOWLEDGE},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """The proven caller of a service."""

    tenant: str
    """Tenant whose rows the caller may see and move."""
    actor: str
    """Stable id of the person or program; two approvals by one actor count once."""
    roles: frozenset[Role]
    """Roles in force at the moment of the call."""
    csms: str | None = None
    """For a CSMS: the charging platform it speaks for; None for everybody else."""

    def __post_init__(self) -> None:
        """Reject an empty tenant or actor."""
        if not self.tenant:
            raise InvalidInput("principal.tenant", "must not be empty")
        if not self.actor:
            raise InvalidInput("principal.actor", "must not be empty")

    def may(self, permission: Permission) -> bool:
        """Tell whether any role of the caller grants the permission."""
        return any(permission in GRANTS[role] for role in self.roles)

    def require(self, permission: Permission) -> None:
        """Raise unless the caller has the permission.

        Raises:
            PermissionRefused: No role of the caller grants it.
        """
        if not self.may(permission):
            raise PermissionRefused(permission.value)


def system_principal(tenant: str, room: str) -> Principal:
    """Return the gateway's own identity for work that no person asked for, for example `system:dispatch`."""
    return Principal(tenant=tenant, actor=f"system:{room}", roles=frozenset({Role.SYSTEM}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A person's login or a program's token, as stored."""

    id: str
    tenant: str
    actor: str
    """Login name of a person or name of a program; unique within the tenant."""
    roles: tuple[Role, ...]
    password_hash: str | None = None
    """argon2id hash; None for programs, which cannot log in to the page."""
    token_sha256: str | None = None
    """Hex SHA-256 of the bearer token; None for persons, who cannot call gRPC by token."""
    csms: str | None = None
    """The charging platform a program speaks for."""
    certificate_uri: str | None = None
    """URI SAN of the client certificate (`spiffe://...`) that proves this account over mTLS."""
    enabled: bool = True

    def principal(self) -> Principal:
        """Return the account as a caller."""
        return Principal(tenant=self.tenant, actor=self.actor, roles=frozenset(self.roles), csms=self.csms)
