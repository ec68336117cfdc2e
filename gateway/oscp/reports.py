"""What a partner is told on our own account: limits that cannot be kept, a wish for more, and energy.

A compliance error leaves as soon as the dispatcher raises a shortfall, so that the provider learns it from us and not from its
meter. A wish for more leaves once per block. Registers grow by quarter-hours that were measured; an optimiser gets the power of each
charger.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.errors import VoltbridgeError
from gateway.domain.limits import Direction, Limit, LimitKind
from gateway.domain.oscp import OscpMessage, OscpRegister
from gateway.domain.timegrid import Interval, TimeGrid
from gateway.domain.topology import CapacityGroup
from gateway.domain.units import QUARTER_HOUR
from gateway.observe import logger
from gateway.oscp import link as links
from gateway.oscp.composing import Says, message_of
from gateway.oscp.forecasts import block_of
from gateway.oscp.names import (
    ADJUST_FORECAST,
    ASSET_MEASUREMENTS,
    COMPLIANCE_ERROR,
    GROUP_MEASUREMENTS,
    AssetCategory,
    CapacityUnit,
    EnergyFlow,
    EnergyType,
    EnergyUnit,
    ForecastType,
    MeasurementConfiguration,
    PeerRole,
    Phase,
)
from gateway.oscp.peer import OscpPeer
from gateway.oscp.receipts import request_of
from gateway.oscp.wire import (
    MOST_MEASUREMENTS,
    AssetMeasurement,
    EnergyMeasurement,
    GroupCapacityComplianceError,
    GroupCapacityForecast,
    InstantaneousMeasurement,
    UpdateAssetMeasurements,
    UpdateGroupMeasurements,
)
from gateway.ports import Batch, Put, UsageDesk
from gateway.wakeup import woken_by

LEAST_COVERAGE = 0.9
"""Share of a quarter-hour that must be measured to count at once."""
LEAST_WISH_KW = 0.5
"""Demand that exceeds a limit by less is not worth a message."""
_LOOK = timedelta(seconds=30)
_MOST_QUARTERS = 96
"""Caught up at a time."""
_CUT = "#"
_log = logger("oscp")


class Reports:
    """Tells one partner what it must know.

    Args:
        peer: The partner.
    """

    def __init__(self, peer: OscpPeer) -> None:
        self._peer = peer
        self._around = peer.around
        self._assets_at: datetime | None = None

    async def run(self) -> None:
        """Report until cancelled; a look that fails is made good by the next."""
        around = self._around
        async with woken_by(around.store, around.clock, (ComplianceShortfall, Limit)) as wake:
            while True:
                try:
                    await self.look()
                except VoltbridgeError as error:
                    _log.warning("reports wait", authority=self._peer.link.id, reason=str(error))
                await wake.wait(around.clock.now() + _LOOK)

    async def look(self) -> None:
        """Make up everything that is due now."""
        if links.is_lost(self._peer.link) and not self._peer.link.base_url:
            return
        role, groups = self._around.settings.role, await self._around.groups()
        if role is PeerRole.CAPACITY_PROVIDER:
            await self._tell_shortfalls({group.node: group.name for group in groups})
            for group in groups:
                await self._ask_for_more(group)
                await self._measure(group)
        elif role is PeerRole.CAPACITY_OPTIMIZER:
            await self._tell_assets(groups)

    # ---------------------------------------------------------------- limits

    async def _tell_shortfalls(self, names: dict[str, str]) -> None:
        """Say of each block that cannot be kept that it cannot, once each time, before the provider sees it at its meter."""
        where: dict[str, str | int] = {"authority": self._peer.link.id, "is_open": True}
        rows = await self._around.store.find(ComplianceShortfall, self._peer.link.tenant, where)
        for row in rows:
            shortfall = row.record
            if shortfall.node not in names:
                continue
            for limit_id, block in zip(shortfall.limit_ids, shortfall.blocks, strict=True):
                await self._tell_shortfall(shortfall, limit_id, block)

    async def _tell_shortfall(self, shortfall: ComplianceShortfall, limit_id: str, block: Interval) -> None:
        now = self._around.clock.now()
        stored = await self._around.store.get(Limit, shortfall.tenant, limit_id)
        answers = None if stored is None else request_of(stored.record.cause, self._peer.link.id)
        if answers is None:
            return
        cannot = block_of(shortfall.limit_kw, block, now + QUARTER_HOUR)
        body = GroupCapacityComplianceError(message=shortfall.reason, forecasted_blocks=(cannot,)).as_json()
        says = Says(
            about=f"shortfall:{limit_id.partition(_CUT)[0]}:{shortfall.raised_at:%Y%m%dT%H%M%S}",
            path=COMPLIANCE_ERROR,
            body=body,
            answers=answers,
            kept_for=max(cannot.end_time - now, QUARTER_HOUR),
        )
        await self._say_once(says, now)

    async def _ask_for_more(self, group: CapacityGroup) -> None:
        """Ask for what the cars would draw, once per block that allows less."""
        around, now = self._around, self._around.clock.now()
        demand_kw = around.facts.demand_kw(group.tenant, group.node)
        if demand_kw is None or not around.settings.asks_for_more:
            return
        stated = around.limit_desk.stated_by(group.tenant, self._peer.link.id)
        for limit in _limits_to_draw(stated, group.node, now):
            if demand_kw < limit.max_kw + LEAST_WISH_KW or limit.interval.end is None:
                continue
            wish = block_of(demand_kw, limit.interval, limit.interval.end)
            forecast = GroupCapacityForecast(
                group_id=group.name, type=ForecastType.CONSUMPTION, forecasted_blocks=(wish,)
            )
            says = Says(
                about=f"adjust:{limit.id.partition(_CUT)[0]}",
                path=ADJUST_FORECAST,
                body=forecast.as_json(),
                kept_for=limit.interval.end - now,
            )
            await self._say_once(says, now)

    async def _say_once(self, says: Says, now: datetime, *others: object) -> None:
        """Write a message unless the same thing was said before."""
        message = message_of(self._around, says, now)
        if await self._around.store.get(OscpMessage, message.tenant, message.id) is not None:
            return
        puts = (Put(record=message, expected_version=0), *(Put(record=other) for other in others))
        entry = self._around.entry("oscp.tell", now, {"message": says.path, "answers": says.answers})
        await self._around.store.apply(Batch(tenant=message.tenant, puts=puts, audit=(entry,)))
        self._peer.changed()

    # ---------------------------------------------------------------- energy

    async def _measure(self, group: CapacityGroup) -> None:
        """Let the group's register grow by the quarter-hours that are measured and tell the new values."""
        wanted, now = self._peer.link.measurements, self._around.clock.now()
        if not wanted:
            return
        register = await self._register(group, now)
        grown, values = await grow(register, group, self._around.usage_desk, self._peer, now)
        if not values:
            return
        says_since = MeasurementConfiguration.INTERMITTENT.value in wanted
        measurements = tuple(_value(one, since=register.since if says_since else None) for one in values)
        says = Says(
            about=f"energy:{group.name}:{grown.until:%Y%m%dT%H%M}",
            path=GROUP_MEASUREMENTS,
            body=UpdateGroupMeasurements(group_id=group.name, measurements=measurements).as_json(),
            kept_for=timedelta(days=1),
        )
        await self._say_once(says, now, replace(grown, told_at=grown.until))

    async def _register(self, group: CapacityGroup, now: datetime) -> OscpRegister:
        row = await self._around.store.get(OscpRegister, group.tenant, group.id)
        if row is not None:
            return row.record
        begin = _quarter_before(now)
        register = OscpRegister(
            id=group.id, tenant=group.tenant, authority=group.authority, since=begin, until=begin, energy_kwh=0.0
        )
        await self._around.store.apply(Batch(tenant=group.tenant, puts=(Put(record=register),)))
        return register

    async def _tell_assets(self, groups: Iterable[CapacityGroup]) -> None:
        """Tell an optimiser what every charger draws, every few minutes; nothing is said of chargers that nobody measured."""
        now, settings = self._around.clock.now(), self._around.settings
        if links.is_lost(self._peer.link) or (self._assets_at is not None and now < self._assets_at):
            return
        self._assets_at = now + settings.asset_every
        for group in groups:
            readings = self._around.facts.assets(group.tenant, group.node)[:MOST_MEASUREMENTS]
            if not readings:
                continue
            measurements = tuple(
                AssetMeasurement(
                    asset_id=one.asset,
                    asset_category=AssetCategory.CHARGING,
                    instantaneous_measurement=InstantaneousMeasurement(
                        value=round(one.power_kw, 3), phase=Phase.ALL, unit=CapacityUnit.KW, measure_time=one.at
                    ),
                )
                for one in readings
            )
            body = UpdateAssetMeasurements(group_id=group.name, measurements=measurements).as_json()
            about = f"assets:{group.name}:{now:%Y%m%dT%H%M%S}"
            says = Says(about=about, path=ASSET_MEASUREMENTS, body=body, kept_for=settings.asset_every)
            await self._say_once(says, now)


async def grow(
    register: OscpRegister, group: CapacityGroup, desk: UsageDesk, peer: OscpPeer, now: datetime
) -> tuple[OscpRegister, list[tuple[datetime, float]]]:
    """Return the register as far as quarter-hours are measured, and its value at the end of each that was added.

    A quarter-hour that is not measured holds the register up until the patience is over; then the register goes on without it, and
    no value is told for its end: unknown energy is not energy of zero.
    """
    settings = peer.around.settings
    count = min((_quarter_before(now) - register.until) // QUARTER_HOUR, _MOST_QUARTERS)
    if count < 1:
        return register, []
    grid = TimeGrid(start=register.until, step=QUARTER_HOUR, count=count)
    values: list[tuple[datetime, float]] = []
    energy_kwh, until = register.energy_kwh, register.until
    for reading in await desk.usage(peer.around.principal, group.node, grid):
        is_patient = now < reading.end + settings.measurement_patience
        is_known = reading.power_kw is not None and reading.coverage >= LEAST_COVERAGE
        if not is_known and is_patient:
            break
        if reading.power_kw is not None:
            energy_kwh += max(reading.power_kw, 0.0) * grid.step_hours
            values.append((reading.end, energy_kwh))
        else:
            _log.warning("a quarter-hour was not measured", authority=register.authority, end=str(reading.end))
        until = reading.end
    return replace(register, until=until, energy_kwh=energy_kwh), values


def _limits_to_draw(stated: Iterable[Limit], node: str, now: datetime) -> list[Limit]:
    return [
        limit
        for limit in stated
        if limit.node == node
        and limit.direction is Direction.IMPORT
        and limit.kind is LimitKind.LIMIT
        and limit.phase_max_kw is None
        and limit.covers(now)
    ]


def _value(at: tuple[datetime, float], *, since: datetime | None) -> EnergyMeasurement:
    return EnergyMeasurement(
        value=round(at[1], 3),
        phase=Phase.ALL,
        unit=EnergyUnit.KWH,
        direction=EnergyFlow.IMPORT,
        energy_type=EnergyType.FLEXIBLE,
        measure_time=at[0],
        initial_measure_time=since,
    )


def _quarter_before(now: datetime) -> datetime:
    seconds = QUARTER_HOUR.total_seconds()
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)
