"""Tables and migrations never drift; a database is old or new, never between, and never goes back."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, inspect, text
from sqlmodel import SQLModel

from gateway.domain.errors import PreconditionFailed, StorageUnavailable
from gateway.domain.sessions import Session
from gateway.ports import Batch, Put
from gateway.storage import migrate as migrations
from gateway.storage.engines import create_file, database_of, writer_engine
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.postgres_server import PostgresServer
from tests.storage.records import TENANT, session

ROOT = Path(__file__).parents[2]

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "r9999"
down_revision = "{latest}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("novelty", sa.Column("id", sa.String(), primary_key=True))
    op.add_column("session_record", sa.Column("novelty", sa.String()))
    {end}
"""


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Return a database of its own: these tests change the schema."""
    return postgres_server.new_database()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may add to."""
    copy = tmp_path / "migrations"
    shutil.copytree(migrations.MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations, "MIGRATIONS", copy)
    return copy


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    database = database_of(url)
    if database.file is not None:
        create_file(database.file)
    engine = writer_engine(database)
    yield engine
    engine.dispose()


def add_migration(folder: Path, end: str = "") -> Path:
    latest = max(file.stem.partition("_")[0] for file in (folder / "versions").glob("r0*.py"))
    file = folder / "versions" / "r9999_novelty.py"
    file.write_text(NEXT.format(latest=latest, end=end))
    return file


def has_novelty(connection: Connection) -> tuple[bool, bool]:
    inspector = inspect(connection)
    columns = {column["name"] for column in inspector.get_columns("session_record")}
    connection.rollback()
    return inspector.has_table("novelty"), "novelty" in columns


def test_the_migrations_make_the_tables_of_now(engine: Engine) -> None:
    with engine.connect() as connection:
        migrations.migrate(connection)
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        connection.rollback()
        primary_keys = {
            table.name: inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            for table in SQLModel.metadata.tables.values()
        }
    assert primary_keys == {
        table.name: [column.name for column in table.primary_key] for table in SQLModel.metadata.tables.values()
    }


def test_drift_would_be_seen(engine: Engine) -> None:
    with engine.connect() as connection:
        migrations.migrate(connection)
        with connection.begin():
            connection.execute(text("DROP INDEX ix_session_record_charger"))
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert [difference[0] for difference in compare_metadata(context, SQLModel.metadata)] == ["add_index"]
        connection.rollback()


async def test_an_older_database_is_brought_up_to_date(url: str, folder: Path, clock: HandClock) -> None:
    async with SqlStore.open(url, clock) as store:
        await store.apply(Batch(tenant=TENANT, puts=(Put(record=session()),)))
    add_migration(folder)
    with pytest.raises(PreconditionFailed, match="older schema"):
        async with SqlStore.open(url, clock, read_only=True):
            pass
    async with SqlStore.open(url, clock) as store:
        assert await store._readers.ask(has_novelty) == (True, True)
        found = await store.get(Session, TENANT, "session-1")
        assert found is not None
        assert found.record == session()


async def test_a_newer_database_is_refused_untouched(url: str, folder: Path, clock: HandClock) -> None:
    file = add_migration(folder)
    async with SqlStore.open(url, clock):
        pass
    file.unlink()
    for read_only in (False, True):
        with pytest.raises(PreconditionFailed, match="schema r9999, which this version does not know"):
            async with SqlStore.open(url, clock, read_only=read_only):
                pass


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "ALTER TABLE session_record DROP COLUMN written_at_us",
            r"it lacks session_record\.written_at_us: start the version that made it",
        ),
        ("DROP TABLE session_record", r"it lacks session_record\.\w+ and \d+ more columns: start the version"),
    ],
)
async def test_a_database_of_a_version_between_releases_is_refused(
    url: str, engine: Engine, clock: HandClock, change: str, said: str
) -> None:
    with engine.connect() as connection:
        migrations.migrate(connection)
        with connection.begin():
            connection.execute(text(change))
    for read_only in (False, True):
        with pytest.raises(PreconditionFailed, match=f"made by another version of the program: {said}"):
            async with SqlStore.open(url, clock, read_only=read_only):
                pass


def test_a_database_that_has_what_a_migration_adds_says_so(engine: Engine, folder: Path) -> None:
    with engine.connect() as connection:
        migrations.migrate(connection)
        with connection.begin():
            connection.execute(text("ALTER TABLE session_record ADD COLUMN novelty VARCHAR"))
        add_migration(folder)
        with pytest.raises(
            PreconditionFailed, match=r"cannot be brought up to date \(.*novelty.*\): start the version"
        ):
            migrations.migrate(connection)


def test_a_migration_that_breaks_leaves_the_old_schema(engine: Engine, folder: Path) -> None:
    with engine.connect() as connection:
        migrations.migrate(connection)
        add_migration(folder, end="raise KeyboardInterrupt")
        with pytest.raises(KeyboardInterrupt):
            migrations.migrate(connection)
        assert not migrations.is_current(connection)
        assert has_novelty(connection) == (False, False)
        add_migration(folder)
        migrations.migrate(connection)
        assert has_novelty(connection) == (True, True)


async def test_reading_only_never_creates_a_database(tmp_path: Path, clock: HandClock) -> None:
    with pytest.raises(StorageUnavailable, match="unable to open"):
        async with SqlStore.open(f"sqlite:///{tmp_path}/none.sqlite", clock, read_only=True):
            pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_new_makes_an_empty_migration(folder: Path) -> None:
    file = migrations.write_migration("nothing new")
    assert file.parent == folder / "versions"
    assert file.name == f"r{len(list(file.parent.glob('r*.py'))):04}_nothing_new.py"
    assert file.read_text().rstrip().endswith("pass\n    # ### end Alembic commands ###")


def test_a_new_kind_takes_three_lines_and_a_command(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib, shutil, sys
from dataclasses import dataclass
from datetime import datetime, UTC
from gateway.ports import Batch, Put
from gateway.storage import migrate
from gateway.storage.store import SqlStore
from gateway.storage.rows import CompactRow, record

@dataclass(frozen=True, kw_only=True, slots=True)
class Tariff:
    id: str
    tenant: str
    zone: str
    valid_from: datetime

@record(Tariff, at="valid_from")
class TariffRecord(CompactRow, table=True):
    zone: str

folder = pathlib.Path(sys.argv[1])
shutil.copytree(migrate.MIGRATIONS, folder / "migrations")
migrate.MIGRATIONS = folder / "migrations"
print(migrate.write_migration("tariffs").read_text())

class Clock:
    def now(self): return datetime(2026, 1, 1, tzinfo=UTC)

async def main():
    async with SqlStore.open(f"sqlite:///{folder}/db", Clock()) as store:
        tariff = Tariff(id="1", tenant="t", zone="BE", valid_from=datetime(2027, 1, 1, tzinfo=UTC))
        await store.apply(Batch(tenant="t", puts=(Put(record=tariff),)))
        assert (await store.find(Tariff, "t", {"zone": "BE"}, since=tariff.valid_from))[0].record == tariff
        print("kept")

asyncio.run(main())
"""
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "sa.Column('body', sa.LargeBinary(), nullable=False)" in done.stdout
    assert (
        "op.create_index('ix_tariff_record_zone', 'tariff_record', ['tenant', 'zone', 'at_us'], unique=False)"
        in done.stdout
    )
    assert "sqlmodel" not in done.stdout
    assert done.stdout.endswith("kept\n")
