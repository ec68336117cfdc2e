"""What `voltbridge openadr check` reads: a file of JSON objects, or the programs and events that a VTN shows us."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from gateway.clock import SystemClock
from gateway.domain.errors import InvalidInput
from gateway.json_guard import JsonPolicy, read_json
from gateway.openadr.https import TlsFiles
from gateway.openadr.profiles.objects import Sent, objects_in
from gateway.openadr.profiles.rules import ObjectKind
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.dialect import target_queries
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import Credentials, VenSettings
from gateway.openadr.v3.transport import HttpTransport
from gateway.openadr.v3.wire import Target
from gateway.settings import read_secret

_POLICY = JsonPolicy(max_bytes=64_000_000, max_values=4_000_000)
_NOBODY = "check"
"""Stands for tenant, node and VEN where nothing is registered and nothing is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VtnAccess:
    """How a VTN is asked."""

    url: str
    dialect: Dialect
    credentials: Path | None = None
    """TOML of `client_id`, `client_secret` and, where needed, `token_url` and `scope`; None asks anonymously."""
    targets: tuple[str, ...] = ()
    """Targets to ask with: a text, or `TYPE=VALUE` in 3.0.1."""
    ca: Path | None = None
    allow_plain_on_loopback: bool = False


def read_object_file(file: Path, kind: str | None) -> list[Sent]:
    """Return the objects of a JSON file.

    Args:
        file: An object, a list of objects, or a bundle such as `{"programs": [...], "events": [...]}`.
        kind: What they are; None finds out.

    Raises:
        InvalidInput: The file cannot be read, is not JSON, or something in it is no object of a known kind.
    """
    try:
        body = file.read_bytes()
    except OSError as error:
        raise InvalidInput("file", f"{file.name} cannot be read") from error
    return objects_in(read_json(body, _POLICY), kind_named(kind))


def kind_named(text: str | None) -> ObjectKind | None:
    """Return a kind of object by its name.

    Raises:
        InvalidInput: It is none.
    """
    if text is None:
        return None
    for kind in get_args(ObjectKind):
        if text == kind:
            found: ObjectKind = kind
            return found
    raise InvalidInput("kind", f"must be {', '.join(get_args(ObjectKind))}")


async def read_vtn(access: VtnAccess) -> list[Sent]:
    """Return the programs and events that a VTN shows us, all pages of them.

    Raises:
        InvalidInput: The address or the credentials file is wrong.
        PeerUnavailable: The VTN does not answer, refuses us, or answers no list.
    """
    settings = VenSettings(
        authority=_NOBODY,
        tenant=_NOBODY,
        dialect=access.dialect,
        vtn_url=access.url,
        ven_name=_NOBODY,
        own_nodes=(_NOBODY,),
        credentials=None if access.credentials is None else read_credentials(access.credentials),
        tls=TlsFiles(ca_file=access.ca),
        allow_plain_http=access.allow_plain_on_loopback,
        json=_POLICY,
    )
    transport = HttpTransport(settings.tls, max_bytes=_POLICY.max_bytes, timeout_s=settings.request_timeout_s)
    try:
        return await _listed(VtnClient(settings, transport, SystemClock()), access)
    finally:
        await transport.close()


def read_credentials(file: Path) -> Credentials:
    """Return OAuth2 client credentials from a file that only its owner may read.

    Raises:
        InvalidInput: The file is missing, readable by others, not TOML, or lacks or adds a field; no value is repeated.
    """
    text = read_secret("credentials", file)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("credentials", f"{file.name} is not TOML") from error
    known = {"client_id", "client_secret", "token_url", "scope"}
    for name, value in content.items():
        if name not in known or not isinstance(value, str):
            raise InvalidInput("credentials", f"{file.name} has {name!r}, which is no text that is known here")
    for name in ("client_id", "client_secret"):
        if name not in content:
            raise InvalidInput("credentials", f"{file.name} has no {name}")
    return Credentials(**content)


async def _listed(client: VtnClient, access: VtnAccess) -> list[Sent]:
    queries = target_queries(access.dialect, [_target(text) for text in access.targets]) or ((),)
    found: dict[tuple[ObjectKind, str], Sent] = {}
    for query in queries:
        pages = {"program": (await client.programs(query)).pages, "event": (await client.events(query)).pages}
        for kind in ("program", "event"):
            for one in _objects_of(kind, pages[kind]):
                found.setdefault((one.kind, one.id or one.path), one)
    return list(found.values())


def _objects_of(kind: str, pages: Sequence[bytes]) -> list[Sent]:
    contents = [one for page in pages for one in read_json(page, _POLICY)]
    return objects_in({f"{kind}s": contents}) if contents else []


def _target(text: str) -> Target:
    kind, found, value = text.partition("=")
    return Target(kind, value) if found else Target("", text)
