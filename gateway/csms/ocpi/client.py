"""Asks an OCPI platform: envelope, headers, token, bounded answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.csms.ocpi.envelope import OcpiRefused, Parties, authorization, read_envelope
from gateway.csms.ocpi.models import OcpiModel, as_json
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.outbound import Call, PeerHttp
from gateway.ports import Ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page of a list."""

    data: Any
    next_url: str | None
    """Where the next page is (`Link: <...>; rel="next"`); None at the end."""


class OcpiClient:
    """Asks one platform.

    Args:
        http: Carries requests to it.
        ids: Request and correlation ids.
    """

    def __init__(self, http: PeerHttp, ids: Ids) -> None:
        self._http = http
        self._ids = ids
        self.token = ""
        """The token that we show; set by the registration."""
        self.parties: Parties | None = None
        """Routing of functional modules; set by the registration."""

    async def get(self, url: str, *, token: str | None = None, is_routed: bool = False) -> Any:  # noqa: ANN401  # `data`
        """Return the data at an address (see `ask`)."""
        return (await self.ask("GET", url, token=token, is_routed=is_routed)).data

    async def ask(
        self, method: str, url: str, body: OcpiModel | None = None, *, token: str | None = None, is_routed: bool = True
    ) -> Page:
        """Send a request and return its data.

        Args:
            method: HTTP method.
            url: With its query, encoded.
            body: Object to send.
            token: Another token than the registered one.
            is_routed: Whether it is for a functional module, which carries the parties.

        Raises:
            OcpiRefused: The platform said no.
            PeerUnavailable: Nobody said whether it took effect.
            InvalidInput: The address must not be called, or the answer is no envelope.
        """
        answer = await self._http.call(
            Call(
                method=method,
                url=url,
                headers=self._headers(self.token if token is None else token, is_routed=is_routed),
                body=None if body is None else json.dumps(as_json(body)).encode(),
            )
        )
        if answer.status >= 500:
            raise PeerUnavailable(f"the platform answered {answer.status}")
        try:
            data = read_envelope(answer.status, answer.body)
        except InvalidInput as error:
            raise PeerUnavailable("the platform's answer cannot be read") from error
        return Page(data=data, next_url=_next_url(answer.headers))

    async def close(self) -> None:
        """Close all connections; it may be used again."""
        await self._http.close()

    def _headers(self, token: str, *, is_routed: bool) -> Mapping[str, str]:
        headers = {
            "Authorization": authorization(token),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Request-ID": self._ids.new("request"),
            "X-Correlation-ID": self._ids.new("correlation"),
        }
        if is_routed and self.parties is not None:
            headers |= self.parties.headers()
        return headers


def _next_url(headers: Mapping[str, str]) -> str | None:
    link = next((value for name, value in headers.items() if name.lower() == "link"), "")
    for part in link.split(","):
        url, _, parameters = part.partition(";")
        if 'rel="next"' in parameters.replace(" ", ""):
            return url.strip().removeprefix("<").removesuffix(">")
    return None


__all__ = ["OcpiClient", "OcpiRefused", "Page"]
