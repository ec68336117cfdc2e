"""What must survive a stop of the CSMS: commands with their leases, transactions, and what the gateway was not told yet.

One JSON file per station and one for the uplink, replaced in one step after the bytes are on disk. No driver identity is in
them: what a token said never gets here.
"""

import asyncio
import hashlib
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.domain.errors import InvalidInput

RecordT = TypeVar("RecordT", bound="Kept")


class Kept(BaseModel):
    """Something that is kept on disk."""

    model_config = ConfigDict(extra="forbid")


class CommandRecord(Kept):
    """The newest command of the gateway for one charger."""

    sequence: int
    limit_kw: float
    fallback_kw: float
    lease_until: datetime


class TransactionRecord(Kept):
    """A transaction under a pseudonym; ended ones stay until the gateway knows."""

    number: str
    """As the charger calls it."""
    session: str
    """As the gateway calls it."""
    started_at: datetime
    start_kwh: float | None = None
    latest_kwh: float | None = None
    phases: int = 3
    ended_at: datetime | None = None
    is_told: bool = False


class ConnectorRecord(Kept):
    """One connector."""

    command: CommandRecord | None = None
    transaction: TransactionRecord | None = None


class NoticeRecord(Kept):
    """A limit that the charger announced, as the gateway will be told."""

    request: str
    charger: str
    source: str
    is_grid_critical: bool
    is_cleared: bool
    is_of_station: bool = False
    """Whether it bounds the station as a whole, of which the charger has a share: another word than the one about it alone."""
    blocks: list[tuple[datetime, datetime | None, float]]
    """Start, end and bound in kW."""


class StationRecord(Kept):
    """One station."""

    next_number: int = 1
    """Next transaction number that is given out (OCPP 1.6)."""
    connectors: dict[int, ConnectorRecord] = {}
    ended: list[tuple[str, TransactionRecord]] = []
    """Charger and transaction that the gateway was not told to be over."""
    notices: list[NoticeRecord] = []
    clock_behind_s: float = 0.0
    """How far the charger's clock was behind ours when that was last known."""


class ChargerFacts(Kept):
    """What the gateway says of a charger."""

    max_power_kw: float
    min_power_kw: float
    phases: int
    fallback_kw: float


class UplinkRecord(Kept):
    """Where the uplink is."""

    resume_token: str = ""
    chargers: dict[str, ChargerFacts] = {}
    telemetry_sequence: int = 0


class Journal:
    """The folder with the files."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if it is not there; only its owner may look into it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._locks: dict[Path, asyncio.Lock] = {}

    def station(self, identity: str) -> StationRecord:
        """Return what is kept of a station; new when nothing is."""
        return _read(self._path(identity), StationRecord)

    def uplink(self) -> UplinkRecord:
        """Return where the uplink was."""
        return _read(self._folder / "uplink.json", UplinkRecord)

    async def keep_station(self, identity: str, record: StationRecord) -> None:
        """Return once a station's record is on disk."""
        await self._keep(self._path(identity), record)

    async def keep_uplink(self, record: UplinkRecord) -> None:
        """Return once the uplink's place is on disk."""
        await self._keep(self._folder / "uplink.json", record)

    def _path(self, identity: str) -> Path:
        return self._folder / f"station-{hashlib.sha256(identity.encode()).hexdigest()[:24]}.json"

    async def _keep(self, path: Path, record: Kept) -> None:
        async with self._locks.setdefault(path, asyncio.Lock()):
            await asyncio.to_thread(_replace, path, record.model_dump_json())


def _read(path: Path, kind: type[RecordT]) -> RecordT:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    except ValidationError as error:
        raise InvalidInput("state_folder", f"{path.name} is not a record of this program") from error


def _replace(path: Path, content: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
