"""Who comes in, who does not, and that nobody learns why."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from gateway.domain.errors import (
    Conflict,
    InvalidInput,
    Overloaded,
    PermissionRefused,
    RequestReused,
    StorageUnavailable,
    Unauthenticated,
)
from gateway.domain.identity import Account, Principal, Role, system_principal
from gateway.services import admit
from gateway.services.admit import Admission, hash_password, hash_token
from tests.fakes.clock import HandClock
from tests.fakes.ids import CountingIds
from tests.fakes.store import MemoryStore

PASSWORD = "correct horse battery"
ADA_HASH = hash_password(PASSWORD)
ADA = Account(id="ada", tenant="t", actor="ada", roles=(Role.TRADER,), password_hash=ADA_HASH)
TOKEN = "0123456789abcdef0123456789abcdef"
BOX = Account(
    id="box", tenant="t", actor="csms", roles=(Role.CSMS,), token_sha256=hash_token(TOKEN), csms="csms-1",
    certificate_uri="spiffe://demo/csms-1",
)  # fmt: skip


async def an_admission(*accounts: Account) -> tuple[Admission, MemoryStore]:
    clock = HandClock()
    store = MemoryStore(clock)
    await store.seed("t", *accounts)
    return Admission(store=store, clock=clock, ids=CountingIds(), tenants=["t", "u"]), store


async def test_a_person_comes_in_by_password() -> None:
    admission, _ = await an_admission(ADA)
    assert await admission.login("t", "ada", PASSWORD) == ADA.principal()


@pytest.mark.parametrize(
    ("account", "tenant", "actor", "password"),
    [
        (ADA, "t", "ada", "wrong password"),
        (ADA, "t", "eve", PASSWORD),
        (ADA, "u", "ada", PASSWORD),
        (ADA, "x", "ada", PASSWORD),
        (replace(ADA, enabled=False), "t", "ada", PASSWORD),
        (replace(ADA, password_hash=None), "t", "ada", PASSWORD),
        (replace(ADA, password_hash="no hash"), "t", "ada", PASSWORD),
        (ADA, "t", "ada", ""),
        (ADA, "t", "ada", "x" * 1_000_000),
    ],
)
async def test_all_refusals_look_the_same(account: Account, tenant: str, actor: str, password: str) -> None:
    admission, _ = await an_admission(account)
    with pytest.raises(Unauthenticated) as raised:
        await admission.login(tenant, actor, password)
    assert str(raised.value) == "unknown name or wrong password"


async def test_an_unknown_name_costs_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    admission, _ = await an_admission(ADA)
    checked: list[str] = []

    def check(_password: str, known: str) -> bool:
        checked.append(known)
        return False

    monkeypatch.setattr(admit, "_is_password", check)
    for actor in ("ada", "eve"):
        with pytest.raises(Unauthenticated):
            await admission.login("t", actor, "wrong password")
    assert [h.split("$")[1:4] for h in checked] == [ADA_HASH.split("$")[1:4]] * 2


async def test_after_five_failures_a_name_waits_also_with_the_right_password() -> None:
    admission, _ = await an_admission(ADA)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await admission.login("t", "ada", "wrong password")
    with pytest.raises(Overloaded):
        await admission.login("t", "ada", PASSWORD)


async def test_a_success_forgets_the_failures_before(monkeypatch: pytest.MonkeyPatch) -> None:
    admission, _ = await an_admission(ADA)
    monkeypatch.setattr(admit, "_is_password", lambda password, _known: password == PASSWORD)
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(Unauthenticated):
                await admission.login("t", "ada", "wrong password")
        await admission.login("t", "ada", PASSWORD)


async def test_guessing_many_names_does_not_grow_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    admission, _ = await an_admission()
    monkeypatch.setattr(admit, "_is_password", lambda _password, _known: False)
    monkeypatch.setattr(admit, "_MOST_NAMES", 10)
    for i in range(10):
        with pytest.raises(Unauthenticated):
            await admission.login("t", f"name-{i}", "wrong password")
    with pytest.raises(Overloaded):
        await admission.login("t", "one more", "wrong password")
    assert len(admission._tries) == 10


async def test_the_loop_goes_on_while_a_password_is_checked() -> None:
    admission, _ = await an_admission(ADA)
    turns = 0
    async with asyncio.TaskGroup() as tasks:
        login = tasks.create_task(admission.login("t", "ada", PASSWORD))
        while not login.done():
            turns += 1
            await asyncio.sleep(0)
    assert turns > 10


async def test_a_program_comes_in_by_token_or_certificate() -> None:
    admission, _ = await an_admission(ADA, BOX)
    assert (await admission.by_token(TOKEN)).csms == "csms-1"
    assert (await admission.by_certificate("spiffe://demo/csms-1")).actor == "csms"
    for token in ("", "x", hash_token(TOKEN)):
        with pytest.raises(Unauthenticated):
            await admission.by_token(token)
    for uri in ("", "spiffe://demo/csms-2"):
        with pytest.raises(Unauthenticated):
            await admission.by_certificate(uri)


async def test_a_disabled_program_stays_out() -> None:
    admission, _ = await an_admission(replace(BOX, enabled=False))
    with pytest.raises(Unauthenticated):
        await admission.by_token(TOKEN)
    with pytest.raises(Unauthenticated):
        await admission.by_certificate("spiffe://demo/csms-1")


ADMIN = Principal(tenant="t", actor="root", roles=frozenset({Role.ADMIN}))


async def test_an_account_is_created_once_and_audited_without_secrets() -> None:
    admission, store = await an_admission()
    await admission.create_account(ADMIN, ADA, request_id="r1")
    await admission.create_account(ADMIN, ADA, request_id="r1")
    assert store.all(Account, "t") == [ADA]
    [chained] = await store.audit_of("t", "account", "ada")
    assert ADA_HASH not in str(chained.entry)
    assert await admission.login("t", "ada", PASSWORD) == ADA.principal()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tenant": "u"}, "tenant"),
        ({"roles": ()}, "roles"),
        ({"roles": (Role.SYSTEM,)}, "roles"),
        ({"password_hash": None}, "password_hash"),
        ({"roles": (Role.CSMS,)}, "csms"),
        ({"id": "ada2"}, "actor"),
    ],
)
async def test_impossible_accounts_are_refused(changes: dict[str, object], field: str) -> None:
    admission, store = await an_admission(ADA)
    with pytest.raises(InvalidInput, match=rf"account\.{field}"):
        await admission.create_account(ADMIN, replace(ADA, **changes), request_id="r1")  # type: ignore[arg-type]
    assert store.all(Account, "t") == [ADA]


async def test_who_may_create_accounts() -> None:
    admission, _ = await an_admission(ADA)
    with pytest.raises(PermissionRefused):
        await admission.create_account(ADA.principal(), BOX, request_id="r1")
    await admission.create_account(system_principal("t", "cli"), BOX, request_id="r2")
    with pytest.raises(RequestReused):
        await admission.create_account(ADMIN, replace(BOX, csms="csms-2"), request_id="r2")
    with pytest.raises(Conflict):
        await admission.create_account(ADMIN, replace(BOX, actor="other"), request_id="r3")


def test_passwords_have_a_length() -> None:
    for password in ("short", "x" * 1025):
        with pytest.raises(InvalidInput, match="password"):
            hash_password(password)
    assert ADA_HASH.startswith("$argon2id$")


# ---------------------------------------------------------------- many at once


class SlowStore(MemoryStore):
    """Counts look-ups, and answers when it is let."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.asked: list[object] = []
        self.may_answer = asyncio.Event()

    @override
    async def find(self, kind: Any, tenant: str, where: Any = None, **more: Any) -> Any:
        self.asked.append(where)
        await self.may_answer.wait()
        if self.is_down:
            raise StorageUnavailable("the disk is gone")
        return await super().find(kind, tenant, where, **more)


async def many_programs(count: int) -> tuple[Admission, SlowStore]:
    clock = HandClock()
    store = SlowStore(clock)
    for k in range(count):
        box = replace(BOX, id=f"box-{k}", actor=f"csms-{k}", token_sha256=hash_token(f"token-{k}"))
        await store.seed("t", replace(box, certificate_uri=None, enabled=k != 3))
    return Admission(store=store, clock=clock, ids=CountingIds(), tenants=["t"]), store


async def test_programs_that_come_together_are_looked_up_together_and_each_gets_its_own_answer() -> None:
    admission, store = await many_programs(20)
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(tried(admission, f"token-{k}")) for k in range(25)]
        await asyncio.sleep(0)
        store.may_answer.set()
    known = [f"csms-{k}" for k in range(20)]
    known[3] = "unknown token"
    assert [caller.result() for caller in callers] == [*known, *["unknown token"] * 5]
    assert len(store.asked) == 2, "the first alone, then all who came meanwhile"


async def test_callers_are_not_lost_when_the_one_who_asks_for_all_goes_away() -> None:
    admission, store = await many_programs(3)
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(tried(admission, f"token-{k}")) for k in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        callers[1].cancel()
        await asyncio.sleep(0)
        store.may_answer.set()
    assert callers[2].result() == "csms-2"


async def test_when_the_store_is_gone_everybody_is_told() -> None:
    admission, store = await many_programs(3)
    async with asyncio.TaskGroup() as tasks:
        callers = [tasks.create_task(tried(admission, f"token-{k}")) for k in range(3)]
        await asyncio.sleep(0)
        store.is_down = True
        store.may_answer.set()
    assert [caller.result() for caller in callers] == ["no store"] * 3
    store.is_down = False
    assert await tried(admission, "token-2") == "csms-2"


async def tried(admission: Admission, token: str) -> str:
    try:
        return (await admission.by_token(token)).actor
    except Unauthenticated as error:
        return str(error)
    except StorageUnavailable:
        return "no store"
