"""Watches limits: what they make impossible of a position that was bought before they came, with its exposure in money."""

from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray
from gateway.domain.bids import Award, Bid, Nomination, PlanRun, Residual
from gateway.domain.errors import RateMissing
from gateway.domain.evidence import AuditEntry
from gateway.domain.limits import Limit
from gateway.domain.residuals import PositionAtRisk, Shortfall, in_force, shortfall_under
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store, Stored
from gateway.services.settle_delivery.facts import (
    ALL,
    FactReader,
    award_prices,
    obliges,
    positions_kw,
    power_under_kw,
    was_planned_with,
)

_LOG = logger("settle_delivery")
_ACTOR = "system:settlement"
_LOOK_BACK_DAYS = 7


class ResidualFinder:
    """Finds, keeps and corrects residuals; a limit that is withdrawn shrinks its residual."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, reader: FactReader) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._reader = reader
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    async def sweep(self, tenant: str) -> None:
        """Look at every limit that is new or changed since the last sweep, and at all of them after a new award."""
        awards = await self._store.find(Award, tenant, limit=ALL)
        if not awards:
            return
        horizon = max(period.end for row in awards for period in row.record.periods)
        for row in await self._store.find(Limit, tenant, until=horizon, limit=ALL):
            state = (row.version, len(awards))
            if self._seen.get((tenant, row.record.id)) != state:
                await self.find(row.record)
                self._seen[tenant, row.record.id] = state

    async def find(self, limit: Limit) -> list[Residual]:
        """Return the residual of a limit and keep it; empty when it costs nothing or was planned with."""
        if not obliges(limit):
            return []
        found = await self._shortfalls(limit)
        residual_id = f"{limit.node}:{limit.id}"
        row = await self._store.get(Residual, limit.tenant, residual_id)
        energy_mwh = sum((shortfall.energy_mwh for _, shortfall, _ in found), Decimal(0))
        if not found or (row is None and energy_mwh == 0):
            return []
        span = in_force(limit)
        award, _, basis = found[0]
        end = limit.interval.end if span is None else span.end
        residual = Residual(
            id=residual_id,
            tenant=limit.tenant,
            node=limit.node,
            limit=limit.id,
            start=limit.interval.start,
            end=max(period.end for period in award.periods) if end is None else end,
            energy_mwh=energy_mwh,
            exposure=sum((shortfall.exposure for _, shortfall, _ in found), Decimal(0)),
            currency=award.currency,
            basis=basis,
            found_at=self._clock.now() if row is None else row.record.found_at,
        )
        if row is None or row.record != residual:
            causes = (f"limit:{limit.id}", *(f"award:{one.id}" for one, _, _ in found))
            await self._keep(residual, None if row is None else row.version, causes)
        return [residual]

    async def _keep(self, residual: Residual, version: int | None, causes: tuple[str, ...]) -> None:
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=residual.tenant,
            at=self._clock.now(),
            actor=_ACTOR,
            action="residual.find" if version is None else "residual.change",
            object_kind="residual",
            object_id=residual.id,
            causes=causes,
            detail={
                "energy_mwh": str(residual.energy_mwh),
                "exposure": str(residual.exposure),
                "basis": residual.basis,
            },
        )
        put = Put(record=residual, expected_version=0 if version is None else version)
        await self._store.apply(Batch(tenant=residual.tenant, puts=(put,), audit=(entry,)))
        _LOG.info(
            "residual", limit=residual.limit, energy_mwh=str(residual.energy_mwh), exposure=str(residual.exposure)
        )

    async def _shortfalls(self, limit: Limit) -> list[tuple[Award, Shortfall, str]]:
        """Return what a limit makes impossible of every award that was planned without it."""
        sites = await self._reader.sites(limit.tenant)
        shares = sites.points_under(limit.node)
        span = limit.interval
        found: list[tuple[Award, Shortfall, str]] = []
        for row in await self._store.find(Award, limit.tenant, limit=ALL):
            award = row.record
            bid = await self._store.get(Bid, limit.tenant, award.bid)
            plan = None if bid is None else await self._store.get(PlanRun, limit.tenant, bid.record.plan)
            overlaps = award.periods[-1].end > span.start and (span.end is None or award.periods[0].start < span.end)
            if bid is None or plan is None or not overlaps or was_planned_with(plan.record, limit):
                continue
            day = DeliveryDay.containing(award.periods[0].start, bid.record.time_zone)
            grid = day.grid()
            nominations = await self._store.find(Nomination, limit.tenant, {"award": award.id}, limit=ALL)
            bought = positions_kw((one.record for one in nominations), grid)
            prices = np.array([float(price) for price in award_prices(award, grid)])
            assumed, basis = await self._assumed(award, bid.record.bidding_zone, day, grid)
            at_risk = _positions(grid, power_under_kw(bought, shares, grid), prices, assumed)
            shared = "" if all(share == 1.0 for share in shares.values()) else "; share of the site by charger power"
            found.append((award, shortfall_under(limit, at_risk), basis + shared))
        return found

    async def _assumed(self, award: Award, zone: str, day: DeliveryDay, grid: TimeGrid) -> tuple[FloatArray, str]:
        """Return what energy that cannot be drawn is assumed to bring per period, in the award's currency, and on what grounds."""
        tenant = award.tenant
        for back in range(1, _LOOK_BACK_DAYS + 1):
            past = day.next(-back)
            status = await self._imbalance_day(tenant, zone, past)
            if status is None or status.record.state is not DayState.COMPLETE or status.record.series_id is None:
                continue
            row = await self._store.get(PriceSeries, tenant, status.record.series_id)
            if row is None:
                continue
            each = row.record.grid.step // grid.step
            mean, told = float(np.repeat(row.record.as_array(), each).mean()), ""
            try:
                conversion = await self._reader.prices.conversion(tenant, row.record.currency, award.currency, past)
            except RateMissing as error:
                return np.zeros(grid.count), f"{error.problem}; the energy is assumed to bring nothing"
            if conversion is not None:
                mean, told = mean * float(conversion.factor), f", {conversion.told()}"
            grounds = f"mean imbalance price of {past.day.isoformat()}{told}: {mean:.2f} per MWh"
            return np.full(grid.count, mean), grounds
        return np.zeros(grid.count), "no imbalance price is known: the energy is assumed to bring nothing"

    async def _imbalance_day(self, tenant: str, zone: str, day: DeliveryDay) -> Stored[MarketDayStatus] | None:
        """Return the status of what a surplus brings on a day: the price of its direction, or the one price of both."""
        for product in (PriceProduct.IMBALANCE_LONG, PriceProduct.IMBALANCE):
            status = await self._store.get(MarketDayStatus, tenant, market_day_id(zone, product, day))
            if status is not None:
                return status
        return None


def _positions(grid: TimeGrid, power_kw: FloatArray, prices: FloatArray, assumed: FloatArray) -> list[PositionAtRisk]:
    return [
        PositionAtRisk(
            start=start,
            end=start + grid.step,
            power_kw=float(power_kw[index]),
            day_ahead_price_per_mwh=float(prices[index]),
            assumed_price_per_mwh=float(assumed[index]),
        )
        for index, start in enumerate(grid.starts())
    ]
