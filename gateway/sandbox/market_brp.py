"""The BRP's door: takes a nomination per connection point, checks it against what the portfolio bought, acknowledges it.

```
PUT /brp/nominations/{id}   200 or 201 acknowledged with a reference, 409 or 422 rejected with a reason
GET /brp/nominations        all of them, and per delivery day whether they add up to the award
```
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from aiohttp import web

from gateway.domain.timegrid import DeliveryDay
from gateway.sandbox.market_auction import AuctionHouse
from gateway.sandbox.market_recorded import MARKET_ZONE

TOLERANCE_MW = Decimal("0.001")
"""Positions of connection points are rounded; their sum may miss the award by so much."""


class _Rejected(Exception):
    """The BRP rejects a nomination."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A nomination that was acknowledged."""

    id: str
    award: str
    portfolio: str
    connection_point: str
    day: DeliveryDay
    volumes: Mapping[datetime, Decimal]
    """MW by begin of the quarter-hour, positive drawn."""
    content: str
    reference: str


class BrpDoor:
    """Takes nominations.

    Args:
        house: Where the portfolio's award is known.
        brp: Its own id.
        token: Bearer token of the portfolio's owner.
    """

    def __init__(self, house: AuctionHouse, brp: str, token: str) -> None:
        self._house = house
        self._brp = brp
        self._token = token
        self._held: dict[str, Held] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this door."""
        return [web.put("/brp/nominations/{id}", self._put), web.get("/brp/nominations", self._list)]

    async def _put(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self._token}":
            return web.json_response({"state": "rejected", "reason": "unknown token"}, status=401)
        try:
            nomination = self._read(request.match_info["id"], await request.text())
            known = self._known(nomination)
            self._check_sum(nomination)
        except _Rejected as rejection:
            return web.json_response({"state": "rejected", "reason": str(rejection)}, status=rejection.status)
        self._held[nomination.id] = nomination
        document = {"state": "acknowledged", "reference": nomination.reference}
        return web.json_response(document, status=200 if known is not None else 201)

    def _known(self, nomination: Held) -> Held | None:
        """Return the nomination that has this id already; a repeated message is harmless, another one is not."""
        known = self._held.get(nomination.id)
        if known is not None and known.content != nomination.content:
            raise _Rejected(409, "another nomination has this id")
        return known

    async def _list(self, request: web.Request) -> web.Response:
        wanted = request.query.get("deliveryDay")
        held = [n for n in self._held.values() if wanted is None or n.day.day.isoformat() == wanted]
        rows = [
            {
                "id": n.id,
                "award": n.award,
                "portfolio": n.portfolio,
                "connectionPoint": n.connection_point,
                "deliveryDay": n.day.day.isoformat(),
                "reference": n.reference,
                "periods": [{"start": s.isoformat(), "volumeMw": format(v, "f")} for s, v in n.volumes.items()],
            }
            for n in held
        ]
        days = sorted({(n.portfolio, n.day.day) for n in held})
        balances = [self._balance(portfolio, DeliveryDay(day=day, zone=MARKET_ZONE)) for portfolio, day in days]
        return web.json_response({"nominations": rows, "balances": balances})

    def _balance(self, portfolio: str, day: DeliveryDay) -> dict[str, object]:
        """Return how far the nominations of a day add up to the award; None where the award is not known."""
        award = self._house.net_volumes(portfolio, day)
        nominated = self._nominated(portfolio, day)
        worst = None if award is None else max(abs(nominated[start] - award[start]) for start in award)
        return {
            "portfolio": portfolio,
            "deliveryDay": day.day.isoformat(),
            "largestDifferenceMw": None if worst is None else format(worst, "f"),
            "addsUp": None if worst is None else worst <= TOLERANCE_MW,
        }

    def _nominated(self, portfolio: str, day: DeliveryDay, without: str = "") -> dict[datetime, Decimal]:
        total = dict.fromkeys(day.grid().starts(), Decimal(0))
        for held in self._held.values():
            if held.portfolio == portfolio and held.day == day and held.id != without:
                for start, volume in held.volumes.items():
                    total[start] += volume
        return total

    def _check_sum(self, nomination: Held) -> None:
        """Reject a nomination that takes the portfolio past its award; that less is nominated shows in the balance."""
        award = self._house.net_volumes(nomination.portfolio, nomination.day)
        if award is None:
            return
        others = self._nominated(nomination.portfolio, nomination.day, without=nomination.id)
        for start, volume in nomination.volumes.items():
            total = others[start] + volume
            if volume != 0 and abs(total) > abs(award[start]) + TOLERANCE_MW:
                raise _Rejected(422, f"{start.isoformat()}: {total} MW nominated, {award[start]} MW bought")

    def _read(self, nomination_id: str, text: str) -> Held:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise _Rejected(422, "the body is not JSON") from None
        if not isinstance(document, dict):
            raise _Rejected(422, "the body must be an object")
        if document.get("brp") != self._brp:
            raise _Rejected(422, f"brp: must be {self._brp}")
        day = _day(document)
        portfolio = _string(document, "portfolio")
        if portfolio not in self._house.portfolios:
            raise _Rejected(422, "portfolio: unknown")
        content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        return Held(
            id=nomination_id,
            award=_string(document, "award"),
            portfolio=portfolio,
            connection_point=_string(document, "connectionPoint"),
            day=day,
            volumes=_volumes(document, day),
            content=content,
            reference=f"BRP-{day.day:%Y%m%d}-{hashlib.sha256(nomination_id.encode()).hexdigest()[:12]}",
        )


def _volumes(document: Mapping[str, object], day: DeliveryDay) -> dict[datetime, Decimal]:
    periods = document.get("periods")
    grid = day.grid()
    if not isinstance(periods, list) or len(periods) != grid.count:
        raise _Rejected(422, f"periods: must be the day's {grid.count} quarter-hours")
    volumes: dict[datetime, Decimal] = {}
    for index, (period, start) in enumerate(zip(periods, grid.starts(), strict=True)):
        if not isinstance(period, dict):
            raise _Rejected(422, f"periods[{index}]: must be an object")
        if _instant(period, "start") != start or _instant(period, "end") != start + grid.step:
            raise _Rejected(422, f"periods[{index}]: must be {start.isoformat()} for a quarter-hour")
        volumes[start] = _volume(period, index)
    return volumes


def _volume(period: Mapping[str, object], index: int) -> Decimal:
    value = period.get("volumeMw")
    try:
        volume = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        volume = Decimal("NaN")
    if not volume.is_finite():
        raise _Rejected(422, f"periods[{index}].volumeMw: must be a decimal number as text")
    return volume


def _instant(period: Mapping[str, object], name: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(str(period.get(name)))
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else None


def _day(document: Mapping[str, object]) -> DeliveryDay:
    try:
        day = date.fromisoformat(_string(document, "deliveryDay"))
    except ValueError:
        raise _Rejected(422, "deliveryDay: must be an ISO date") from None
    return DeliveryDay(day=day, zone=MARKET_ZONE)


def _string(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise _Rejected(422, f"{name}: must be a text")
    return value
