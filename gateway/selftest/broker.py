"""The MQTT broker of the self-test: amqtt in a process of its own, where it is installed."""

import asyncio
import contextlib
import importlib.util
import json
import sys
from pathlib import Path

from gateway.demo.configuration import free_port
from gateway.domain.errors import PeerUnavailable

PACKAGE = "amqtt"
_HOST = "127.0.0.1"
_LOOK_S = 0.1
_PATIENCE_S = 30.0


def is_installed() -> bool:
    """Tell whether there is a broker on this machine; the service itself needs none."""
    return importlib.util.find_spec(PACKAGE) is not None


class Broker:
    """A broker that can be stopped and started again on its port.

    Args:
        folder: Takes its configuration and log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mqtt://{_HOST}:{self._port}"

    async def start(self) -> None:
        """Start it and return once it listens.

        Raises:
            PeerUnavailable: It did not in time.
        """
        content = {
            "listeners": {"default": {"type": "tcp", "bind": f"{_HOST}:{self._port}"}},
            "plugins": {f"{PACKAGE}.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
        file = self._folder / "broker.yaml"
        file.write_text(json.dumps(content), encoding="utf-8")
        with (self._folder / "broker.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"{PACKAGE}.scripts.broker_script", "-c", str(file), stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not await self._listens():  # noqa: ASYNC110  # another process listens
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise PeerUnavailable("the MQTT broker does not listen") from error

    async def stop(self) -> None:
        """Kill it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(_HOST, self._port)
            writer.close()
            await writer.wait_closed()
            return True
        return False
