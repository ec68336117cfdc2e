"""Who may come in: people by password, programs by token or client certificate.

Passwords are kept as argon2id hashes, tokens as SHA-256. An unknown name, a wrong password and a disabled account get the same
answer after the same work. Hashing runs in threads, few at a time, so that a guesser cannot stall the event loop.
"""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.domain.errors import InvalidInput, Overloaded, StorageUnavailable, Unauthenticated
from gateway.domain.evidence import AuditEntry, content_hash
from gateway.domain.identity import Account, Permission, Principal, Role
from gateway.ports import Batch, Clock, Ids, Put, Store

_HASHER = PasswordHasher()
_NOBODY_HASH = _HASHER.hash("a password that nobody has")
_PASSWORD_LENGTHS = range(8, 1025)
_TRIES = 5
_TRIES_WINDOW_S = 60.0
_MOST_NAMES = 10_000
_HASHES_AT_ONCE = 2
_MOST_ACCOUNTS = 100_000
_REFUSED = "unknown name or wrong password"


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password; slow on purpose, call it in a thread.

    Raises:
        InvalidInput: The password is shorter than 8 or longer than 1024 characters.
    """
    if len(password) not in _PASSWORD_LENGTHS:
        raise InvalidInput("password", "must have 8 to 1024 characters")
    return _HASHER.hash(password)


def hash_token(token: str) -> str:
    """Return the hex SHA-256 under which a bearer token is kept; tokens are long and random, so one pass is enough."""
    return hashlib.sha256(token.encode()).hexdigest()


class Admission:
    """Proves callers."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, tenants: Sequence[str]) -> None:
        """Remember the ports.

        Args:
            store: Accounts.
            clock: Time of audit entries.
            ids: Ids of audit entries.
            tenants: Whose accounts a token or certificate may belong to.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._tenants = tuple(tenants)
        self._by_token = _AccountFinder(store, self._tenants, "token_sha256")
        self._by_certificate = _AccountFinder(store, self._tenants, "certificate_uri")
        self._tries: dict[tuple[str, str], deque[float]] = {}
        self._hashing = asyncio.Semaphore(_HASHES_AT_ONCE)

    async def by_token(self, token: str) -> Principal:
        """Return the program that a bearer token proves.

        Raises:
            Unauthenticated: No enabled account has it.
        """
        wanted = hash_token(token)
        account = await self._by_token.find(wanted)
        if account is None or not hmac.compare_digest(account.token_sha256 or "", wanted):
            raise Unauthenticated("unknown token")
        return account.principal()

    async def by_certificate(self, uri: str) -> Principal:
        """Return the program that the URI of a verified client certificate proves.

        Raises:
            Unauthenticated: No enabled account has it.
        """
        account = await self._by_certificate.find(uri) if uri and uri.isprintable() else None
        if account is None:
            raise Unauthenticated("unknown certificate")
        return account.principal()

    async def login(self, tenant: str, actor: str, password: str) -> Principal:
        """Return the person that a name and password prove.

        Raises:
            Unauthenticated: Unknown name, wrong password or disabled account; always the same answer.
            Overloaded: Too many failed tries for this name within a minute.
        """
        tries = self._recent_tries(tenant, actor)
        if len(tries) >= _TRIES:
            raise Overloaded("too many tries, wait a minute")
        tries.append(asyncio.get_running_loop().time())
        account = await self._account_of(tenant, actor)
        known_hash = None if account is None or not account.enabled else account.password_hash
        async with self._hashing:
            is_right = await asyncio.to_thread(_is_password, password, known_hash or _NOBODY_HASH)
        if account is None or known_hash is None or not is_right:
            raise Unauthenticated(_REFUSED)
        self._tries.pop((tenant, actor), None)
        return account.principal()

    async def create_account(self, principal: Principal, account: Account, *, request_id: str) -> Account:
        """Create an account, or answer a repeated request again.

        Args:
            principal: Who creates it.
            account: The account; hashes only, never a password or token.
            request_id: Idempotency key.

        Raises:
            InvalidInput: The account cannot be: another tenant, a name that is taken, the system's role, nothing to prove it by.
            RequestReused: The request id was used with other content.
            Conflict: An account with this id exists.
        """
        principal.require(Permission.USER_MANAGE)
        _check_account(principal, account)
        request_hash = content_hash(account)
        if await self._store.replay(principal.tenant, request_id, request_hash) is not None:
            return account
        if await self._store.find(Account, account.tenant, {"actor": account.actor}, limit=1):
            raise InvalidInput("account.actor", "is taken")
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action="account.create",
            object_kind="account",
            object_id=account.id,
            detail={"actor": account.actor, "roles": ",".join(role.value for role in account.roles)},
            request_id=request_id,
        )
        await self._store.apply(
            Batch(
                tenant=account.tenant,
                puts=(Put(record=account, expected_version=0),),
                audit=(entry,),
                request_id=request_id,
                request_hash=request_hash,
                response=account.id,
            )
        )
        return account

    async def _account_of(self, tenant: str, actor: str) -> Account | None:
        if tenant not in self._tenants:
            return None
        rows = await self._store.find(Account, tenant, {"actor": actor}, limit=1)
        return rows[0].record if rows else None

    def _recent_tries(self, tenant: str, actor: str) -> "deque[float]":
        """Return the instants of this name's tries within the window, in real seconds; memory is bounded."""
        horizon = asyncio.get_running_loop().time() - _TRIES_WINDOW_S
        if len(self._tries) >= _MOST_NAMES:
            self._tries = {name: tries for name, tries in self._tries.items() if tries[-1] > horizon}
            if len(self._tries) >= _MOST_NAMES:
                raise Overloaded("too many tries, wait a minute")
        tries = self._tries.setdefault((tenant, actor), deque(maxlen=_TRIES + 1))
        while tries and tries[0] <= horizon:
            tries.popleft()
        return tries


@dataclass(slots=True, eq=False)
class _Round:
    """Callers that are looked up together."""

    wanted: set[str] = field(default_factory=set)
    is_led: bool = False
    """One of them has begun to ask for all."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    found: dict[str, Account] | None = None
    failure: StorageUnavailable | None = None


class _AccountFinder:
    """Looks enabled accounts up by one column, always in the store, so that who was disabled is out at once.

    When thousands come back together, whoever asks while a look-up runs is looked up with all who asked meanwhile.
    """

    def __init__(self, store: Store, tenants: Sequence[str], column: str) -> None:
        self._store = store
        self._tenants = tenants
        self._column = column
        self._next = _Round()
        self._turn = asyncio.Lock()

    async def find(self, value: str) -> Account | None:
        """Return the account with a value in the column; None when no enabled one has it.

        Raises:
            StorageUnavailable: The store does not answer.
        """
        while True:
            mine = self._next
            mine.wanted.add(value)
            if mine.is_led:
                await mine.is_over.wait()
            else:
                await self._lead(mine)
            if mine.failure is not None:
                raise StorageUnavailable(str(mine.failure)) from mine.failure
            if mine.found is not None:
                return mine.found.get(value)
            # Who asked for all went away before the answer came: ask again.

    async def _lead(self, mine: _Round) -> None:
        mine.is_led = True
        try:
            async with self._turn:
                self._next = _Round()
                mine.found = await self._ask(sorted(mine.wanted))
        except StorageUnavailable as error:
            mine.failure = error
        finally:
            if self._next is mine:
                self._next = _Round()
            mine.is_over.set()

    async def _ask(self, wanted: Sequence[str]) -> dict[str, Account]:
        found: dict[str, Account] = {}
        for tenant in self._tenants:
            rows = await self._store.find(Account, tenant, {self._column: wanted}, limit=_MOST_ACCOUNTS)
            for account in (row.record for row in rows if row.record.enabled):
                found.setdefault(getattr(account, self._column), account)
        return found


def _is_password(password: str, known_hash: str) -> bool:
    try:
        return _HASHER.verify(known_hash, password[: _PASSWORD_LENGTHS.stop])
    except (VerificationError, InvalidHashError):
        return False


def _check_account(principal: Principal, account: Account) -> None:
    if account.tenant != principal.tenant:
        raise InvalidInput("account.tenant", "must be the caller's")
    if not account.roles or Role.SYSTEM in account.roles:
        raise InvalidInput("account.roles", "must name roles; system is not one to be given")
    if account.password_hash is None and account.token_sha256 is None and account.certificate_uri is None:
        raise InvalidInput("account.password_hash", "or a token or certificate is required")
    if Role.CSMS in account.roles and account.csms is None:
        raise InvalidInput("account.csms", "is required for a charging platform")
