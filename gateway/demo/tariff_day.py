"""A day that is bought on a tariff: waits for its schedules and, at the end, for its meters, and writes the summary.

Nothing is bid there. The numbers are the gateway's own, asked over gRPC as an operator would.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

import aiohttp
import grpc

from gateway.client import Gateway
from gateway.clock import FileClock
from gateway.demo.autopilot import CALL_SECONDS, PLAN_REAL_SECONDS, SETTLE_REAL_SECONDS, Autopilot
from gateway.domain.errors import PeerUnavailable
from gateway.v1 import bidding_service_pb2 as bidding
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import evidence_service_pb2 as evidence
from gateway.v1 import fleet_service_pb2 as fleet_pb
from gateway.v1 import market_data_service_pb2 as market_data

AnswerT = TypeVar("AnswerT")
CENT = Decimal("0.01")
METER_PATIENCE = timedelta(hours=2)
"""In market time after the end of the day: then the summary says how many readings are missing."""
_LOOK_SECONDS = 0.25
_NOT_YET = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE})


async def wait_for_schedules(pilot: Autopilot, say: Callable[[str], None]) -> None:
    """Wait until every site has a schedule for the day, and say what the plan says.

    Raises:
        PeerUnavailable: There is none in time.
    """
    try:
        async with asyncio.timeout(PLAN_REAL_SECONDS), pilot.acting_as("operator") as gateway:
            points = await pilot.patiently(
                lambda: gateway.fleet.ListConnectionPoints(fleet_pb.ListConnectionPointsRequest(), timeout=CALL_SECONDS)
            )
            sites = [point.site_id for point in points.connection_points]
            traces = [await _scheduled(gateway, f"{site}:{pilot.day}") for site in sites]
    except TimeoutError as error:
        raise PeerUnavailable(f"no schedules after {PLAN_REAL_SECONDS:.0f} s") from error
    for step in _steps(traces, "plan"):
        say(step.summary)
    say(f"Schedules for {pilot.day} are ready at {', '.join(sites)}; nothing is bid on a tariff")


async def tariff_summary(pilot: Autopilot, clock: FileClock) -> dict[str, Any]:
    """Wait for the meters of the day and return the summary.

    Raises:
        PeerUnavailable: The gateway has no costs of the day in time.
    """
    async with pilot.acting_as("operator") as gateway, aiohttp.ClientSession() as http:
        costs = await _metered(pilot, gateway, clock)
        states = await gateway.dispatch.ListDispatchStates(
            dispatch.ListDispatchStatesRequest(only_not_following=True), timeout=CALL_SECONDS
        )
        async with http.get(f"{pilot.fleet_url}/state") as answer:
            fleet = await answer.json()
        points = await gateway.fleet.ListConnectionPoints(fleet_pb.ListConnectionPointsRequest(), timeout=CALL_SECONDS)
        traces = [await _scheduled(gateway, f"{point.site_id}:{pilot.day}") for point in points.connection_points]
        zone = market_data.GetCarbonRequest(zone=pilot.market.zone, delivery_day=pilot.day)
        prices = market_data.GetPricesRequest(
            zone=pilot.market.zone, delivery_day=pilot.day, product=market_data.PRICE_PRODUCT_TARIFF_ENERGY
        )
        return summarise_tariff_day(
            market=pilot.market.name,
            delivery_day=pilot.day,
            market_time=clock.now(),
            costs=costs,
            prices=await gateway.market_data.GetPrices(prices, timeout=CALL_SECONDS),
            carbon=await gateway.market_data.GetCarbon(zone, timeout=CALL_SECONDS),
            bids=(await gateway.bidding.ListBids(_day(pilot), timeout=CALL_SECONDS)).bids,
            troubles=states.chargers,
            fleet=fleet,
            plan=_steps(traces, "plan"),
            audit=await gateway.evidence.VerifyAudit(evidence.VerifyAuditRequest(), timeout=CALL_SECONDS),
        )


def summarise_tariff_day(  # noqa: PLR0913  # one argument per part of the summary
    *,
    market: str,
    delivery_day: str,
    market_time: datetime,
    costs: bidding.GetTariffCostResponse,
    prices: market_data.GetPricesResponse,
    carbon: market_data.GetCarbonResponse,
    bids: Sequence[bidding.Bid],
    troubles: Sequence[dispatch.ChargerDispatch],
    fleet: Mapping[str, Any],
    plan: Sequence[evidence.TraceStep],
    audit: evidence.VerifyAuditResponse,
) -> dict[str, Any]:
    """Return energy, cost and CO2 against uncontrolled charging, who missed out, who did not follow, and the audit.

    Energies in kWh, money positive paid, CO2 in kg. What is modelled says so in its key; money saved counts the energy that
    was charged at the mean price that uncontrolled charging would have had, so that less energy is no saving.
    """
    return {
        "market": market,
        "delivery_day": delivery_day,
        "market_time": market_time.isoformat(),
        "bid": bids[0].id if bids else None,
        "plan": [step.summary for step in plan],
        "tariff": {"source": prices.source, "currency": prices.currency_code, "note": prices.note},
        "carbon": {
            "source": carbon.source,
            "kind": market_data.CarbonKind.Name(carbon.kind),
            "quality": market_data.Quality.Name(carbon.quality),
        },
        "energy": _energy(costs),
        "cost": _cost(costs),
        "co2": _co2(costs),
        "drivers": {
            "missed_departures": fleet["missed_departure_count"],
            "of_these_left_early": fleet["missed_early_count"],
            "missed_kwh": fleet["missed_kwh"],
            "ended_sessions": fleet["ended_count"],
        },
        "chargers_not_following": {
            "count": len(troubles),
            "first": [{"charger": row.charger_id, "likely_cause": row.likely_cause} for row in troubles[:5]],
        },
        "fleet": dict(fleet),
        "audit": {"entries": audit.entry_count, "is_intact": audit.is_intact, "head_hash": audit.head_hash},
    }


def _energy(costs: bidding.GetTariffCostResponse) -> dict[str, Any]:
    return {
        "charged_kwh": str(_sum(point.charged_kwh for point in costs.points).quantize(CENT)),
        "uncontrolled_kwh_modelled": str(_sum(point.uncontrolled_kwh for point in costs.points).quantize(CENT)),
        "metered_periods": sum(point.metered_period_count for point in costs.points),
        "periods": costs.period_count * len(costs.points),
    }


def _cost(costs: bidding.GetTariffCostResponse) -> dict[str, Any]:
    cost = _sum(point.cost for point in costs.points)
    uncontrolled = _sum(point.uncontrolled_cost for point in costs.points)
    charged_kwh = _sum(point.charged_kwh for point in costs.points)
    uncontrolled_kwh = _sum(point.uncontrolled_kwh for point in costs.points)
    like_for_like = charged_kwh * uncontrolled / uncontrolled_kwh if uncontrolled_kwh else Decimal(0)
    return {
        "currency": costs.currency_code,
        "energy_cost": str(cost.quantize(CENT)),
        "uncontrolled_cost_modelled": str(uncontrolled.quantize(CENT)),
        "uncontrolled_cost_of_charged_energy_modelled": str(like_for_like.quantize(CENT)),
        "saved_modelled": str((like_for_like - cost).quantize(CENT)),
    }


def _co2(costs: bidding.GetTariffCostResponse) -> dict[str, Any] | None:
    """Return the CO2 of the day; None when the intensity of a period is not known somewhere."""
    known = [point for point in costs.points if point.HasField("emissions_kg")]
    known = [point for point in known if point.HasField("uncontrolled_emissions_kg")]
    if not known or len(known) < len(costs.points):
        return None
    return {
        "marginal_kg_modelled": round(sum(point.emissions_kg for point in known), 3),
        "uncontrolled_marginal_kg_modelled": round(sum(point.uncontrolled_emissions_kg for point in known), 3),
    }


async def _metered(pilot: Autopilot, gateway: Gateway, clock: FileClock) -> bidding.GetTariffCostResponse:
    """Return the costs once readings and carbon are what they stay, or when they were waited for long enough."""
    request = bidding.GetTariffCostRequest(portfolio_id=pilot.market.portfolio, delivery_day=pilot.day)
    async with asyncio.timeout(SETTLE_REAL_SECONDS):
        while True:
            is_final = await _has_final_carbon(pilot, gateway)
            costs: bidding.GetTariffCostResponse | None = await _unless_early(
                lambda: gateway.bidding.GetTariffCost(request, timeout=CALL_SECONDS)
            )
            if costs is not None:
                is_metered = all(point.metered_period_count == costs.period_count for point in costs.points)
                if (is_metered and is_final) or clock.now() > pilot.timeline.delivery_end + METER_PATIENCE:
                    return costs
            await asyncio.sleep(_LOOK_SECONDS)


async def _has_final_carbon(pilot: Autopilot, gateway: Gateway) -> bool:
    """Tell whether the day's carbon is what really was, no forecast any more."""
    request = market_data.GetCarbonRequest(zone=pilot.market.zone, delivery_day=pilot.day)
    carbon: market_data.GetCarbonResponse | None = await _unless_early(
        lambda: gateway.market_data.GetCarbon(request, timeout=CALL_SECONDS)
    )
    return carbon is not None and carbon.quality == market_data.QUALITY_FINAL


async def _scheduled(gateway: Gateway, schedule_id: str) -> evidence.GetTraceResponse:
    """Return the trace of a schedule as soon as it exists."""
    request = evidence.GetTraceRequest(kind="schedule", id=schedule_id)
    while True:
        trace: evidence.GetTraceResponse | None = await _unless_early(
            lambda: gateway.evidence.GetTrace(request, timeout=CALL_SECONDS)
        )
        if trace is not None:
            return trace
        await asyncio.sleep(_LOOK_SECONDS)


async def _unless_early(call: Callable[[], Awaitable[AnswerT]]) -> AnswerT | None:
    """Return the answer; None when the gateway does not have it yet or is being restarted."""
    try:
        return await call()
    except grpc.aio.AioRpcError as error:
        if error.code() in _NOT_YET:
            return None
        raise


def _steps(traces: Sequence[evidence.GetTraceResponse], kind: str) -> list[evidence.TraceStep]:
    return list({step.id: step for trace in traces for step in trace.steps if step.kind == kind}.values())


def _day(pilot: Autopilot) -> bidding.ListBidsRequest:
    return bidding.ListBidsRequest(delivery_day=pilot.day)


def _sum(texts: Iterable[str]) -> Decimal:
    return sum((Decimal(text) for text in texts), Decimal(0))
