"""Child processes of the demo: started, awaited by their ready file, restarted when killed, stopped in order."""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.domain.errors import PeerUnavailable

_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.05


@dataclass(kw_only=True, slots=True)
class Program:
    """One program of the demo.

    Attributes:
        name: For people and file names.
        module: Python module that is run.
        arguments: Command line after the module.
        folder: Where its log and ready file go.
        environment: The program's environment.
    """

    name: str
    module: str
    arguments: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def ready_file(self) -> Path:
        """File the program writes once it listens."""
        return self.folder / f"{self.name}.ready.json"

    @property
    def log_file(self) -> Path:
        """File that takes what the program prints."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Process id; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    @property
    def return_code(self) -> int | None:
        """How the process ended; None while it runs or before the start."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> dict[str, Any]:
        """Start the process and return what its ready file says.

        Raises:
            PeerUnavailable: It ended or was not ready in time; the last line of its log is in the message.
        """
        self.ready_file.unlink(missing_ok=True)
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                *self.arguments,
                "--ready",
                str(self.ready_file),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment),
                start_new_session=True,
            )
        return await self._ready()

    async def ended(self) -> int:
        """Return the exit code once the process has ended."""
        if self._process is None:
            return 0
        return await self._process.wait()

    async def stop(self) -> None:
        """Ask the process to end, and end it when it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _ready(self) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + _READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if self.return_code is not None:
                raise PeerUnavailable(f"{self.name} ended with {self.return_code}: {self._last_words()}")
            if self.ready_file.exists():
                content: dict[str, Any] = json.loads(self.ready_file.read_text(encoding="utf-8"))
                return content
            await asyncio.sleep(_LOOK_SECONDS)
        raise PeerUnavailable(f"{self.name} was not ready in {_READY_SECONDS:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [
            line for line in self.log_file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
        ]
        return lines[-1] if lines else f"nothing in {self.log_file.name}"
