"""The balance responsible party's door for nominations, over HTTP and JSON; `ports.NominationDesk`.

```
PUT {base}/nominations/{id}
{"award": "...", "portfolio": "BE-EV", "connectionPoint": "5414...", "brp": "brp-demo", "deliveryDay": "2025-10-15",
 "periods": [{"start": "2025-10-14T22:00:00+00:00", "end": "...", "volumeMw": "0.123"}]}

200, 201  {"state": "acknowledged", "reference": "BRP-..."}
409, 422  {"state": "rejected", "reason": "..."}
```

Volumes are decimal text, positive drawn from the grid. The id makes a repeated PUT harmless: the same content gets the same
reference, other content under the same id is rejected.
"""

import json
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp

from gateway.domain.bids import Nomination
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.exchanges.json_wire import as_object, as_text, read_json, shown
from gateway.exchanges.transport import Request, Timeouts, ask, checked_url

PEER = "the BRP"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrpAccount:
    """Where a BRP takes nominations and who we are to it."""

    base_url: str
    """Address up to and without `/nominations`; https except on loopback."""
    token: str = field(repr=False)
    brp: str
    """Its id as connection points and nominations name it."""
    portfolio: str
    """Our portfolio's name at the exchange, under which the BRP sees the trades."""

    def __post_init__(self) -> None:
        """Reject an address that may not be given a token, and an empty token."""
        checked_url("brp.base_url", self.base_url)
        if not self.token:
            raise InvalidInput("brp.token", "must not be empty")


class BrpDesk:
    """The door of one BRP."""

    def __init__(
        self, *, account: BrpAccount, session: aiohttp.ClientSession, timeouts: Timeouts | None = None
    ) -> None:
        self._account = account
        self._session = session
        self._timeouts = Timeouts() if timeouts is None else timeouts

    async def nominate(self, nomination: Nomination) -> str:
        """Send one nomination and return the BRP's acknowledgement reference.

        It may be sent again after any failure: the id makes it one nomination.

        Raises:
            InvalidInput: The nomination is for another BRP, or this one rejects it; the message says why.
            PeerUnavailable: The BRP does not answer, refuses our login or answers nonsense.
        """
        if nomination.brp != self._account.brp:
            raise InvalidInput("nomination.brp", f"must be {self._account.brp}")
        request = Request(
            method="PUT",
            url=f"{self._account.base_url.rstrip('/')}/nominations/{quote(nomination.id, safe='')}",
            headers={"Authorization": f"Bearer {self._account.token}", "Content-Type": "application/json"},
            body=_body(nomination, self._account.portfolio),
        )
        answer = await ask(self._session, request, peer=PEER, timeouts=self._timeouts)
        if answer.status in {200, 201}:
            return _reference(answer.body)
        if answer.status in {400, 409, 422}:
            raise InvalidInput("nomination", f"{PEER} rejects it: {_reason(answer.body)}")
        raise PeerUnavailable(f"{PEER} answered with status {answer.status}")


def _body(nomination: Nomination, portfolio: str) -> bytes:
    document = {
        "award": nomination.award,
        "portfolio": portfolio,
        "connectionPoint": nomination.connection_point,
        "brp": nomination.brp,
        "deliveryDay": nomination.delivery_day,
        "periods": [
            {
                "start": period.start.isoformat(),
                "end": period.end.isoformat(),
                "volumeMw": format(period.volume_mw, "f"),
            }
            for period in nomination.periods
        ],
    }
    return json.dumps(document).encode()


def _reference(body: bytes) -> str:
    try:
        document = as_object(read_json(body, "acknowledgement"), "acknowledgement")
        state = as_text(document.get("state"), "acknowledgement.state")
        reference = as_text(document.get("reference"), "acknowledgement.reference")
    except InvalidInput as error:
        raise PeerUnavailable(f"{PEER} answered nonsense: {error}") from error
    if state != "acknowledged":
        raise PeerUnavailable(f"{PEER} answered nonsense: the nomination is {shown(state)}")
    return reference


def _reason(body: bytes) -> str:
    try:
        document = as_object(read_json(body, "rejection"), "rejection")
    except InvalidInput:
        return shown(body.decode("utf-8", "replace"))
    return shown(document.get("reason", "without a reason"))
