"""The trader's pages: tomorrow's order as chart and table, checks, and the two people's decisions."""

from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from gateway.domain.bids import Award, Bid, PlanRun
from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.identity import Permission, Principal
from gateway.domain.timegrid import DeliveryDay
from gateway.web import trader_view
from gateway.web.rooms import TEMPLATES, Login, Rooms, SameOrigin, WebRooms, go_to, iso_day
from gateway.web.sessions import require_csrf
from gateway.web.spreadsheet import csv_answer

router = APIRouter(prefix="/trader")


@router.get("")
async def today(rooms: Rooms, session: Login) -> Response:
    """Open tomorrow's delivery day."""
    tomorrow = DeliveryDay.containing(rooms.clock.now(), rooms.time_zone).next()
    return RedirectResponse(f"/trader/{tomorrow.day.isoformat()}", status_code=303)


@router.get("/{day}")
async def trader_page(request: Request, rooms: Rooms, session: Login, day: str) -> Response:
    """Show one delivery day."""
    context = await _context(rooms, session.principal, _iso(day))
    return TEMPLATES.TemplateResponse(request, "trader.html", {**context, "session": session})


@router.get("/{day}/bid")
async def bid_fragment(request: Request, rooms: Rooms, session: Login, day: str) -> Response:
    """Return the part of the page that changes, for htmx."""
    context = await _context(rooms, session.principal, _iso(day))
    return TEMPLATES.TemplateResponse(request, "_bid.html", {**context, "session": session})


@router.get("/{day}/gate")
async def gate_fragment(request: Request, rooms: Rooms, session: Login, day: str) -> Response:
    """Return the countdown to the gate, for htmx."""
    bid = await _newest_bid(rooms, session.principal, _iso(day))
    context: dict[str, object] = {"market_time": _market_time(rooms), "clock_alarm": rooms.submitter.clock_alarm}
    if bid is not None:
        now = rooms.clock.now()
        context["gate"] = trader_view.gate_countdown(bid.gate_closure, now)
        context["urgency"] = trader_view.gate_urgency(bid.gate_closure, now)
    return TEMPLATES.TemplateResponse(request, "_gate.html", context)


@router.get("/{day}/series")
async def series(rooms: Rooms, session: Login, day: str) -> Response:
    """Return the chart's columns."""
    bid = await _newest_bid(rooms, session.principal, _iso(day))
    if bid is None:
        return JSONResponse({"x": []})
    plan = await _plan(rooms, session.principal, bid)
    award = await _award(rooms, session.principal, bid)
    return JSONResponse({**trader_view.chart_columns(bid, plan, award), "time_zone": bid.time_zone})


@router.get("/{day}/bid.csv")
async def bid_csv(rooms: Rooms, session: Login, day: str) -> Response:
    """Export exactly what the table shows, with the bid's id and hash."""
    bid = await _newest_bid(rooms, session.principal, _iso(day))
    if bid is None:
        raise NotFound("bid", day)
    award = await _award(rooms, session.principal, bid)
    plan = await _plan(rooms, session.principal, bid)
    rows = trader_view.period_rows(bid, plan, award)
    lines = trader_view.csv_lines(bid, rows, () if plan is None else plan.inputs)
    return csv_answer(lines, f"bid-{bid.delivery_day}-v{bid.version}.csv")


@router.post("/{day}/plan", dependencies=[SameOrigin])
async def plan(
    request: Request,
    rooms: Rooms,
    session: Login,
    day: str,
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Plan the day anew and draft a bid from it."""
    require_csrf(session, csrf)
    await rooms.planner.plan(
        session.principal, portfolio_id=rooms.portfolio, delivery_day=_iso(day), request_id=request_id
    )
    return go_to(request, f"/trader/{_iso(day)}")


@router.post("/{day}/revise", dependencies=[SameOrigin])
async def revise(request: Request, rooms: Rooms, session: Login, day: str) -> Response:
    """Make a new version with the volumes typed into the table."""
    form = await request.form()
    require_csrf(session, str(form.get("csrf", "")))
    bid = await rooms.reviewer.get(session.principal, str(form.get("bid_id", "")))
    volumes = [str(form.get(f"volume_{index}", "")) for index in range(len(bid.periods))]
    await rooms.reviewer.revise(
        session.principal,
        bid_id=bid.id,
        periods=trader_view.revised_periods(bid, await rooms.reviewer.planned(session.principal, bid), volumes),
        request_id=str(form.get("request_id", "")),
    )
    return go_to(request, f"/trader/{_iso(day)}")


@router.post("/{day}/decide", dependencies=[SameOrigin])
async def decide(  # noqa: PLR0913, PLR0917  # one argument per form field
    request: Request,
    rooms: Rooms,
    session: Login,
    day: str,
    action: Annotated[str, Form()],
    bid_id: Annotated[str, Form()],
    content_hash: Annotated[str, Form()],
    request_id: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Propose, approve, reject or withdraw exactly the version that was shown."""
    require_csrf(session, csrf)
    who, review = session.principal, rooms.reviewer
    match action:
        case "propose":
            await review.propose(who, bid_id=bid_id, content_hash=content_hash, request_id=request_id)
        case "approve":
            await review.approve(who, bid_id=bid_id, content_hash=content_hash, request_id=request_id)
        case "reject":
            await review.reject(who, bid_id=bid_id, reason=reason, request_id=request_id)
        case "withdraw":
            await review.withdraw(who, bid_id=bid_id, reason=reason, request_id=request_id)
        case _:
            raise InvalidInput("action", "must be propose, approve, reject or withdraw")
    return go_to(request, f"/trader/{_iso(day)}")


async def _context(rooms: WebRooms, principal: Principal, day: str) -> dict[str, object]:
    bid = await _newest_bid(rooms, principal, day)
    context: dict[str, object] = {"day": day, "portfolio": rooms.portfolio, "bid": bid, "rooms": rooms}
    context["market_time"] = _market_time(rooms)
    context["clock_alarm"] = rooms.submitter.clock_alarm
    context["request_id"] = rooms.ids.new("page")
    context["can_plan"] = trader_view.may_plan(bid, principal)
    context["last_plan"] = await _last_plan(rooms, principal, day)
    if bid is None:
        return context
    plan = await _plan(rooms, principal, bid)
    award = await _award(rooms, principal, bid)
    nominations = await rooms.submitter.nominations(principal, day)
    residuals = await rooms.settler.residuals(principal, day, rooms.time_zone)
    now = rooms.clock.now()
    contradicted = [] if plan is None else await rooms.reviewer.contradicted_days(principal, plan.id)
    return {
        **context,
        "contradicted": contradicted,
        "plan": plan,
        "award": award,
        "rows": trader_view.period_rows(bid, plan, award),
        "gate": trader_view.gate_countdown(bid.gate_closure, now),
        "urgency": trader_view.gate_urgency(bid.gate_closure, now),
        "actions": trader_view.actions(bid, principal, now),
        "nominations": trader_view.nomination_counts(nominations),
        "residuals": residuals,
        "exposure": trader_view.exposure(residuals).quantize(Decimal("0.01")),
        "money": trader_view.money_line(
            # Another portfolio's money may be in another currency.
            [one for one in await rooms.settler.positions(principal, day) if one.portfolio == bid.portfolio]
        ),
    }


async def _newest_bid(rooms: WebRooms, principal: Principal, day: str) -> Bid | None:
    bids = await rooms.reviewer.list_bids(principal, day)
    return max(bids, key=lambda bid: bid.version, default=None)


async def _plan(rooms: WebRooms, principal: Principal, bid: Bid) -> PlanRun | None:
    row = await rooms.store.get(PlanRun, principal.tenant, bid.plan)
    return None if row is None else row.record


async def _last_plan(rooms: WebRooms, principal: Principal, day: str) -> str:
    """Return when the day was last planned and how that ended, in words; empty before."""
    if not principal.may(Permission.BID_READ):
        return ""
    where = {"portfolio": rooms.portfolio, "delivery_day": day}
    rows = await rooms.store.find(PlanRun, principal.tenant, where)
    newest = max((row.record for row in rows), key=lambda one: one.made_at, default=None)
    return "" if newest is None else trader_view.plan_text(newest, ZoneInfo(rooms.time_zone))


async def _award(rooms: WebRooms, principal: Principal, bid: Bid) -> Award | None:
    try:
        award = await rooms.submitter.award(principal, bid.portfolio, bid.delivery_day)
    except NotFound:
        return None
    return award if award.bid == bid.id else None


def _market_time(rooms: WebRooms) -> str:
    return f"{rooms.clock.now().astimezone(ZoneInfo(rooms.time_zone)):%a %d %b %Y %H:%M:%S}"


def _iso(day: str) -> str:
    return iso_day(day).isoformat()
