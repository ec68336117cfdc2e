"""How the 3.x VTN tells subscribers: webhooks with a bearer, and MQTT topics; both can be made to lose or repeat what they say."""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiomqtt

from gateway.sandbox.vtn3_store import Object, ObjectStore, Refused
from gateway.sandbox.vtn3_tokens import Client

_PATIENCE = aiohttp.ClientTimeout(total=10.0)
_OLD_WORDS = {"CREATE": "POST", "UPDATE": "PUT", "DELETE": "DELETE"}
"""Operations in notifications of 3.0.1."""
_AGAIN_SECONDS = 0.5
_MQTT_PORT = 1883
_log = logging.getLogger("sandbox.vtn3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Manners:
    """What goes wrong with notifications."""

    lose: bool = False
    times: int = 1
    """How often each is sent."""
    bearer: str | None = None
    """Instead of the subscriber's own."""


class Notifier:
    """Tells the subscribers of one utility.

    Args:
        dialect: `3.0.1` or `3.1.0`.
        store: Objects and subscriptions.
        clients: By client id.
        topic_root: First part of MQTT topics.
    """

    def __init__(self, dialect: str, store: ObjectStore, clients: Mapping[str, Client], topic_root: str) -> None:
        self._dialect = dialect
        self._store = store
        self._clients = clients
        self.topic_root = topic_root
        self.manners = Manners()
        self.sent: list[dict[str, Any]] = []
        self._topics: deque[tuple[str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._waiting: deque[tuple[Object, Object, bytes, Manners]] = deque()

    async def challenge(self, callback: str) -> None:
        """Ask the callback to echo a random word, as before every subscription.

        Raises:
            Refused: It did not.
        """
        word = secrets.token_hex(8)
        try:
            async with (
                aiohttp.ClientSession(timeout=_PATIENCE) as http,
                http.get(callback, params={"echo": word}, allow_redirects=False) as answer,
            ):
                heard = (await answer.text()).strip()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Refused(400, f"callbackUrl does not answer ({type(error).__name__})") from error
        if status != 200 or heard != word:
            raise Refused(400, f"callbackUrl answered {status} and not the echo")

    def tell(self, operation: str, collection: str, each: Object) -> None:
        """Queue notifications of an operation on an object."""
        words = _OLD_WORDS if self._dialect == "3.0.1" else {}
        notification = {
            "objectType": collection[:-1].upper(),
            "operation": words.get(operation, operation),
            "object": each,
            **({"targets": each["targets"]} if each.get("targets") else {}),
        }
        body = json.dumps(notification).encode()
        for subscription in self._store.collections["subscriptions"].values():
            if self._is_for(subscription, collection, each):
                for place in self._places(subscription, operation, collection):
                    self._waiting.extend([(subscription, place, body, self.manners)] * self.manners.times)
        for topic in self._topics_of(operation, collection, each):
            self._topics.extend([(topic, body)] * self.manners.times)
        self._wake.set()

    async def run(self, broker: str | None) -> None:
        """Send what is queued until cancelled.

        Args:
            broker: `mqtt://host:port`; None for no MQTT.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._post_all())
            if broker is not None:
                tasks.create_task(self._publish_all(broker))

    async def _post_all(self) -> None:
        async with aiohttp.ClientSession(timeout=_PATIENCE) as http:
            while True:
                while self._waiting:
                    await self._post(http, *self._waiting.popleft())
                self._wake.clear()
                await self._wake.wait()

    async def _post(
        self, http: aiohttp.ClientSession, subscription: Object, place: Object, body: bytes, manners: Manners
    ) -> None:
        note = {"subscription": subscription["id"], "url": place["callbackUrl"], "status": 0}
        self.sent.append(note)
        if manners.lose:
            return
        bearer = place.get("bearerToken") if manners.bearer is None else manners.bearer
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        try:
            async with http.post(place["callbackUrl"], data=body, headers=headers, allow_redirects=False) as answer:
                note["status"] = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            note["problem"] = type(error).__name__

    async def _publish_all(self, broker: str) -> None:
        """Publish to the broker for as long as it is there, and again when it is back."""
        address = urlsplit(broker)
        while True:
            try:
                async with aiomqtt.Client(
                    address.hostname or "", port=_MQTT_PORT if address.port is None else address.port
                ) as client:
                    while True:
                        await self._publish(client)
            except aiomqtt.MqttError as error:
                _log.info("broker: %s", error)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _publish(self, client: aiomqtt.Client) -> None:
        while self._topics:
            topic, body = self._topics[0]
            if not self.manners.lose:
                await client.publish(topic, body, qos=1)
            self._topics.popleft()
        await asyncio.sleep(_AGAIN_SECONDS / 10)

    def _is_for(self, subscription: Object, collection: str, each: Object) -> bool:
        program = subscription.get("programID")
        own = each["id"] if collection == "programs" else each.get("programID")
        if program is not None and own != program:
            return False
        client = self._clients.get(subscription.get("clientID", ""))
        asked = subscription.get("targets")
        targets = None if asked is None or self._dialect == "3.0.1" else frozenset(asked)
        return client is None or self._store.is_visible(collection, each, client, targets)

    @staticmethod
    def _places(subscription: Object, operation: str, collection: str) -> list[Object]:
        return [
            place
            for place in subscription["objectOperations"]
            if operation in place["operations"] and collection[:-1].upper() in place["objects"]
        ]

    def _topics_of(self, operation: str, collection: str, each: Object) -> list[str]:
        """Return the topics that an operation is published on: the collection's, its program's, and those of its vens."""
        last = operation.lower()
        topics = [f"{self.topic_root}/{collection}/{last}"]
        if collection == "events":
            topics.append(f"{self.topic_root}/programs/{each.get('programID')}/events/{last}")
        if collection in {"programs", "vens"} and operation != "CREATE":
            topics.append(f"{self.topic_root}/{collection}/{each['id']}/{last}")
        if collection in {"events", "programs"}:
            for ven in self._store.collections["vens"].values():
                client = self._clients.get(ven.get("clientID", ""))
                if (
                    client is not None
                    and each.get("targets")
                    and self._store.is_visible(collection, each, client, None)
                ):
                    topics.append(f"{self.topic_root}/vens/{ven['id']}/{collection}/{last}")
        if collection == "resources":
            topics.append(f"{self.topic_root}/vens/{each.get('venID')}/resources/{last}")
        return topics


def topics_answer(root: str, parts: list[str], *, has_create: bool) -> dict[str, Any]:
    """Return what `/notifiers/mqtt/topics/...` answers for a path below it."""
    base = "/".join((root, *parts))
    words = ("CREATE", "UPDATE", "DELETE") if has_create else ("UPDATE", "DELETE")
    return {"topics": {**{word: f"{base}/{word.lower()}" for word in words}, "ALL": f"{base}/+"}}
