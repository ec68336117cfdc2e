"""How a VTN offers notifications over MQTT: what `GET /notifiers` and `GET /notifiers/mqtt/topics/...` say (3.1.0).

Certificates come as PEM text. TLS wants files, so the private key is on disk for as long as it takes to read it, in a folder that
only we may enter.
"""

import enum
import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from gateway.domain.errors import InvalidInput
from gateway.json_guard import Json

SECURE_PORT = 8883
PLAIN_PORT = 1883
CLIENT_ID = "{clientID}"
"""The user name that stands for our client id."""
TOPIC_WORDS = ("CREATE", "UPDATE", "DELETE")
_ALL = "ALL"
_LONGEST_TOPIC = 1_024
_SCHEMES = {"mqtts": True, "mqtt": False}


class Method(enum.StrEnum):
    """How a broker knows us."""

    ANONYMOUS = "ANONYMOUS"
    TOKEN = "OAUTH2_BEARER_TOKEN"  # noqa: S105  # a word of the specification
    CERTIFICATE = "CERTIFICATE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """Where a broker listens."""

    host: str
    port: int
    is_secure: bool
    """Whether it speaks TLS (MQTTS)."""

    @property
    def text(self) -> str:
        """The address on one line."""
        return f"{'mqtts' if self.is_secure else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class MqttBinding:
    """What we need to connect."""

    brokers: tuple[Broker, ...]
    """In the VTN's order; any of them will do."""
    method: Method
    username: str = ""
    """For a token: a literal name, or `{clientID}`."""
    ca_pem: str = field(default="", repr=False)
    cert_pem: str = field(default="", repr=False)
    key_pem: str = field(default="", repr=False)


def read_binding(content: Json) -> MqttBinding | None:
    """Return how to connect; None when the VTN offers no MQTT.

    Raises:
        InvalidInput: It offers MQTT in a way that nobody can use.
    """
    if not isinstance(content, dict):
        raise InvalidInput("notifiers", "must be an object")
    offered = content.get("MQTT")
    if offered is None:
        return None
    if not isinstance(offered, dict):
        raise InvalidInput("notifiers.MQTT", "must be an object")
    if offered.get("serialization", "JSON") != "JSON":
        raise InvalidInput("notifiers.MQTT.serialization", "must be JSON")
    known = offered.get("authentication")
    if not isinstance(known, dict):
        raise InvalidInput("notifiers.MQTT.authentication", "must be an object")
    method = _method(known)
    return MqttBinding(
        brokers=_brokers(offered.get("URIS")),
        method=method,
        username=_required(known, "username") if method is Method.TOKEN else "",
        ca_pem=_required(known, "caCert") if method is Method.CERTIFICATE else "",
        cert_pem=_required(known, "clientCert") if method is Method.CERTIFICATE else "",
        key_pem=_required(known, "clientKey") if method is Method.CERTIFICATE else "",
    )


def _method(known: dict[str, Json]) -> Method:
    try:
        return Method(str(known.get("method")))
    except ValueError as error:
        raise InvalidInput("notifiers.MQTT.authentication.method", "is none that we know") from error


def _required(known: dict[str, Json], name: str) -> str:
    value = known.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"notifiers.MQTT.authentication.{name}", "is missing")
    return value


def _brokers(uris: Json) -> tuple[Broker, ...]:
    """Return the addresses that can be used; others (web sockets) do not harm them."""
    found = [_broker(uri) for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []
    usable = tuple(broker for broker in found if broker is not None)
    if not usable:
        raise InvalidInput("notifiers.MQTT.URIS", "must hold an address such as mqtts://broker.example")
    return usable


def _broker(uri: str) -> Broker | None:
    try:
        split = urlsplit(uri)
        port = split.port
    except ValueError:
        return None
    is_secure = _SCHEMES.get(split.scheme)
    if is_secure is None or not split.hostname:
        return None
    return Broker(host=split.hostname, port=port or (SECURE_PORT if is_secure else PLAIN_PORT), is_secure=is_secure)


def read_topics(content: Json) -> tuple[str, ...]:
    """Return the topics to subscribe to: the one for all operations where there is one, else those for each.

    Raises:
        InvalidInput: There is none.
    """
    topics = content.get("topics") if isinstance(content, dict) else None
    if not isinstance(topics, dict):
        raise InvalidInput("topics", "must be an object")
    words: Sequence[str] = (_ALL,) if _is_topic(topics.get(_ALL)) else TOPIC_WORDS
    found = tuple(topics[word] for word in words if _is_topic(topics.get(word)))
    if not found:
        raise InvalidInput("topics", "must name at least one topic")
    return found


def _is_topic(topic: Json) -> bool:
    return isinstance(topic, str) and 0 < len(topic) <= _LONGEST_TOPIC and "\0" not in topic


def topic_paths(ven_id: str, programs: Sequence[str]) -> tuple[str, ...]:
    """Return what to ask topics for: what concerns our ven, and the events of our programs.

    Args:
        ven_id: Our id at the VTN; empty when it has not given us one.
        programs: Ids of the programs we take part in.
    """
    own = (
        [f"vens/{ven_id}", *(f"vens/{ven_id}/{kind}" for kind in ("events", "programs", "resources"))] if ven_id else []
    )
    shared = [path for program in programs for path in (f"programs/{program}", f"programs/{program}/events")]
    return tuple(f"/notifiers/mqtt/topics/{path}" for path in (*own, *shared))


def tls_context(binding: MqttBinding, ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that checks chain and host name, speaks TLS 1.2 or newer and shows the VTN's certificate for us.

    Args:
        binding: Holds the certificates as text for `CERTIFICATE`.
        ca_file: Authorities to trust otherwise; None are those of the system.

    Raises:
        InvalidInput: A certificate or key cannot be used.
    """
    try:
        context = ssl.create_default_context(
            cafile=None if ca_file is None else str(ca_file), cadata=binding.ca_pem or None
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if binding.cert_pem:
            _load_pair(context, binding)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise InvalidInput(
            "notifiers.MQTT", f"has a certificate that cannot be used ({type(error).__name__})"
        ) from error
    return context


def _load_pair(context: ssl.SSLContext, binding: MqttBinding) -> None:
    with tempfile.TemporaryDirectory(prefix="voltbridge-") as name:
        folder = Path(name)
        context.load_cert_chain(
            _private(folder / "cert.pem", binding.cert_pem), _private(folder / "key.pem", binding.key_pem)
        )


def _private(path: Path, text: str) -> str:
    """Write a file that nobody else may read, not even for a moment."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    return str(path)
