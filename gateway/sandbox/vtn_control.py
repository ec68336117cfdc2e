"""What the control doors of the scripted VTNs share: worlds by name, JSON bodies, and faults on order."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from aiohttp import web

from gateway.domain.errors import InvalidInput

Script = Mapping[str, Any]
"""Fields of an object as a script gives them."""
DOOR = "/control/worlds/{world}"
"""Path of one world's control door."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that goes wrong with what a VEN says next."""

    on: str
    """What it is on, as the VTN names what a VEN says; `*` for anything."""
    do: str
    """What happens."""
    times: int
    """How often; negative for ever."""
    status: int = 200
    headers: Script = field(default_factory=dict)
    body: str = ""


FaultT = TypeVar("FaultT", bound=Fault)
WorldT = TypeVar("WorldT")


class FaultQueue(Generic[FaultT]):
    """Faults that are still to happen."""

    def __init__(self) -> None:
        self._faults: list[FaultT] = []

    def add(self, fault: FaultT) -> None:
        """Let something go wrong from now on; the oldest fault for a message goes first."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()

    def take(self, kind: str) -> FaultT | None:
        """Return the fault for what a VEN says and use it up once."""
        for index, fault in enumerate(self._faults):
            if fault.on not in {kind, "*"}:
                continue
            if fault.times == 1:
                del self._faults[index]
            elif fault.times > 1:
                self._faults[index] = replace(fault, times=fault.times - 1)
            return fault
        return None


class Worlds(Generic[WorldT]):
    """The utilities that one program plays, by name."""

    def __init__(self) -> None:
        self._worlds: dict[str, WorldT] = {}

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a world of this name."""
        return name in self._worlds

    def put(self, name: str, world: WorldT) -> None:
        """Add a world."""
        self._worlds[name] = world

    def get(self, name: str) -> WorldT | None:
        """Return a world; None if there is none of this name."""
        return self._worlds.get(name)

    def of(self, request: web.Request) -> WorldT:
        """Return the world that a request is for.

        Raises:
            HTTPNotFound: There is none.
        """
        world = self._worlds.get(request.match_info["world"])
        if world is None:
            raise web.HTTPNotFound(text="no such world")
        return world


def fault_routes(
    faults_of: Callable[[web.Request], FaultQueue[FaultT]], parse: Callable[[Script], FaultT]
) -> list[web.RouteDef]:
    """Return the part of a control door that orders faults and takes them back.

    Args:
        faults_of: Returns the faults of the world that a request is for.
        parse: Returns the fault that a script describes.
    """

    async def add(request: web.Request) -> web.Response:
        faults = faults_of(request)
        try:
            faults.add(parse(await document_of(request)))
        except InvalidInput as error:
            raise bad_request(error) from error
        return web.json_response({}, status=201)

    async def clear(request: web.Request) -> web.Response:
        faults_of(request).clear()
        return web.json_response({})

    return [web.post(f"{DOOR}/faults", add), web.delete(f"{DOOR}/faults", clear)]


async def document_of(request: web.Request) -> Script:
    """Return the JSON object in a request's body.

    Raises:
        HTTPBadRequest: It is none.
    """
    try:
        document: Any = json.loads(await request.text())
    except ValueError as error:
        raise bad_request(InvalidInput("body", "must be JSON")) from error
    if not isinstance(document, dict):
        raise bad_request(InvalidInput("body", "must be a JSON object"))
    return document


def bad_request(error: InvalidInput) -> web.HTTPBadRequest:
    """Return the answer to a script that cannot be followed."""
    return web.HTTPBadRequest(text=str(error))
