"""Listening to a VTN's MQTT broker: MQTT 5 where the broker speaks it, 3.1.1 otherwise; supervised, for ever.

A message only wakes the VEN. What was missed while the broker was away is made good by one look after each connection and by the
polls, which go on all the time.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import aiomqtt

from gateway.domain.errors import InvalidInput, PeerUnavailable, VoltbridgeError
from gateway.observe import logger
from gateway.openadr.backoff import jittered_pause_after
from gateway.openadr.https import is_loopback
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.mqtt_binding import (
    CLIENT_ID,
    Broker,
    Method,
    MqttBinding,
    read_binding,
    read_topics,
    tls_context,
)
from gateway.openadr.v3.mqtt_binding import topic_paths as paths_of
from gateway.openadr.v3.notifications import Doorbell, Interest, NotificationCount, Wake
from gateway.openadr.v3.refusals import VtnRefused
from gateway.ports import Clock, Ids

NOTIFIERS = "/notifiers"
_VERSIONS: tuple[aiomqtt.ProtocolVersion, ...] = (aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311)
_FAILED = 0x80
_AT_LEAST_ONCE = 1
_MOST_QUEUED = 1_000
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class MqttSettings:
    """How we listen to the brokers that a VTN names."""

    authority: str
    client_id: str = ""
    """Our client id at the VTN, the user name where the broker wants a token."""
    ca_file: Path | None = None
    """Authorities to trust for the broker; None are those of the system."""
    allow_plain_mqtt: bool = False
    """Accept a broker without TLS on loopback; for tests and the demo."""
    patience_s: float = 10.0
    """Real seconds for a connection and each answer of the broker."""
    keepalive_s: int = 60
    """Real seconds after which a silent broker is asked whether it is there."""
    first_backoff: timedelta = timedelta(seconds=5)
    longest_backoff: timedelta = timedelta(minutes=5)
    look_again: timedelta = timedelta(hours=1)
    """When to ask again a VTN that offers no MQTT."""


@dataclass(slots=True)
class MqttHealth:
    """How the connection is, for the health endpoint and the operator's page."""

    broker: str = ""
    """Address we are connected to; empty while we are not."""
    version: str = ""
    """`5` or `3.1.1`."""
    topics: tuple[str, ...] = ()
    failures: int = 0
    """Attempts that failed since the last connection."""
    last_error: str = ""
    is_offered: bool | None = None
    """Whether the VTN offers MQTT; None before it was asked."""
    count: NotificationCount = field(default_factory=NotificationCount)


class MqttListener:
    """Listens to one VTN's notifications.

    Args:
        settings: How.
        client: Asks the VTN where its broker is.
        own: Returns our ven's id (empty when unknown) and the ids of the programs whose topics to ask for.
        interest: Returns what of the VTN is ours; a broker sends what it sends to everybody.
        wake: Called when it is worth to look now.
        clock: Market time.
        ids: Jitter.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # the composition root names every part
        self,
        settings: MqttSettings,
        client: VtnClient,
        own: Callable[[], tuple[str, Sequence[str]]],
        interest: Callable[[], Interest],
        wake: Wake,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._settings = settings
        self._vtn = client
        self._own = own
        self._wake = wake
        self._clock = clock
        self._ids = ids
        self._versions = _VERSIONS
        self._bell = Doorbell(interest, wake, clock)
        self.health = MqttHealth(count=self._bell.count)

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await self._listen()
            except (VoltbridgeError, aiomqtt.MqttError, OSError) as error:
                self._note(error)
            await self._clock.sleep(self._pause())

    def _note(self, error: Exception) -> None:
        self.health.failures += 1
        self.health.last_error = str(error) or type(error).__name__
        _log.warning(
            "broker lost",
            authority=self._settings.authority,
            failures=self.health.failures,
            error=self.health.last_error,
        )

    def _pause(self) -> timedelta:
        if self.health.is_offered is False:
            return self._settings.look_again
        return jittered_pause_after(self.health.failures, self._settings, self._ids)

    async def _listen(self) -> None:
        """Ask the VTN where, connect, subscribe and take messages; ends only by failure, or when nothing is offered."""
        binding = read_binding(await self._vtn.get(NOTIFIERS))
        self.health.is_offered = binding is not None
        if binding is None:
            return
        topics = await self._topics()
        async with self._connected(binding) as client:
            try:
                await self._subscribe(client, topics)
                self.health.failures, self.health.last_error = 0, ""
                self._wake()
                async for message in client.messages:
                    self._take(message.payload)
            finally:
                self.health.broker, self.health.version, self.health.topics = "", "", ()

    async def _topics(self) -> tuple[str, ...]:
        """Return all topics that the VTN has for us; one that it has not harms no other."""
        found: list[str] = []
        for path in paths_of(*self._own()):
            try:
                found += read_topics(await self._vtn.get(path))
            except (VtnRefused, InvalidInput) as error:
                _log.debug("no topics", authority=self._settings.authority, path=path, error=str(error))
        if not found:
            raise PeerUnavailable("the VTN names no MQTT topic for us")
        return tuple(dict.fromkeys(found))

    @asynccontextmanager
    async def _connected(self, binding: MqttBinding) -> AsyncIterator[aiomqtt.Client]:
        """Connect to the first broker that takes us, in the newest version of MQTT that it speaks."""
        client = None
        last: Exception = PeerUnavailable("the VTN names no broker that we may use")
        for broker in binding.brokers:
            try:
                client = await self._try(broker, binding)
                break
            except (aiomqtt.MqttError, InvalidInput) as error:
                last = error
        if client is None:
            raise last
        try:
            yield client
        finally:
            await _leave(client)

    async def _try(self, broker: Broker, binding: MqttBinding) -> aiomqtt.Client:
        if not broker.is_secure and not (self._settings.allow_plain_mqtt and is_loopback(broker.host)):
            raise InvalidInput("notifiers.MQTT.URIS", "must begin with mqtts:// (mqtt:// only insecure on loopback)")
        last: aiomqtt.MqttError | None = None
        for version in self._versions:
            client = await self._client(broker, binding, version)
            try:
                await client.__aenter__()
            except aiomqtt.MqttError as error:
                await _leave(client)  # or its socket and task would stay
                last = error
                continue
            self._versions = (version, *(other for other in _VERSIONS if other is not version))
            self.health.broker = broker.text
            self.health.version = "5" if version is aiomqtt.ProtocolVersion.V5 else "3.1.1"
            _log.info("broker", authority=self._settings.authority, broker=broker.text, version=self.health.version)
            return client
        raise last or PeerUnavailable("the broker speaks no version of MQTT")

    async def _client(self, broker: Broker, binding: MqttBinding, version: aiomqtt.ProtocolVersion) -> aiomqtt.Client:
        username = password = None
        if binding.method is Method.TOKEN:
            username = self._settings.client_id if binding.username == CLIENT_ID else binding.username
            password = await self._vtn.bearer()
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=username,
            password=password,
            protocol=version,
            tls_context=tls_context(binding, self._settings.ca_file) if broker.is_secure else None,
            timeout=self._settings.patience_s,
            keepalive=self._settings.keepalive_s,
            max_queued_incoming_messages=_MOST_QUEUED,
        )

    async def _subscribe(self, client: aiomqtt.Client, topics: Sequence[str]) -> None:
        granted = await client.subscribe([(topic, _AT_LEAST_ONCE) for topic in topics])
        codes = [code if isinstance(code, int) else code.value for code in granted]
        taken = tuple(topic for topic, code in zip(topics, codes, strict=False) if code < _FAILED)
        if not taken:
            raise PeerUnavailable("the broker grants no topic")
        if len(taken) < len(topics):
            _log.warning("topics refused", authority=self._settings.authority, count=len(topics) - len(taken))
        self.health.topics = taken

    def _take(self, payload: object) -> None:
        try:
            self._bell.ring(payload if isinstance(payload, bytes) else b"")
        except InvalidInput as error:
            _log.warning("notification refused", authority=self._settings.authority, problem=error.problem)


async def _leave(client: aiomqtt.Client) -> None:
    """Disconnect; a broker that is gone already needs no farewell."""
    try:
        await client.__aexit__(None, None, None)
    except aiomqtt.MqttError:
        return
