"""Reads what is known at an instant about a portfolio: its tree, its sessions, its prices, its limits. Nothing later goes in."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import numpy as np

from bidding.arrays import FloatArray
from bidding.forecasts.prices import PastPrices
from bidding.forecasts.sessions import SessionHistory
from bidding.optimum.decomposition import SearchLimits
from bidding.optimum.optimise import OptimiserOptions
from bidding.optimum.site_plan import DemandTariff
from bidding.orders.curves import MarketRules
from bidding.plans.portfolio_plan import PointInputs, PortfolioInputs, PresentSessions
from gateway.domain.capacity import obliges, site_caps_kw
from gateway.domain.errors import InvalidInput, NotFound, PreconditionFailed
from gateway.domain.fleet import FleetView
from gateway.domain.limits import Limit
from gateway.domain.market_time_units import day_ahead_product
from gateway.domain.price_doubts import UsedDay, judged_days
from gateway.domain.series import MarketDayStatus, PriceProduct, PriceSeries, market_day_id
from gateway.domain.sessions import Session, SessionState
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.site_tariff import SiteTariff
from gateway.domain.timegrid import DeliveryDay, TimeGrid, zone_of
from gateway.domain.topology import Charger, ConnectionPoint, Node, Portfolio, Route
from gateway.domain.units import QUARTER_HOUR
from gateway.domain.used_inputs import UsedInput, known_carbon, published_prices, site_layers
from gateway.ports import Store
from gateway.services.plan_bids.carbon import CarbonShift, carbon_shift
from gateway.services.plan_bids.currencies import in_own_currency, require_own_currency
from gateway.services.plan_bids.session_columns import CHUNK, SessionColumns, ended_into
from gateway.services.plan_bids.settings import PlanSettings
from gateway.services.plan_bids.site_costs import demand_of, layer_shift

ALL = 1_000_000
"""A limit for reads of whole tables: more rows than any portfolio has."""
_READ_SPAN = timedelta(hours=6)
_TRUSTED_COVERAGE = 0.9
_SOONER_PER_MWH_AND_HOUR = 0.05
"""Over two days 2.4 per MWh: well below the steps of tariffs."""
_COMPLETE_FROM = timedelta(hours=6)
"""A first day counts as complete when its first session arrives before this time of the day."""


def planned_product(portfolio: Portfolio) -> PriceProduct:
    """Return which prices energy costs: those of the supply contract without a route to a market, else those of the zone's auction."""
    return (
        PriceProduct.TARIFF_ENERGY
        if portfolio.route is Route.TARIFF_ONLY
        else day_ahead_product(portfolio.bidding_zone)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """A portfolio and everything below it."""

    portfolio: Portfolio
    nodes: tuple[Node, ...]
    chargers: tuple[Charger, ...]
    points: tuple[ConnectionPoint, ...]
    """In the order of their ids: the order of all arrays per point."""
    point_of_charger: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Knowledge:
    """What goes into a plan, and the ids of the rows it came from."""

    inputs: PortfolioInputs
    limits: tuple[str, ...]
    price_series: Mapping[str, PriceSeries]
    """By ISO day, for the days of the horizon that are published."""
    carbon_series: str | None
    price_days: tuple[UsedDay, ...] = ()
    """Market days from the past that forecasts look at to the delivery day, oldest first; what nobody expects yet is left out."""
    used: tuple[UsedInput, ...] = ()
    """Published prices of the delivery day, carbon and tariff that went in, with their quality."""


class KnowledgeReader:
    """Reads rows; computes nothing that takes longer than its rows."""

    def __init__(self, store: Store, settings: PlanSettings, fleet: Callable[[str], FleetView] | None = None) -> None:
        """Take the store and, where there is one, the live fleet, which knows delivered energy better than rows do."""
        self._store = store
        self._settings = settings
        self._fleet = fleet

    async def scope(self, tenant: str, portfolio_id: str) -> Scope:
        """Return a portfolio with its nodes, chargers and connection points.

        Raises:
            NotFound: This tenant has no such portfolio.
        """
        portfolio = await self._store.get(Portfolio, tenant, portfolio_id)
        if portfolio is None:
            raise NotFound("portfolio", portfolio_id)
        nodes = _below(portfolio_id, [row.record for row in await self._store.find(Node, tenant, limit=ALL)])
        inside = {node.id for node in nodes}
        chargers = [row.record for row in await self._store.find(Charger, tenant, limit=ALL)]
        points = [row.record for row in await self._store.find(ConnectionPoint, tenant, limit=ALL)]
        mine = tuple(sorted((point for point in points if point.site in inside), key=lambda point: point.id))
        own_chargers = tuple(charger for charger in chargers if charger.parent in inside)
        return Scope(
            portfolio=portfolio.record,
            nodes=nodes,
            chargers=own_chargers,
            points=mine,
            point_of_charger=_points_of_chargers(nodes, own_chargers, mine),
        )

    async def has_past(self, scope: Scope, now: datetime) -> bool:
        """Tell whether there is a past to forecast from, and no charging platform is still filling it in."""
        tenant, zone = scope.portfolio.tenant, scope.portfolio.time_zone
        today = DeliveryDay.containing(now, zone)
        for days_ago in (2, 3, 7):
            span = today.next(-days_ago).interval
            rows = await self._store.find(Session, tenant, since=span.start, until=span.end, limit=ALL)
            if days_ago == 2 and not rows:
                return False
            meters = await self._store.find(MeteredPeriod, tenant, since=span.start, until=span.end, limit=ALL)
            quiet_since = now - self._settings.history_quiet
            if any(at > quiet_since for at in [*(row.written_at for row in rows), *(row.written_at for row in meters)]):
                return False
        known = await self._prices(tenant, scope.portfolio, today, today)
        return bool(known)

    async def published(self, portfolio: Portfolio, day: DeliveryDay) -> PriceSeries | None:
        """Return the published prices of a delivery day; None while they are not complete."""
        found = await self._prices_between(portfolio.tenant, portfolio, day, day)
        return found.get(day.day.isoformat())

    async def read(self, scope: Scope, day: DeliveryDay, now: datetime, market: MarketRules | None) -> Knowledge:
        """Return everything a plan of a delivery day needs; `market` is None for a portfolio on a tariff.

        Raises:
            PreconditionFailed: The delivery day has begun.
            RateMissing: Prices are in another currency than the portfolio, and no exchange rate is known.
        """
        tenant = scope.portfolio.tenant
        grid = planning_grid(day, now, self._settings)
        limits = await self._limits(tenant, scope, grid)
        today = DeliveryDay.containing(now, day.zone)
        past = today.next(-self._settings.history_days)
        looked_at = await self._market_days(tenant, scope.portfolio, past, day.next())
        require_own_currency(scope.portfolio, looked_at)
        published = _complete(looked_at, scope.portfolio)
        other_kw = await self._other_load(tenant, scope, grid, now)
        carbon = await carbon_shift(
            self._store, tenant, scope.portfolio.bidding_zone, grid, self._settings.carbon_eur_per_tonne
        )
        shift = self._shift(scope.portfolio, grid, carbon)
        demands = await self._demands(tenant, scope, day, now)
        caps = site_caps_kw(
            scope.nodes,
            scope.chargers,
            limits,
            grid,
            {point.site: load for point, load in zip(scope.points, other_kw, strict=True) if load is not None},
        )
        inputs = PortfolioInputs(
            grid=grid,
            delivery_day=day,
            known_until=now,
            points=tuple(
                PointInputs(
                    connection_point=point.id,
                    site_class=point.site_class,
                    cap_kw=caps[point.site],
                    other_load_kw=load,
                    price_shift_eur_per_mwh=shift,
                    demand_tariff=demand,
                )
                for point, load, demand in zip(scope.points, other_kw, demands, strict=True)
            ),
            history=await self._history(tenant, scope, now),
            present=await self._present(tenant, scope, now),
            prices=tuple(
                PastPrices(
                    day=DeliveryDay(day=DeliveryDay.containing(series.grid.start, day.zone).day, zone=day.zone),
                    price_eur_per_mwh=on_step(series, grid.step),
                )
                for series in published.values()
            ),
            market=market,
            holidays=self._settings.holidays,
            options=OptimiserOptions(limits=SearchLimits(relative_gap=self._settings.relative_gap)),
        )
        return Knowledge(
            inputs=inputs,
            limits=tuple(limit.id for limit in limits),
            price_series=published,
            carbon_series=None if carbon is None else carbon.latest.id,
            price_days=judged_days(looked_at, day),
            used=_used(published.get(day.day.isoformat()), carbon, self._settings.site_tariff, day),
        )

    async def _history(self, tenant: str, scope: Scope, now: datetime) -> SessionHistory:
        """Return the sessions that ended before now, as far back as forecasts may look."""
        today = DeliveryDay.containing(now, scope.portfolio.time_zone)
        since = today.next(-self._settings.history_days).interval.start
        columns, first = SessionColumns(), None
        start = since
        while start < now:
            end = min(start + _READ_SPAN, now)
            rows = await self._store.find(Session, tenant, since=start, until=end, limit=ALL)
            first = rows[0].record.arrival if rows and first is None else first
            await ended_into(columns, rows, scope.point_of_charger, now)
            start = end
        older = await self._store.find(Session, tenant, until=since, limit=1)
        return SessionHistory(
            covered_since=since if older else _first_whole_day(first, today, since),
            arrival_s=columns.integers("arrival_s"),
            departure_s=columns.integers("departure_s"),
            power_kw=columns.column("power_kw"),
            energy_kwh=columns.column("delivered_kwh"),
            site_index=columns.integers("point"),
            told_departure=columns.column("is_told") > 0.0,
        )

    async def _present(self, tenant: str, scope: Scope, now: datetime) -> PresentSessions:
        where = {"state": SessionState.PLUGGED_IN.value}
        rows = await self._store.find(Session, tenant, where, until=now, limit=ALL)
        live = self._delivered(tenant)
        columns = SessionColumns()
        for begin in range(0, len(rows), CHUNK):
            for row in rows[begin : begin + CHUNK]:
                session = row.record
                point = scope.point_of_charger.get(session.charger)
                if point is not None:
                    delivered = live.get(session.id, session.delivered_kwh)
                    columns.add(session, session.expected_departure, point, delivered)
            await columns.seal()
        return PresentSessions(
            arrival_s=columns.integers("arrival_s"),
            expected_departure_s=columns.column("departure_s"),
            power_kw=columns.column("power_kw"),
            energy_needed_kwh=columns.column("needed_kwh"),
            delivered_kwh=columns.column("delivered_kwh"),
            site_index=columns.integers("point"),
        )

    def _delivered(self, tenant: str) -> dict[str, float]:
        if self._fleet is None:
            return {}
        view = self._fleet(tenant)
        rows = np.flatnonzero(view.has_session).tolist()
        known = ((view.session_ids[row], float(view.delivered_kwh[row])) for row in rows)
        return {session: kwh for session, kwh in known if session is not None and not np.isnan(kwh)}

    async def _limits(self, tenant: str, scope: Scope, grid: TimeGrid) -> list[Limit]:
        rows = await self._store.find(Limit, tenant, until=grid.end, limit=ALL)
        inside = {node.id for node in scope.nodes}
        limits = (row.record for row in rows)
        return [
            limit
            for limit in limits
            if limit.node in inside
            and obliges(limit)
            and (limit.interval.end is None or limit.interval.end > grid.start)
        ]

    async def _prices(
        self, tenant: str, portfolio: Portfolio, today: DeliveryDay, last: DeliveryDay
    ) -> dict[str, PriceSeries]:
        """Return the complete published series from the past to a last day, by ISO day."""
        return await self._prices_between(tenant, portfolio, today.next(-self._settings.history_days), last)

    async def _prices_between(
        self, tenant: str, portfolio: Portfolio, first: DeliveryDay, last: DeliveryDay
    ) -> dict[str, PriceSeries]:
        return _complete(await self._market_days(tenant, portfolio, first, last), portfolio)

    async def _market_days(
        self, tenant: str, portfolio: Portfolio, first: DeliveryDay, last: DeliveryDay
    ) -> list[UsedDay]:
        """Return the days of a span that somebody looked at, oldest first."""
        found: list[UsedDay] = []
        day = first
        while day.day <= last.day:
            key = market_day_id(portfolio.bidding_zone, planned_product(portfolio), day)
            status = await self._store.get(MarketDayStatus, tenant, key)
            if status is not None:
                series_id = status.record.series_id
                row = None if series_id is None else await self._store.get(PriceSeries, tenant, series_id)
                found.append(UsedDay(status=status.record, series=None if row is None else row.record))
            day = day.next()
        return await in_own_currency(self._store, portfolio, found)

    async def _other_load(self, tenant: str, scope: Scope, grid: TimeGrid, now: datetime) -> list[FloatArray | None]:
        """Return the mean other load of each point by the time of day, or None where no meter was read."""
        since = now - timedelta(days=self._settings.other_load_days)
        loads: list[FloatArray | None] = []
        for point in scope.points:
            rows = await self._store.find(
                MeteredPeriod, tenant, {"connection_point": point.id}, since=since, until=now, limit=ALL
            )
            loads.append(mean_other_load_kw([row.record for row in rows], grid, scope.portfolio.time_zone))
        return loads

    def _shift(self, portfolio: Portfolio, grid: TimeGrid, carbon: CarbonShift | None) -> FloatArray | None:
        """Return what is added to the price of each slot: what carbon is worth, and the layers of the site's tariff."""
        shift = None if carbon is None else carbon.eur_per_mwh
        if portfolio.route is Route.TARIFF_ONLY:
            return sooner_is_better(grid) + (0.0 if shift is None else shift)
        if self._settings.site_tariff is not None:
            return self._layers(self._settings.site_tariff, grid, portfolio) + (0.0 if shift is None else shift)
        return shift

    def _layers(self, tariff: SiteTariff, grid: TimeGrid, portfolio: Portfolio) -> FloatArray:
        """Return what the layers of the site's tariff cost per slot; a plan that does not know them is not made."""
        try:
            return layer_shift(tariff, grid, portfolio.currency)
        except InvalidInput as error:
            raise PreconditionFailed(f"what the site pays is not known: {error}") from error

    async def _demands(self, tenant: str, scope: Scope, day: DeliveryDay, now: datetime) -> list[DemandTariff | None]:
        """Return what the highest power of each point costs, or None where it costs nothing."""
        tariff = self._settings.site_tariff
        if tariff is None:
            return [None] * len(scope.points)
        return [await demand_of(self._store, tenant, point.id, tariff, day.day, now) for point in scope.points]


def _used(
    prices: PriceSeries | None, carbon: CarbonShift | None, tariff: SiteTariff | None, day: DeliveryDay
) -> tuple[UsedInput, ...]:
    return (
        *(() if prices is None else (published_prices(prices),)),
        *(() if carbon is None else (known_carbon(series) for series in carbon.series)),
        *(() if tariff is None else (site_layers(tariff, day.day),)),
    )


def planning_grid(day: DeliveryDay, now: datetime, settings: PlanSettings) -> TimeGrid:
    """Return the slots that a plan covers: from now (at the earliest the planning time) to the noon after delivery.

    Raises:
        PreconditionFailed: The delivery day has begun.
    """
    if now >= day.interval.start:
        raise PreconditionFailed(f"the delivery day {day.day.isoformat()} has begun")
    midnight = day.interval.start
    slots_before = -((now - midnight) // QUARTER_HOUR)
    start = max(midnight - slots_before * QUARTER_HOUR, day.next(-1).at(settings.plan_at))
    end = day.next().at(settings.horizon_end)
    return TimeGrid(start=start, step=QUARTER_HOUR, count=(end - start) // QUARTER_HOUR)


def sooner_is_better(grid: TimeGrid) -> FloatArray:
    """Return a price that grows so slowly that it only decides between slots of the same price, per MWh and slot.

    A tariff has the same price for hours. Within them the earlier slot is the safer one: cars may leave before they said.
    """
    return np.asarray(np.arange(grid.count) * (_SOONER_PER_MWH_AND_HOUR * grid.step_hours), dtype=np.float64)


def _complete(days: Iterable[UsedDay], portfolio: Portfolio) -> dict[str, PriceSeries]:
    """Return the series of the days that are whole and in the portfolio's currency, by ISO day."""
    return {
        one.status.day: one.series
        for one in days
        if one.series is not None and one.series.is_complete and one.series.currency == portfolio.currency
    }


def on_step(series: PriceSeries, step: timedelta) -> FloatArray:
    """Return complete prices on a finer step: every part of an hour has the price of the hour."""
    return np.repeat(series.as_array(), series.grid.step // step)


def mean_other_load_kw(periods: Sequence[MeteredPeriod], grid: TimeGrid, zone: str) -> FloatArray | None:
    """Return the mean of what the meter showed beside the chargers, by the time of day, on a grid; None without readings."""
    trusted = [period for period in periods if period.coverage >= _TRUSTED_COVERAGE]
    if not trusted:
        return None
    by_clock: dict[time, list[float]] = {}
    for period in trusted:
        hours = (period.end - period.start).total_seconds() / 3600.0
        other_kw = (period.energy_kwh - period.chargers_kwh) / hours
        by_clock.setdefault(_wall_clock(period.start, zone), []).append(other_kw)
    means = {clock: float(np.mean(values)) for clock, values in by_clock.items()}
    overall = float(np.mean(list(means.values())))
    return np.array([means.get(_wall_clock(start, zone), overall) for start in grid.starts()])


def _wall_clock(instant: datetime, zone: str) -> time:
    return instant.astimezone(zone_of(zone)).time().replace(second=0, microsecond=0)


def _below(portfolio_id: str, nodes: Iterable[Node]) -> tuple[Node, ...]:
    """Return the portfolio's node and all nodes under it."""
    children: dict[str, list[Node]] = {}
    top: list[Node] = []
    for node in nodes:
        if node.id == portfolio_id:
            top.append(node)
        elif node.parent is not None:
            children.setdefault(node.parent, []).append(node)
    found: list[Node] = []
    while top:
        node = top.pop()
        found.append(node)
        top += children.get(node.id, [])
    return tuple(found)


def _points_of_chargers(
    nodes: Sequence[Node], chargers: Sequence[Charger], points: Sequence[ConnectionPoint]
) -> dict[str, int]:
    index_of_site = {point.site: index for index, point in enumerate(points)}
    parent = {node.id: node.parent for node in nodes}
    point_of_node: dict[str, int] = {}
    for node in nodes:
        above: str | None = node.id
        while above is not None and above not in index_of_site:
            above = parent.get(above)
        if above is not None:
            point_of_node[node.id] = index_of_site[above]
    return {charger.id: point_of_node[charger.parent] for charger in chargers if charger.parent in point_of_node}


def _first_whole_day(first: datetime | None, today: DeliveryDay, since: datetime) -> datetime:
    """Return from when on the history is complete when it has a beginning inside the window."""
    if first is None:
        return today.next().interval.start
    day = DeliveryDay.containing(first, today.zone)
    is_whole = first - day.interval.start < _COMPLETE_FROM
    return max(since, (day if is_whole else day.next()).interval.start)
