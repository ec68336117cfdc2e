"""What an OCPI platform may call: versions, credentials, sessions, results of profiles, and active profiles that others changed.

Every answer is an envelope. Nothing is answered with success before it is on disk; a request without the platform's token learns
nothing and its body is not read.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.csms.listening import body_of
from gateway.csms.ocpi.door import OcpiDoor
from gateway.csms.ocpi.envelope import (
    CANNOT_USE_CLIENT,
    CLIENT_ERROR,
    INVALID,
    POLICY,
    SERVER_ERROR,
    OcpiRefused,
    envelope,
)
from gateway.csms.ocpi.models import (
    ActiveChargingProfile,
    ChargingPreferences,
    Credentials,
    ProfileResult,
    SessionObject,
    Version,
    as_json,
    read_model,
)
from gateway.csms.ocpi.sessions import Key, key_of
from gateway.csms.ocpi.settings import OcpiSettings
from gateway.domain.errors import (
    InvalidInput,
    NotFound,
    PeerUnavailable,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
    VoltbridgeError,
)
from gateway.json_guard import read_json
from gateway.observe import logger
from gateway.ports import Clock

_log = logger("csms")
_LONGEST_ECHO = 128
_ECHOED = ("X-Request-ID", "X-Correlation-ID")
_CODES: tuple[tuple[type[VoltbridgeError], tuple[int, int]], ...] = (
    (Unauthenticated, (401, INVALID)),
    (InvalidInput, (400, INVALID)),
    (NotFound, (404, CLIENT_ERROR)),
    (PreconditionFailed, (405, CLIENT_ERROR)),
    (OcpiRefused, (200, CANNOT_USE_CLIENT)),
    (PeerUnavailable, (200, CANNOT_USE_CLIENT)),
    (Unavailable, (503, SERVER_ERROR)),
)
"""HTTP and OCPI status by error, the more specific first."""
Data = Callable[[web.Request], Awaitable[object]]
"""Returns the `data` of the answer; None for none."""


class OcpiReceiver:
    """Answers one platform.

    Args:
        door: The platform's door.
        settings: The platform.
        clock: Market time.
        root: Path below which it is served.
    """

    def __init__(self, door: OcpiDoor, settings: OcpiSettings, clock: Clock, root: str) -> None:
        self._door = door
        self._settings = settings
        self._clock = clock
        self._root = root

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        base = f"{self._root}/{self._settings.version}"
        session = f"{base}/sessions/{{country}}/{{party}}/{{session}}"
        answer, first = self._answer, self._answer_first
        return [
            web.get(f"{self._root}/versions", first(self._versions)),
            web.get(base, first(self._details)),
            web.get(f"{base}/credentials", answer(self._get_credentials)),
            web.post(f"{base}/credentials", first(self._post_credentials)),
            web.put(f"{base}/credentials", answer(self._put_credentials)),
            web.delete(f"{base}/credentials", answer(self._delete_credentials)),
            web.get(session, answer(self._get_session)),
            web.put(session, answer(self._put_session)),
            web.patch(session, answer(self._patch_session)),
            web.put(f"{session}/charging_preferences", answer(self._put_preferences)),
            web.put(f"{base}/chargingprofiles/{{session}}", answer(self._put_active)),
            web.post(f"{base}/results/{{result}}", answer(self._post_result)),
        ]

    # ---------------------------------------------------------------- around every request

    def _answer(self, data: Data) -> Handler:
        return self._guarded(data, self._door.registrar.admits)

    def _answer_first(self, data: Data) -> Handler:
        """Serve what the token A may ask for, too."""
        registrar = self._door.registrar
        return self._guarded(data, lambda header: registrar.admits(header) or registrar.admits_first(header))

    def _guarded(self, data: Data, admits: Callable[[str], bool]) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                if not admits(request.headers.get("Authorization", "")):
                    raise Unauthenticated("unknown token")
                said = await data(request)
                self._door.heard()
                return self._reply(request, 200, envelope(self._clock.now(), said))
            except VoltbridgeError as error:
                status, code = _codes(error)
                text = str(error) if isinstance(error, InvalidInput | PreconditionFailed | NotFound) else ""
                _log.info("platform refused", what=request.method, status=status, reason=type(error).__name__)
                return self._reply(request, status, envelope(self._clock.now(), status_code=code, message=text))

        return handle

    def _reply(self, request: web.Request, status: int, body: bytes) -> web.Response:
        headers = {name: request.headers[name][:_LONGEST_ECHO] for name in _ECHOED if name in request.headers}
        if status == 401:
            headers["WWW-Authenticate"] = "Token"
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    # ---------------------------------------------------------------- versions and credentials

    async def _versions(self, _request: web.Request) -> object:
        version = Version(version=self._settings.version, url=self._door.registrar.version_url)
        return [as_json(version)]

    async def _details(self, _request: web.Request) -> object:
        return as_json(self._door.registrar.details())

    async def _get_credentials(self, request: web.Request) -> object:
        return as_json(self._door.registrar.credentials_of(request.headers.get("Authorization", "")))

    async def _post_credentials(self, request: web.Request) -> object:
        ours = await self._door.registrar.take(read_model(Credentials, await _content(request)), is_update=False)
        self._door.registered()
        return as_json(ours)

    async def _put_credentials(self, request: web.Request) -> object:
        return as_json(
            await self._door.registrar.take(read_model(Credentials, await _content(request)), is_update=True)
        )

    async def _delete_credentials(self, _request: web.Request) -> object:
        await self._door.registrar.leave()
        self._door.unregistered()
        return None

    # ---------------------------------------------------------------- sessions

    async def _get_session(self, request: web.Request) -> object:
        return as_json(self._door.sessions.get(_key(request)))

    async def _put_session(self, request: web.Request) -> object:
        session = read_model(SessionObject, await _content(request))
        if key_of(session.country_code, session.party_id, session.id) != _key(request):
            raise InvalidInput("id", "must be the one of the address")
        await self._door.sessions.put(session)
        return None

    async def _patch_session(self, request: web.Request) -> object:
        changes = await _content(request)
        if not isinstance(changes, Mapping):
            raise InvalidInput("data", "must be an object")
        await self._door.sessions.patch(_key(request), changes)
        return None

    async def _put_preferences(self, request: web.Request) -> object:
        """Take preferences that the platform passes on; OCPI itself sends them from the eMSP to the CPO."""
        await self._door.sessions.prefer(_key(request), read_model(ChargingPreferences, await _content(request)))
        return "ACCEPTED"

    # ---------------------------------------------------------------- charging profiles

    async def _put_active(self, request: web.Request) -> object:
        active = read_model(ActiveChargingProfile, await _content(request))
        if not self._door.take_active(request.match_info["session"], active):
            raise NotFound("session", request.match_info["session"])
        return None

    async def _post_result(self, request: web.Request) -> object:
        """Take a result; a late or repeated one changes nothing (the outcome is unknown by then) and is acknowledged."""
        token = request.match_info["result"]
        result = read_model(ProfileResult, await _content(request))
        if not self._door.results.take(token, result):
            _log.info("late result", result=result.result.value)
        return None


async def _content(request: web.Request) -> Any:  # noqa: ANN401  # whatever the body says
    return read_json(await body_of(request), POLICY)


def _key(request: web.Request) -> Key:
    return key_of(request.match_info["country"], request.match_info["party"], request.match_info["session"])


def _codes(error: VoltbridgeError) -> tuple[int, int]:
    """Return HTTP status and OCPI status of an error."""
    return next((codes for kind, codes in _CODES if isinstance(error, kind)), (500, SERVER_ERROR))
