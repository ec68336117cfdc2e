"""The settler: every delivery period of every connection point, in money, to the last digit."""

import dataclasses
from datetime import datetime
from decimal import Decimal

from bidding.arrays import FloatArray
from bidding.delivery.settlement import KWH_PER_MWH, SECONDS_PER_HOUR, DeliveryFacts, SettledDay, settle_day
from gateway.domain.bids import Award, Nomination, Residual
from gateway.domain.errors import Conflict, NotFound, PreconditionFailed, RateMissing, Unavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.limits import Limit
from gateway.domain.residuals import in_force
from gateway.domain.series import MarketDayStatus
from gateway.domain.settlement import PeriodEvidence, SettledPeriod, Settlement, TariffDay, causes_of_deviation
from gateway.domain.timegrid import DeliveryDay
from gateway.domain.topology import Portfolio
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store, Worker
from gateway.services.settle_delivery.facts import (
    DayFacts,
    FactReader,
    SettleSettings,
    Sites,
    model_uncontrolled,
    positions_kw,
    power_under_kw,
)
from gateway.services.settle_delivery.residuals import ResidualFinder
from gateway.services.settle_delivery.tariff import read_tariff_facts, tariff_day
from gateway.wakeup import woken_by

_LOG = logger("settle_delivery")
_MOST_CAUSES = 50
_KWH_DIGITS = 6


class Settler:
    """Settles delivery days and keeps the residuals of late limits."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids, worker: Worker, settings: SettleSettings) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids
        self._worker = worker
        self._settings = settings
        self._reader = FactReader(store)
        self._residuals = ResidualFinder(store, clock, ids, self._reader)
        self._looked_back_at: dict[str, datetime] = {}
        """When older settlements were held against today's prices, by tenant."""

    # ------------------------------------------------------------ what people ask

    async def positions(self, principal: Principal, delivery_day: str) -> list[Settlement]:
        """Return the settled days of all connection points, by connection point.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        rows = await self._store.find(Settlement, principal.tenant, {"delivery_day": delivery_day})
        return sorted((row.record for row in rows), key=lambda one: one.connection_point)

    async def residuals(self, principal: Principal, delivery_day: str, time_zone: str) -> list[Residual]:
        """Return the residuals that begin on a delivery day.

        Raises:
            PermissionRefused: The caller may not read bids.
        """
        principal.require(Permission.BID_READ)
        span = DeliveryDay(day=datetime.fromisoformat(delivery_day).date(), zone=time_zone).interval
        rows = await self._store.find(Residual, principal.tenant, since=span.start, until=span.end)
        return [row.record for row in rows]

    async def tariff_cost(self, principal: Principal, portfolio_id: str, delivery_day: str) -> TariffDay:
        """Return what a delivery day that was bought on a tariff cost so far, against uncontrolled charging.

        Raises:
            PermissionRefused: The caller may not read bids.
            NotFound: There is no such portfolio.
            PreconditionFailed: The portfolio trades and is settled instead, the day is not over, or its prices are not known.
        """
        principal.require(Permission.BID_READ)
        facts = await read_tariff_facts(self._reader, self._store, principal.tenant, portfolio_id, delivery_day)
        if self._clock.now() < facts.grid.end:
            raise PreconditionFailed("the delivery day is not over")
        sites = await self._reader.sites(principal.tenant)
        inputs = await self._reader.uncontrolled_inputs(
            principal.tenant, facts.grid, facts.meters, sites, self._clock.now()
        )
        uncontrolled: FloatArray = await self._worker.run(
            model_uncontrolled, inputs, deadline_s=self._settings.deadline_s
        )
        return tariff_day(facts, uncontrolled)

    async def find_residuals(self, limit: Limit) -> list[Residual]:
        """Return what a limit makes impossible of what was bought before it came, and keep it; empty when nothing."""
        return await self._residuals.find(limit)

    async def settle(self, principal: Principal, portfolio: str, delivery_day: str) -> list[Settlement]:
        """Settle a delivery day; again when readings or prices were revised, with the same result when they were not.

        Cash of a period: position times what the award cost, plus (metered - position) times the imbalance price. Where the
        meter is missing, the position stands in and the cause says so. The cost of uncontrolled charging is modelled.

        Raises:
            PermissionRefused: The caller may not write market records.
            NotFound: Nothing was awarded for the day.
            PreconditionFailed: The day is not over, or its imbalance prices or meters are not there yet.
            RateMissing: Imbalance prices are in another currency than the award, and no rate is known.
        """
        principal.require(Permission.MARKET_WRITE)
        sites = await self._reader.sites(principal.tenant)
        facts = await self._reader.day(principal.tenant, portfolio, delivery_day, sites)
        self._require_over(facts)
        inputs = await self._reader.uncontrolled_inputs(
            principal.tenant, facts.grid, facts.meters, sites, self._clock.now()
        )
        uncontrolled: FloatArray = await self._worker.run(
            model_uncontrolled, inputs, deadline_s=self._settings.deadline_s
        )
        settled = [
            self._settlement(facts, sites, nomination, uncontrolled[index])
            for index, nomination in enumerate(facts.nominations)
        ]
        return [await self._keep(principal, facts, one) for one in settled]

    def _require_over(self, facts: DayFacts) -> None:
        now = self._clock.now()
        if now < facts.grid.end:
            raise PreconditionFailed("the delivery day is not over")
        missing = sum(meter is None for meters in facts.meters.values() for meter in meters)
        if missing and now < facts.grid.end + self._settings.meter_patience:
            raise PreconditionFailed(f"{missing} meter readings are still missing")

    def _settlement(
        self, facts: DayFacts, sites: Sites, nomination: Nomination, uncontrolled_kwh: FloatArray
    ) -> Settlement:
        point = nomination.connection_point
        day = settled_day(facts, nomination, uncontrolled_kwh)
        evidence = evidence_of(facts, sites, point, day)
        causes = causes_of_deviation(evidence)
        periods = tuple(
            SettledPeriod(
                start=start,
                end=start + facts.grid.step,
                position_mwh=line.position_mwh,
                metered_mwh=line.position_mwh if line.metered_mwh is None else line.metered_mwh,
                day_ahead_price_per_mwh=facts.day_ahead[index],
                imbalance_price_per_mwh=facts.basis.imbalance.of(
                    index, Decimal(0) if line.imbalance_mwh is None else line.imbalance_mwh
                ),
                day_ahead_cash=line.day_ahead_cash,
                imbalance_cash=Decimal(0) if line.imbalance_cash is None else line.imbalance_cash,
                cause=causes[index],
            )
            for index, (start, line) in enumerate(zip(facts.grid.starts(), day.lines, strict=True))
        )
        return Settlement(
            id=f"{point}:{facts.award.delivery_day}",
            tenant=facts.portfolio.tenant,
            portfolio=facts.portfolio.id,
            connection_point=point,
            delivery_day=facts.award.delivery_day,
            currency=facts.award.currency,
            periods=periods,
            day_ahead_cash=day.day_ahead_cash,
            imbalance_cash=day.imbalance_cash,
            uncontrolled_cash=Decimal(0) if day.uncontrolled_cash is None else day.uncontrolled_cash,
            settled_at=self._clock.now(),
            causes=links_of(facts, nomination, evidence, causes),
            price_doubts=facts.basis.doubts,
            conversions=facts.basis.conversions,
        )

    async def _keep(self, principal: Principal, facts: DayFacts, settlement: Settlement) -> Settlement:
        """Write a settlement unless it says the same as the one that is there."""
        row = await self._store.get(Settlement, principal.tenant, settlement.id)
        if row is not None and dataclasses.replace(row.record, settled_at=settlement.settled_at) == settlement:
            return row.record
        reason = ""
        if row is not None:
            reason = facts.basis.why_other(row.record) or "readings, limits or dispatches were added or revised"
        entry = AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=settlement.settled_at,
            actor=principal.actor,
            action="settlement.make" if row is None else "settlement.revise",
            object_kind="settlement",
            object_id=settlement.id,
            causes=(f"award:{facts.award.id}", *(f"series:{series}" for series in facts.basis.series)),
            detail={
                "day_ahead_cash": str(settlement.day_ahead_cash),
                "imbalance_cash": str(settlement.imbalance_cash),
                "currency": settlement.currency,
                "price_doubts": "; ".join(settlement.price_doubts),
                "conversions": "; ".join(settlement.conversions),
                **({"reason": reason} if reason else {}),
            },
        )
        put = Put(record=settlement, expected_version=0 if row is None else row.version)
        await self._store.apply(Batch(tenant=principal.tenant, puts=(put,), audit=(entry,)))
        return settlement

    # ------------------------------------------------------------ the loop

    async def run(self) -> None:
        """Keep residuals as limits come and go, and settle each day once it is over and known, until cancelled."""
        async with woken_by(self._store, self._clock, (Limit, Award, MarketDayStatus)) as wake:
            while True:
                for tenant in self._settings.tenants:
                    await self._tend(tenant)
                await wake.wait(self._clock.now() + self._settings.sweep)

    async def _tend(self, tenant: str) -> None:
        try:
            await self._residuals.sweep(tenant)
            for row in await self._store.find(Portfolio, tenant):
                for day in self._days_to_settle(row.record):
                    await self._settle_once(row.record, day)
            await self._remake_older(tenant)
        except (Conflict, Unavailable, TimeoutError) as error:
            _LOG.warning("settling_waits", tenant=tenant, reason=str(error))

    async def _remake_older(self, tenant: str) -> None:
        """Settle older days again whose prices are others now; looked at once in every sweep, because they seldom are."""
        now = self._clock.now()
        last = self._looked_back_at.get(tenant)
        if last is not None and now < last + self._settings.sweep:
            return
        self._looked_back_at[tenant] = now
        for row in await self._store.find(Portfolio, tenant):
            today = DeliveryDay.containing(now, row.record.time_zone)
            for back in range(self._settings.days_back + 1, self._settings.remake_back + 1):
                await self._settle_once(row.record, today.next(-back).day.isoformat(), only_again=True)

    def _days_to_settle(self, portfolio: Portfolio) -> list[str]:
        now = self._clock.now()
        today = DeliveryDay.containing(now, portfolio.time_zone)
        days = [today.next(-back) for back in range(1, self._settings.days_back + 1)]
        ready = [day for day in days if now >= day.next().interval.start + self._settings.settle_after]
        return [day.day.isoformat() for day in ready]

    async def _settle_once(self, portfolio: Portfolio, iso_day: str, *, only_again: bool = False) -> None:
        """Settle a day unless it is settled from what is known now; `only_again` leaves out days that never were."""
        where = {"portfolio": portfolio.id, "delivery_day": iso_day}
        settled_before = await self._store.find(Settlement, portfolio.tenant, where, limit=1)
        if not settled_before and only_again:
            return
        if settled_before and await self._is_current(settled_before[0].record, portfolio, iso_day):
            return
        try:
            settled = await self.settle(system_principal(portfolio.tenant, "settlement"), portfolio.id, iso_day)
        except RateMissing as error:
            _LOG.warning("not_settled_without_rate", portfolio=portfolio.id, day=iso_day, reason=str(error))
            return
        except (NotFound, PreconditionFailed) as error:
            _LOG.debug("not_settled_yet", portfolio=portfolio.id, day=iso_day, reason=str(error))
            return
        total = sum((one.day_ahead_cash + one.imbalance_cash for one in settled), Decimal(0))
        _LOG.info("settled", portfolio=portfolio.id, day=iso_day, count=len(settled), cash=str(total))

    async def _is_current(self, settlement: Settlement, portfolio: Portfolio, iso_day: str) -> bool:
        """Tell whether a settlement was made from the prices that count now, and from what is known of them.

        Imbalance prices are revised until they are final, day-ahead prices sometimes; a second source may contradict either.
        """
        day = DeliveryDay(day=datetime.fromisoformat(iso_day).date(), zone=portfolio.time_zone)
        try:
            basis = await self._reader.prices.basis(portfolio.tenant, portfolio.bidding_zone, day, settlement.currency)
        except PreconditionFailed:
            return True
        why = basis.why_other(settlement)
        if why:
            _LOG.info("settlement_out_of_date", settlement=settlement.id, reason=why)
        return not why


def settled_day(facts: DayFacts, nomination: Nomination, uncontrolled_kwh: FloatArray) -> SettledDay:
    """Return the delivery periods of a connection point in energy and cash."""
    grid = facts.grid
    meters = facts.meters[nomination.connection_point]
    hours = Decimal(int(grid.step.total_seconds())) / SECONDS_PER_HOUR
    position = {period.start: period.volume_mw for period in nomination.periods}
    rows = []
    for index, start in enumerate(grid.starts()):
        meter = meters[index]
        other = 0.0 if meter is None else meter.energy_kwh - meter.chargers_kwh
        bought_mw = position.get(start, Decimal(0))
        metered_kwh = None if meter is None else exact_kwh(meter.energy_kwh)
        deviation = Decimal(0) if metered_kwh is None else metered_kwh - bought_mw * hours * KWH_PER_MWH
        rows.append(
            DeliveryFacts(
                position_mw=bought_mw,
                day_ahead_price_per_mwh=facts.day_ahead[index],
                metered_kwh=metered_kwh,
                imbalance_price_per_mwh=facts.basis.imbalance.of(index, deviation),
                uncontrolled_kwh=exact_kwh(float(uncontrolled_kwh[index]) + other),
            )
        )
    return settle_day(grid, rows)


def exact_kwh(energy_kwh: float) -> Decimal:
    """Return a measured or modelled energy as a decimal, to the milliwatt-hour; from here on nothing is rounded."""
    return Decimal(str(round(energy_kwh, _KWH_DIGITS)))


def evidence_of(facts: DayFacts, sites: Sites, point: str, day: SettledDay) -> list[PeriodEvidence]:
    """Return what is known about each delivery period of a connection point."""
    positions = positions_kw(facts.nominations, facts.grid)
    held: list[list[str]] = [[] for _ in range(facts.grid.count)]
    for limit in facts.late_limits:
        shares, span = sites.points_under(limit.node), in_force(limit)
        if point not in shares or span is None:
            continue
        bought_kw = power_under_kw(positions, shares, facts.grid)
        for index in range(facts.grid.count):
            if bought_kw[index] > limit.max_kw and span.overlaps(facts.grid.slot(index)):
                held[index].append(limit.id)
    return [
        PeriodEvidence(
            position_kwh=float(line.position_mwh) * 1000.0,
            metered_kwh=None if line.metered_mwh is None else float(line.metered_mwh) * 1000.0,
            limits=tuple(held[index]),
            not_followed=facts.not_followed.get((point, index), ()),
        )
        for index, line in enumerate(day.lines)
    ]


def links_of(
    facts: DayFacts, nomination: Nomination, evidence: list[PeriodEvidence], causes: tuple[str, ...]
) -> tuple[str, ...]:
    """Return what a settlement follows from: its position, its prices, what came between, its readings."""
    between = dict.fromkeys(cause.removeprefix("after-") for cause in causes if ":" in cause)
    for period in evidence:
        between |= dict.fromkeys(f"dispatch:{batch}" for batch in period.not_followed)
    readings = [f"metered:{one.id}" for one in facts.meters[nomination.connection_point] if one is not None]
    return (
        f"nomination:{nomination.id}",
        f"award:{facts.award.id}",
        *(f"series:{series}" for series in facts.basis.series),
        *list(between)[:_MOST_CAUSES],
        *readings,
    )
