"""MQTT brokers in processes of their own: amqtt (3.1.1, installed with the tests), and mosquitto (5 too) where the machine has it."""

import asyncio
import getpass
import json
import os
import shutil
import socket
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_PATIENCE_S = 10.0
_DEBIAN = "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class BrokerProcess(ABC):
    """A broker that can be killed and started again at the same address."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: Process | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Write the configuration and return what starts the broker."""

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self.command(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=dict(os.environ)
        )
        async with asyncio.timeout(_PATIENCE_S):
            while not await self._answers():
                assert self._process.returncode is None, "the broker ended at its start"
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            await writer.wait_closed()
            return True
        return False

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


@dataclass
class Amqtt(BrokerProcess):
    """MQTT 3.1.1 only."""

    listener: dict[str, Any] = field(default_factory=dict)
    plugins: dict[str, Any] = field(
        default_factory=lambda: {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    )

    def command(self) -> Sequence[str]:
        content = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}", **self.listener}},
            "plugins": self.plugins,
        }
        file = self.folder / "amqtt.yaml"
        file.write_text(json.dumps(content))
        return sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(file)


@dataclass
class Mosquitto(BrokerProcess):
    """MQTT 5 and 3.1.1."""

    lines: Sequence[str] = ("allow_anonymous true",)

    def command(self) -> Sequence[str]:
        binary = shutil.which("mosquitto") or _DEBIAN
        file = self.folder / "mosquitto.conf"
        file.write_text("\n".join([f"user {getpass.getuser()}", f"listener {self.port} 127.0.0.1", *self.lines, ""]))
        return binary, "-c", str(file)


# mosquitto is a Debian package, no Python one: `scripts/test` must work without it, and everything else about MQTT is tried with amqtt,
# which is installed with the tests. CI installs it.
needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto") is None and not Path(_DEBIAN).exists(),
    reason="there is no mosquitto: MQTT 5 and client certificates are not tried against a real broker",
)
