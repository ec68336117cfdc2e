"""Lets extrawest-ocpi (MIT) play a charge point operator of OCPI 2.2.1: versions, credentials, GET and DELETE of charging profiles.

`SCRIPT PORT TOKEN_A` serves on loopback until it is stopped. PUT is left out: its model takes `charging_profile_period` as one object,
so that it answers every conforming request with 422.
"""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ["OCPI_HOST"] = f"127.0.0.1:{sys.argv[1]}"
os.environ["PROTOCOL"] = "http"
os.environ["GET_ACTIVE_PROFILE_AWAIT_TIME"] = "1"

import uvicorn
from py_ocpi import get_application  # type: ignore[import-not-found]  # only in the peer's own environment
from py_ocpi.core.authentication.authenticator import Authenticator  # type: ignore[import-not-found]
from py_ocpi.core.crud import Crud  # type: ignore[import-not-found]
from py_ocpi.core.enums import Action, ModuleID, RoleEnum  # type: ignore[import-not-found]
from py_ocpi.modules.versions.enums import VersionNumber  # type: ignore[import-not-found]

port, token_a = sys.argv[1:]
TOKEN_C = "token-c-of-the-peer"  # noqa: S105  # opens nothing but this program
SESSION = "session-1"
known: dict[str, str] = {"client_token": ""}
ROLE = {"role": "CPO", "business_details": {"name": "Peer"}, "party_id": "PEE", "country_code": "NL"}


class Tokens(Authenticator):  # type: ignore[misc]  # untyped here
    """Knows the tokens A and C."""

    @classmethod
    async def get_valid_token_c(cls) -> list[str]:
        """Return what a registered partner shows."""
        return [TOKEN_C]

    @classmethod
    async def get_valid_token_a(cls) -> list[str]:
        """Return what a new partner shows."""
        return [token_a]


class Memory(Crud):  # type: ignore[misc]  # untyped here
    """One running session, and chargers that accept."""

    @classmethod
    async def get(cls, module: Any, role: Any, id: Any, *args: Any, **more: Any) -> Any:  # noqa: A002, ANN401  # its names
        """Return the session, and results of chargers, which the library asks for as hub client info; none is left after DELETE."""
        if module == ModuleID.sessions:
            return {"id": SESSION} if str(id).lower() == SESSION else None
        return {"result": "ACCEPTED"} if module == ModuleID.hub_client_info and "duration" in more else None

    @classmethod
    async def create(cls, module: Any, role: Any, data: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        """Take a registration."""
        known["client_token"] = data["credentials"]["token"]
        return {"token": TOKEN_C, "url": f"http://127.0.0.1:{port}/ocpi/versions", "roles": [ROLE]}

    @classmethod
    async def do(cls, module: Any, role: Any, action: Any, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        """Pass a request on to the charger, which takes it."""
        return known["client_token"] if action == Action.get_client_token else {"result": "ACCEPTED", "timeout": 30}


modules = [ModuleID.credentials_and_registration, ModuleID.sessions, ModuleID.charging_profile]
app = get_application([VersionNumber.v_2_2_1], [RoleEnum.cpo], Memory, modules, Tokens)
uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")
