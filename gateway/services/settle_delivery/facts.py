"""Reads what happened on a delivery day: positions, meters, prices, limits, dispatches that were not followed, sessions."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray
from bidding.delivery.uncontrolled import uncontrolled_by_site
from bidding.fleet.sessions import SessionArrays, fit_to_horizon
from gateway.domain.bids import Award, Bid, Nomination, PlanRun
from gateway.domain.dispatch import DispatchOutcome, DispatchState
from gateway.domain.errors import NotFound, PreconditionFailed
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.residuals import in_force
from gateway.domain.sessions import Session
from gateway.domain.settlement import LEAST_COVERAGE, MeteredPeriod
from gateway.domain.timegrid import DeliveryDay, Interval, TimeGrid
from gateway.domain.topology import Charger, ConnectionPoint, Node, Portfolio
from gateway.domain.units import KW_PER_MW, QUARTER_HOUR
from gateway.ports import Store
from gateway.services.settle_delivery.prices import PriceBasis, PriceReader

ALL = 1_000_000
_CHUNK = 2_000
Meters = Mapping[str, tuple[MeteredPeriod | None, ...]]
"""Readings per connection point and delivery period; None where it was not read enough."""
_LOOKBACK = timedelta(days=1)
"""Cars that came the day before may still have charged after midnight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SettleSettings:
    """When a day is settled."""

    tenants: tuple[str, ...]
    settle_after: timedelta = timedelta(minutes=20)
    """After the end of the delivery day."""
    meter_patience: timedelta = timedelta(hours=2)
    """After the end of the delivery day: so long missing readings are waited for, then the position stands in."""
    days_back: int = 3
    """Past days that are looked at when settling without being asked."""
    remake_back: int = 60
    """Past days whose settlement is made again when its prices were revised, or when another source says otherwise of them."""
    sweep: timedelta = timedelta(minutes=5)
    deadline_s: float = 30.0
    """Real seconds for the model of uncontrolled charging."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """The site tree as far as settlement needs it."""

    parent: Mapping[str, str | None]
    """Of every node."""
    rating_kw: Mapping[str, float]
    point_of_site: Mapping[str, str]
    site_of_charger: Mapping[str, str]
    chargers_kw: Mapping[str, float]
    """Sum of the chargers' ratings below every node."""

    def above(self, node: str) -> list[str]:
        """Return a node and everything above it, nearest first."""
        chain: list[str] = []
        at: str | None = node
        while at is not None and at not in chain:
            chain.append(at)
            at = self.parent.get(at)
        return chain

    def points_under(self, node: str) -> dict[str, float]:
        """Return the connection points that a node touches and the share of each that hangs under it.

        A site and everything above it touches a point whole; a circuit by its share of the chargers' power.
        """
        found = {point: 1.0 for site, point in self.point_of_site.items() if node in self.above(site)}
        if found:
            return found
        for at in self.above(node):
            if at in self.point_of_site:
                total = self.chargers_kw.get(at, 0.0)
                share = self.chargers_kw.get(node, 0.0) / total if total > 0.0 else 0.0
                return {self.point_of_site[at]: share}
        return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class DayFacts:
    """Everything a delivery day of a portfolio is settled from."""

    portfolio: Portfolio
    grid: TimeGrid
    award: Award
    plan: PlanRun
    nominations: tuple[Nomination, ...]
    day_ahead: tuple[Decimal, ...]
    """Per delivery period, what the award cost."""
    basis: PriceBasis
    """The prices behind it."""
    meters: Meters
    late_limits: tuple[Limit, ...]
    """That came after the gate and applied on the day."""
    not_followed: Mapping[tuple[str, int], tuple[str, ...]]
    """Dispatches that were not followed, by connection point and delivery period."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UncontrolledInputs:
    """What the model of uncontrolled charging needs, in one picklable value."""

    sessions: SessionArrays
    energy_kwh: FloatArray
    room_kwh: FloatArray
    """Shape (S, T)."""
    lookback_slots: int


def model_uncontrolled(inputs: UncontrolledInputs) -> FloatArray:
    """Return what each site's chargers would have drawn without control in each delivery period, kWh, shape (S, periods)."""
    fitted = fit_to_horizon(inputs.sessions, inputs.room_kwh.shape[1])
    drawn, _ = uncontrolled_by_site(fitted.sessions, inputs.energy_kwh[fitted.kept_rows], inputs.room_kwh)
    return drawn[:, inputs.lookback_slots :]


@dataclass(slots=True)
class _SessionColumns:
    arrival: list[int] = field(default_factory=list)
    departure: list[int] = field(default_factory=list)
    rate_kwh: list[float] = field(default_factory=list)
    energy_kwh: list[float] = field(default_factory=list)
    site: list[int] = field(default_factory=list)


class FactReader:
    """Reads rows; judges nothing."""

    def __init__(self, store: Store) -> None:
        """Take the store."""
        self._store = store
        self.prices = PriceReader(store)

    async def sites(self, tenant: str) -> Sites:
        """Return the site tree."""
        nodes = [row.record for row in await self._store.find(Node, tenant, limit=ALL)]
        chargers = [row.record for row in await self._store.find(Charger, tenant, limit=ALL)]
        points = [row.record for row in await self._store.find(ConnectionPoint, tenant, limit=ALL)]
        parent = {node.id: node.parent for node in nodes}
        point_of_site = {point.site: point.id for point in points}
        bare = Sites(
            parent=parent,
            rating_kw={node.id: node.max_import_kw for node in nodes},
            point_of_site=point_of_site,
            site_of_charger={},
            chargers_kw={},
        )
        chain = {node.id: bare.above(node.id) for node in nodes}
        chargers_kw = dict.fromkeys(parent, 0.0)
        site_of_charger: dict[str, str] = {}
        for charger in chargers:
            for above in chain.get(charger.parent, ()):
                chargers_kw[above] += charger.max_import_kw
                if above in point_of_site:
                    site_of_charger.setdefault(charger.id, above)
        return Sites(
            parent=parent,
            rating_kw=bare.rating_kw,
            point_of_site=point_of_site,
            site_of_charger=site_of_charger,
            chargers_kw=chargers_kw,
        )

    async def day(self, tenant: str, portfolio_id: str, iso_day: str, sites: Sites) -> DayFacts:
        """Return the facts of a delivery day.

        Raises:
            NotFound: There is no such portfolio, or nothing was awarded for the day.
            PreconditionFailed: The imbalance prices of the day are not complete yet.
            RateMissing: They are in another currency than the award, and no rate is known.
        """
        award, _, plan = await self.award_of(tenant, portfolio_id, iso_day)
        portfolio = await self._store.get(Portfolio, tenant, portfolio_id)
        if portfolio is None:
            raise NotFound("portfolio", portfolio_id)
        day = DeliveryDay(day=datetime.fromisoformat(iso_day).date(), zone=portfolio.record.time_zone)
        grid = day.grid()
        rows = await self._store.find(Nomination, tenant, {"award": award.id}, limit=ALL)
        nominations = tuple(sorted((row.record for row in rows), key=lambda one: one.connection_point))
        basis = await self.prices.basis(tenant, portfolio.record.bidding_zone, day, award.currency)
        return DayFacts(
            portfolio=portfolio.record,
            grid=grid,
            award=award,
            plan=plan,
            nominations=nominations,
            day_ahead=award_prices(award, grid),
            basis=basis,
            meters={one.connection_point: await self.meters(tenant, one.connection_point, grid) for one in nominations},
            late_limits=await self._late_limits(tenant, plan, day.interval),
            not_followed=await self._not_followed(tenant, grid, sites),
        )

    async def award_of(self, tenant: str, portfolio_id: str, iso_day: str) -> tuple[Award, Bid, PlanRun]:
        """Return the award of a day with its bid and plan.

        Raises:
            NotFound: Nothing was awarded.
        """
        where = {"portfolio": portfolio_id, "delivery_day": iso_day}
        awards = await self._store.find(Award, tenant, where, newest_first=True, limit=1)
        if not awards:
            raise NotFound("award", f"{portfolio_id}:{iso_day}")
        bid = await self._store.get(Bid, tenant, awards[0].record.bid)
        plan = None if bid is None else await self._store.get(PlanRun, tenant, bid.record.plan)
        if bid is None or plan is None:
            raise NotFound("plan", awards[0].record.bid)
        return awards[0].record, bid.record, plan.record

    async def meters(self, tenant: str, point: str, grid: TimeGrid) -> tuple[MeteredPeriod | None, ...]:
        """Return the readings of a connection point per delivery period; None where it was not read enough."""
        rows = await self._store.find(
            MeteredPeriod, tenant, {"connection_point": point}, since=grid.start, until=grid.end, limit=ALL
        )
        read: list[MeteredPeriod | None] = [None] * grid.count
        for row in rows:
            if row.record.coverage >= LEAST_COVERAGE and row.record.end - row.record.start == grid.step:
                read[grid.index_of(row.record.start)] = row.record
        return tuple(read)

    async def _late_limits(self, tenant: str, plan: PlanRun, span: Interval) -> tuple[Limit, ...]:
        """Return the limits that applied on the day and were not in the plan, smallest first."""
        rows = await self._store.find(Limit, tenant, until=span.end, limit=ALL)
        late = [row.record for row in rows if obliges(row.record) and not was_planned_with(plan, row.record)]
        applied = [(limit, in_force(limit)) for limit in late]
        touching = [limit for limit, when in applied if when is not None and when.overlaps(span)]
        return tuple(sorted(touching, key=lambda limit: (limit.max_kw, limit.id)))

    async def _not_followed(self, tenant: str, grid: TimeGrid, sites: Sites) -> dict[tuple[str, int], tuple[str, ...]]:
        rows = await self._store.find(DispatchOutcome, tenant, since=grid.start, until=grid.end, limit=ALL)
        found: dict[tuple[str, int], list[str]] = {}
        for count, row in enumerate(rows):
            outcome = row.record
            if DispatchState.NOT_FOLLOWING in outcome.states:
                for charger, state in zip(outcome.charger_ids, outcome.states, strict=True):
                    site = sites.site_of_charger.get(charger)
                    if state == DispatchState.NOT_FOLLOWING and site is not None:
                        key = (sites.point_of_site[site], grid.index_of(outcome.at))
                        if outcome.batch not in found.setdefault(key, []):
                            found[key].append(outcome.batch)
            if count % _CHUNK == 0:
                await asyncio.sleep(0)
        return {key: tuple(batches) for key, batches in found.items()}

    async def uncontrolled_inputs(
        self, tenant: str, grid: TimeGrid, meters: Meters, sites: Sites, now: datetime
    ) -> UncontrolledInputs:
        """Return the sessions that really came, as they would have charged: from plug-in on, inside the site's rating.

        Sites are in the order of `meters`, whose other load is taken off the rating.
        """
        points = list(meters)
        site_of = {point: site for site, point in sites.point_of_site.items()}
        lookback = _LOOKBACK // grid.step
        count = lookback + grid.count
        origin = grid.start - _LOOKBACK
        room = np.zeros((len(points), count))
        hours = grid.step_hours
        for index, point in enumerate(points):
            other = [0.0] * lookback + [_other_kwh(meter) for meter in meters[point]]
            room[index] = np.maximum(sites.rating_kw[site_of[point]] * hours - np.array(other), 0.0)
        columns = _SessionColumns()
        rows = await self._store.find(Session, tenant, since=origin, until=grid.end, limit=ALL)
        index_of = {point: index for index, point in enumerate(points)}
        for begin in range(0, len(rows), _CHUNK):
            for row in rows[begin : begin + _CHUNK]:
                site = sites.site_of_charger.get(row.record.charger)
                if site is not None and sites.point_of_site[site] in index_of:
                    _append(columns, row.record, index_of[sites.point_of_site[site]], origin, now)
            await asyncio.sleep(0)
        sessions = SessionArrays(
            arrival_slot=np.array(columns.arrival, dtype=np.int64),
            departure_slot=np.array(columns.departure, dtype=np.int64),
            rate_kwh_per_slot=np.array(columns.rate_kwh),
            energy_min_kwh=np.array(columns.energy_kwh),
            energy_max_kwh=np.array(columns.energy_kwh),
            site_index=np.array(columns.site, dtype=np.int64),
        )
        return UncontrolledInputs(
            sessions=sessions, energy_kwh=sessions.energy_max_kwh, room_kwh=room, lookback_slots=lookback
        )


def positions_kw(nominations: Iterable[Nomination], grid: TimeGrid) -> dict[str, FloatArray]:
    """Return the position of every connection point as mean power per delivery period."""
    found: dict[str, FloatArray] = {}
    for nomination in nominations:
        power = found.setdefault(nomination.connection_point, np.zeros(grid.count))
        for period in nomination.periods:
            if grid.start <= period.start < grid.end:
                first = grid.index_of(period.start)
                power[first : first + (period.end - period.start) // grid.step] = float(period.volume_mw) * KW_PER_MW
    return found


def power_under_kw(positions: Mapping[str, FloatArray], shares: Mapping[str, float], grid: TimeGrid) -> FloatArray:
    """Return the position of what hangs under a node, per delivery period, given its share of each connection point."""
    total = np.zeros(grid.count)
    for point, share in shares.items():
        if point in positions:
            total += share * positions[point]
    return total


def obliges(limit: Limit) -> bool:
    """Tell whether a limit obliged us while it was in force, withdrawn later or not."""
    return (
        limit.kind is LimitKind.LIMIT and limit.direction is Direction.IMPORT and limit.binding is not Binding.VOLUNTARY
    )


def was_planned_with(plan: PlanRun, limit: Limit) -> bool:
    """Tell whether a plan respected a limit as it is now: one that was changed since came after it."""
    return limit.id in plan.limits and limit.known_at <= plan.known_until


def award_prices(award: Award, grid: TimeGrid) -> tuple[Decimal, ...]:
    """Return the price of the award per delivery period.

    Raises:
        PreconditionFailed: The award does not cover a period of the day.
    """
    prices: list[Decimal | None] = [None] * grid.count
    for period in award.periods:
        for index in range((period.start - grid.start) // grid.step, (period.end - grid.start) // grid.step):
            if 0 <= index < grid.count:
                prices[index] = period.price_per_mwh
    known = [price for price in prices if price is not None]
    if len(known) != grid.count:
        raise PreconditionFailed(f"the award covers {len(known)} of {grid.count} delivery periods")
    return tuple(known)


def _other_kwh(meter: MeteredPeriod | None) -> float:
    return 0.0 if meter is None else meter.energy_kwh - meter.chargers_kwh


def _append(columns: _SessionColumns, session: Session, site: int, origin: datetime, now: datetime) -> None:
    """Append a session as it would have charged; what it took is what it was given, or asked for while it is there."""
    energy = session.delivered_kwh
    if session.departure is None and session.energy_needed_kwh is not None:
        energy = max(energy, session.energy_needed_kwh)
    left = session.departure or session.expected_departure or now
    first = (session.arrival - origin) // QUARTER_HOUR
    columns.arrival.append(first)
    columns.departure.append(max(first + 1, -((origin - left) // QUARTER_HOUR)))
    columns.rate_kwh.append(session.max_power_kw * QUARTER_HOUR.total_seconds() / 3600.0)
    columns.energy_kwh.append(energy)
    columns.site.append(site)
