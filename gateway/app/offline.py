"""What the command line does on the database of a gateway that is not running: import, accounts, audit."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.app.accounts import NewAccount
from gateway.clock import FileClock, SystemClock
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import AuditEntry, AuditVerdict, canonical_json
from gateway.domain.identity import Account, system_principal
from gateway.domain.inventory import Inventory, parse_inventory
from gateway.domain.programs import Enrolment
from gateway.ports import Batch, Clock, Put, Store
from gateway.services.keep_audit import AuditKeeper
from gateway.settings import Settings
from gateway.storage.store import SqlStore

_ROWS_PER_BATCH = 2_000
_ENTRIES_PER_READ = 5_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportCounts:
    """What an import changed, or would change."""

    created: int
    changed: int
    same: int


def clock_of(settings: Settings) -> Clock:
    """Return real time, or the demo's market time when a clock file is set."""
    return SystemClock() if settings.clock_file is None else FileClock(settings.clock_file)


async def import_file(
    settings: Settings, file: Path, accounts: Sequence[NewAccount] = (), *, dry_run: bool
) -> ImportCounts:
    """Import an inventory file: everything in it, or nothing when a field is wrong; then the accounts.

    Raises:
        InvalidInput: The file cannot be read or a field in it is wrong; the field's path is named.
    """
    inventory = read_inventory(file)
    clock = clock_of(settings)
    async with SqlStore.open(settings.store.url, clock) as store:
        counts = await import_inventory(store, inventory, clock, dry_run=dry_run)
        if not dry_run:
            await _write_accounts(store, accounts, clock)
        return counts


def read_inventory(file: Path) -> Inventory:
    """Return the inventory in a TOML file.

    Raises:
        InvalidInput: The file cannot be read, is not TOML, or a field is wrong.
    """
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput("file", f"{file.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("file", f"{file.name} is not TOML: {error}") from error
    return parse_inventory(content)


async def import_inventory(store: Store, inventory: Inventory, clock: Clock, *, dry_run: bool) -> ImportCounts:
    """Write the rows of an inventory that are new or differ, and say how many.

    One batch, so that a crash in the middle leaves nothing half imported.
    """
    records: list[Any] = [
        *inventory.portfolios,
        *inventory.nodes,
        *inventory.connection_points,
        *inventory.capacity_groups,
        *inventory.chargers,
        *inventory.enrolments,
    ]
    fates: Counter[str] = Counter()
    puts: list[Put] = []
    known = await _known(store, records)
    for written in records:
        row = known.get((type(written), written.id))
        record = _still_withdrawn(written, row)
        if row == record:
            fates["same"] += 1
            continue
        fates["created" if row is None else "changed"] += 1
        puts.append(Put(record=record))
    if puts and not dry_run:
        tenant = records[0].tenant
        entry = AuditEntry(
            id=f"import:{clock.now().isoformat()}",
            tenant=tenant,
            at=clock.now(),
            actor="system:import",
            action="inventory.import",
            object_kind="inventory",
            object_id=tenant,
            detail={"created": str(fates["created"]), "changed": str(fates["changed"])},
        )
        await store.apply(Batch(tenant=tenant, puts=tuple(puts), audit=(entry,)))
    return ImportCounts(created=fates["created"], changed=fates["changed"], same=fates["same"])


def _still_withdrawn(record: Any, row: Any) -> Any:  # noqa: ANN401  # any kind of record
    """Return a consent as it stands: what was withdrawn stays so unless it was given again later; other records as they are."""
    if not isinstance(record, Enrolment) or not isinstance(row, Enrolment) or row.withdrawn_at is None:
        return record
    return record if record.consented_at > row.withdrawn_at else replace(record, withdrawn_at=row.withdrawn_at)


async def add_accounts(settings: Settings, accounts: Sequence[NewAccount]) -> None:
    """Add or replace accounts of people and programs: all or none.

    Raises:
        InvalidInput: A field of one is wrong.
    """
    clock = clock_of(settings)
    async with SqlStore.open(settings.store.url, clock) as store:
        await _write_accounts(store, accounts, clock)


async def _write_accounts(store: Store, accounts: Sequence[NewAccount], clock: Clock) -> None:
    rows = [account.row() for account in accounts]
    for tenant in sorted({row.tenant for row in rows}):
        mine = [row for row in rows if row.tenant == tenant]
        entries = [_account_entry(row, clock) for row in mine]
        await store.apply(Batch(tenant=tenant, puts=tuple(Put(record=row) for row in mine), audit=tuple(entries)))


def _account_entry(account: Account, clock: Clock) -> AuditEntry:
    return AuditEntry(
        id=f"account:{account.id}:{clock.now().isoformat()}",
        tenant=account.tenant,
        at=clock.now(),
        actor=system_principal(account.tenant, "account").actor,
        action="account.set",
        object_kind="account",
        object_id=account.id,
        detail={"roles": ",".join(role.value for role in account.roles)},
    )


async def verify_audit(settings: Settings) -> AuditVerdict:
    """Recompute the hash chain; works beside a running gateway."""
    async with SqlStore.open(settings.store.url, clock_of(settings), read_only=True) as store:
        return await AuditKeeper(store=store).verify(system_principal("-", "audit"))


async def export_audit(settings: Settings, out: Path) -> int:
    """Write the chain as JSON lines and return how many entries there are; works beside a running gateway."""
    count = 0
    async with SqlStore.open(settings.store.url, clock_of(settings), read_only=True) as store:
        with out.open("w", encoding="utf-8") as file:
            while entries := await store.audit_entries(count + 1, _ENTRIES_PER_READ):
                file.writelines(canonical_json(entry) + "\n" for entry in entries)
                count += len(entries)
    return count


async def _known(store: Store, records: list[Any]) -> dict[tuple[type, str], Any]:
    known: dict[tuple[type, str], Any] = {}
    for kind, tenant in {(type(record), record.tenant) for record in records}:
        for row in await store.find(kind, tenant, limit=1_000_000):
            known[kind, row.record.id] = row.record
    return known
