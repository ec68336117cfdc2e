"""The market page: prices and carbon of any day with where they come from, revisions, and years of prices at once."""

import asyncio
from datetime import date, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.identity import Permission, Principal
from gateway.domain.price_doubts import UsedDay, contradiction_in, kinds_of_doubt
from gateway.domain.series import CarbonSeries, MarketDayStatus, PriceProduct, PriceSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.services.gather_market_data import as_known, compared
from gateway.web import market_view
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to
from gateway.web.sessions import require_csrf

router = APIRouter(prefix="/market")
Product = Annotated[str, Query(max_length=40)]
Zone = Annotated[str, Query(max_length=40)]
_LATE_DAYS = timedelta(days=45)
"""Forecasts of prices look back for less."""


@router.get("")
async def today(rooms: Rooms, session: Login) -> Response:
    """Open today's delivery day."""
    day = DeliveryDay.containing(rooms.clock.now(), rooms.time_zone)
    return RedirectResponse(f"/market/{day.day.isoformat()}", status_code=303)


@router.get("/history")
async def history(rooms: Rooms, session: Login, zone: Zone = "", product: Product = "") -> Response:
    """Return all prices of a zone and product that are known now, as one block of numbers."""
    place = _place(rooms, zone, product)
    known = await rooms.price_histories.of(session.principal, *place)
    body = await asyncio.to_thread(market_view.packed_history, known, _time_zone(rooms, place[0]))
    return Response(body, media_type="application/octet-stream", headers={"Cache-Control": "no-store"})


@router.get("/{day}")
async def market_page(
    request: Request, rooms: Rooms, session: Login, day: str, zone: Zone = "", product: Product = ""
) -> Response:
    """Show one delivery day."""
    context = await _context(rooms, session.principal, day, _place(rooms, zone, product))
    return TEMPLATES.TemplateResponse(request, "market.html", {**context, "session": session})


@router.get("/{day}/now")
async def now_fragment(
    request: Request, rooms: Rooms, session: Login, day: str, zone: Zone = "", product: Product = ""
) -> Response:
    """Return the part of the page that changes, for htmx."""
    context = await _context(rooms, session.principal, day, _place(rooms, zone, product))
    return TEMPLATES.TemplateResponse(request, "_market.html", {**context, "session": session})


@router.get("/{day}/series")
async def series(rooms: Rooms, session: Login, day: str, zone: Zone = "", product: Product = "") -> Response:
    """Return the chart's columns."""
    place = _place(rooms, zone, product)
    delivery_day = DeliveryDay(day=_iso(day), zone=_time_zone(rooms, place[0]))
    prices = await _prices(rooms, session.principal, place, delivery_day)
    carbon = await _carbon(rooms, session.principal, place[0], delivery_day)
    return JSONResponse(market_view.chart_columns(prices, carbon, delivery_day.zone))


@router.post("/{day}/sources", dependencies=[SameOrigin])
async def ask_sources(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    day: str,
    zone: Annotated[str, Form(max_length=40)],
    product: Annotated[str, Form(max_length=40)],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Ask every source of the day now and show them side by side; nothing is kept."""
    require_csrf(session, csrf)
    place = _place(rooms, zone, product)
    delivery_day = DeliveryDay(day=_iso(day), zone=_time_zone(rooms, place[0]))
    answers = await rooms.price_opinions.ask(session.principal, *place, delivery_day)
    context = {
        "answers": answers,
        "verdicts": [one if isinstance(one, str) else one.told() for one in compared(answers)],
        "rows": market_view.source_rows(answers, delivery_day),
    }
    return TEMPLATES.TemplateResponse(request, "_sources.html", context)


@router.post("/{day}/acknowledge", dependencies=[SameOrigin])
async def acknowledge(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    day: str,
    zone: Annotated[str, Form(max_length=40)],
    product: Annotated[str, Form(max_length=40)],
    contradiction: Annotated[str, Form(max_length=64)],
    believed: Annotated[str, Form(max_length=100)],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Keep the word of who is logged in on the contradiction that was shown."""
    require_csrf(session, csrf)
    place = _place(rooms, zone, product)
    delivery_day = DeliveryDay(day=_iso(day), zone=_time_zone(rooms, place[0]))
    await rooms.contradictions.acknowledge(
        session.principal,
        place=(*place, delivery_day),
        contradiction=contradiction,
        believed=believed,
        reason=reason,
        request_id=request_id,
    )
    query = urlencode({"zone": place[0], "product": place[1].value})
    return go_to(request, f"/market/{delivery_day.day.isoformat()}?{query}")


async def _context(
    rooms: WebRooms, principal: Principal, day: str, place: tuple[str, PriceProduct]
) -> dict[str, object]:
    zone, product = place
    delivery_day = DeliveryDay(day=_iso(day), zone=_time_zone(rooms, zone))
    prices = await _prices(rooms, principal, place, delivery_day)
    carbon = await _carbon(rooms, principal, zone, delivery_day)
    in_force = None if prices is None else prices.id
    revisions = await rooms.market.revisions(principal, zone, product, delivery_day)
    status = await _status(rooms, principal, place, delivery_day)
    return {
        "day": delivery_day.day.isoformat(),
        "before": delivery_day.next(-1).day.isoformat(),
        "after": delivery_day.next().day.isoformat(),
        "zone": zone,
        "zones": sorted({*rooms.market.settings.time_zones, zone}),
        "product": product.value,
        "products": [one.value for one in PriceProduct],
        "prices": prices,
        "carbon": carbon,
        "status": status,
        "waiting": await _waiting(rooms, principal, status),
        "contradiction": None if status is None else contradiction_in(status),
        "may_acknowledge": principal.may(Permission.MARKET_ACKNOWLEDGE),
        "request_id": rooms.ids.new("page"),
        "doubts": () if status is None else kinds_of_doubt(UsedDay(status=status, series=prices)),
        "rows": market_view.market_rows(prices, carbon, delivery_day.zone),
        "revisions": market_view.revision_lines(revisions, in_force, delivery_day.zone),
        "time_zone": delivery_day.zone,
        "has_sources": place in rooms.market.price_source_counts,
    }


async def _prices(
    rooms: WebRooms, principal: Principal, place: tuple[str, PriceProduct], day: DeliveryDay
) -> PriceSeries | None:
    """Return the prices that count; of a day that was imported and never asked for, those known last."""
    try:
        return await rooms.market.prices(principal, *place, day)
    except NotFound:
        return as_known(await rooms.market.revisions(principal, *place, day), rooms.clock.now())


async def _waiting(rooms: WebRooms, principal: Principal, shown: MarketDayStatus | None) -> list[MarketDayStatus]:
    """Return the other days of late whose contradictions wait for a person's word."""
    since = rooms.clock.now() - _LATE_DAYS
    days = await rooms.contradictions.days(principal, since=since)
    return [status for status in days if shown is None or status.id != shown.id]


async def _carbon(rooms: WebRooms, principal: Principal, zone: str, day: DeliveryDay) -> CarbonSeries | None:
    try:
        return await rooms.market.carbon(principal, zone, day)
    except NotFound:
        return None


async def _status(
    rooms: WebRooms, principal: Principal, place: tuple[str, PriceProduct], day: DeliveryDay
) -> MarketDayStatus | None:
    try:
        return await rooms.market.day_status(principal, *place, day)
    except NotFound:
        return None


def _place(rooms: WebRooms, zone: str, product: str) -> tuple[str, PriceProduct]:
    """Return the zone and product asked for; without words the first that there is a price source for."""
    known = sorted(rooms.market.settings.time_zones)
    own = next(iter(rooms.market.price_source_counts), (known[0] if known else "", PriceProduct.DAY_AHEAD_SDAC))
    chosen = zone or own[0]
    if chosen not in known:
        raise NotFound("zone", chosen)
    try:
        return chosen, PriceProduct(product) if product else own[1]
    except ValueError as error:
        raise InvalidInput("product", "is not one that prices are kept of") from error


def _time_zone(rooms: WebRooms, zone: str) -> str:
    return rooms.market.settings.time_zones[zone]


def _iso(day: str) -> date:
    try:
        return date.fromisoformat(day)
    except ValueError as error:
        raise InvalidInput("day", "must be an ISO date") from error
