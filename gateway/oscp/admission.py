"""Which addresses a partner may name as its own: checked when it names them, before anything is asked there."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver

from gateway.domain.errors import InvalidInput
from gateway.outbound import AddressRules, GuardedResolver, is_loopback

_FIELD = "version_url.base_url"
_PATIENCE_S = 3.0
"""Real seconds for a name server: the partner waits for our answer, and its other messages behind this one."""
_HTTPS = 443


class AddressGate:
    """Refuses addresses that we must not be made to call; those that pass are judged again at every connection.

    Args:
        rules: Which addresses may be called.
        inner: Who resolves names; None takes the machine's resolver.
    """

    def __init__(self, rules: AddressRules, inner: AbstractResolver | None = None) -> None:
        self._rules = rules
        self._inner = inner

    async def admit(self, url: str) -> None:
        """Let an address pass.

        Raises:
            InvalidInput: It is relative, not https, leads to an inner address, or nobody knows its host.
        """
        self._rules.check(_FIELD, url)
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.query:
            raise InvalidInput(_FIELD, "must have no query")
        if is_loopback(host) or _is_literal(host):
            return
        resolver = GuardedResolver(self._rules, self._inner)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await resolver.resolve(host, _HTTPS if parts.port is None else parts.port)
        except (OSError, TimeoutError) as error:
            raise InvalidInput(_FIELD, "names a host that has no address that may be called") from error
        finally:
            await resolver.close()


def _is_literal(host: str) -> bool:
    """Tell whether a host is an address and no name; a bare number such as 2130706433 is a name that may lead anywhere."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
