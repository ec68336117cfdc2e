"""The order of a portfolio for one delivery day: how much at which price, per delivery period.

The volume of each connection point falls into tranches:

- what must run there and then, because the site's other load or a car without any choice draws it: at the market's maximum
  price;
- what was planned there because it is cheapest there: up to the highest price that the sessions drawing there see anywhere
  in their windows, plus a margin. Above that, every other slot of their windows is cheaper even at today's forecast;
- what no car needs but is paid to take: at a price of zero.

All three are prices of energy alone: what the site pays on top in that slot is subtracted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from bidding.arrays import FloatArray, sum_by
from bidding.fleet.flexibility import FlexibilityTable, power_bounds
from bidding.fleet.sessions import SessionArrays
from bidding.optimum.disaggregation import SessionSchedule
from bidding.optimum.site_plan import SiteFlexibility, SitePlan
from bidding.orders.bid_check import check_curves, require_sound
from bidding.orders.curves import MarketRules, Tranche, demand_curve, round_to_lots
from gateway.domain.bids import BidPeriod, energy_mwh
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import TimeGrid
from gateway.domain.units import KW_PER_MW

DRAW_TOLERANCE_KWH = 1e-9
"""A set point below this is rounding: it does not make a session 'draw' in a slot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayAheadOrder:
    """What to buy: one curve per delivery period, exact decimals, ready for review."""

    periods: tuple[BidPeriod, ...]
    """One per delivery period of the day, in order."""
    rounding_error_mwh: float
    """Planned minus ordered energy over the day, when everything is awarded."""

    @property
    def energy_mwh(self) -> Decimal:
        """Energy when everything is awarded, in MWh."""
        return sum((energy_mwh(p.max_volume_mw, p.start, p.end) for p in self.periods), Decimal(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class TooSmallToBid:
    """The portfolio cannot fill one lot in any delivery period; the tariff is optimised instead."""

    peak_mw: float
    """Largest planned volume of a delivery period."""
    min_volume_mw: Decimal
    """Smallest volume of the market."""

    @property
    def reason(self) -> str:
        """One sentence for people."""
        return f"the largest planned volume is {self.peak_mw:.3f} MW, the market takes {self.min_volume_mw} MW or more"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteOffer:
    """The tranches of one connection point, per slot of the planning grid, in MW and EUR per MWh."""

    must_run_mw: FloatArray
    flexible_mw: FloatArray
    flexible_limit_eur_per_mwh: FloatArray
    optional_mw: FloatArray
    optional_limit_eur_per_mwh: FloatArray
    capability_mw: FloatArray
    """Most the connection point can draw: its limit, or everything behind it at once."""

    @property
    def volume_mw(self) -> FloatArray:
        """The planned draw of the connection point."""
        return self.must_run_mw + self.flexible_mw + self.optional_mw


def offer_of(
    site: SiteFlexibility, plan: SitePlan, price_eur_per_mwh: FloatArray, margin_eur_per_mwh: float, step_hours: float
) -> SiteOffer:
    """Split the planned draw of a connection point into its tranches.

    Args:
        site: What was planned for.
        plan: Its plan.
        price_eur_per_mwh: Energy price per slot that was planned with.
        margin_eur_per_mwh: What the flexible tranche may cost above its dearest alternative; covers forecast errors.
        step_hours: Length of a slot.
    """
    sessions, schedule = plan.fitted.sessions, plan.session_schedule
    slot_count = len(price_eur_per_mwh)
    all_in = price_eur_per_mwh + site.shift_eur_per_mwh
    least, most = power_bounds(FlexibilityTable.build(sessions, slot_count))
    drawn = plan.flexible_kw * step_hours
    optional = np.minimum(_optional_kwh(sessions, schedule, all_in), drawn)
    # When needs had to give way there is no alternative left anywhere: everything must run.
    forced = drawn if plan.is_best_effort else np.minimum(least, drawn - optional)
    per_mwh = 1.0 / (step_hours * KW_PER_MW)
    dearest = _dearest_alternative(sessions, schedule, all_in)
    return SiteOffer(
        must_run_mw=forced * per_mwh + site.load_kw / KW_PER_MW,
        flexible_mw=(drawn - optional - forced) * per_mwh,
        flexible_limit_eur_per_mwh=dearest + margin_eur_per_mwh - site.shift_eur_per_mwh,
        optional_mw=optional * per_mwh,
        optional_limit_eur_per_mwh=-site.shift_eur_per_mwh,
        capability_mw=np.minimum(np.maximum(site.cap_kw, site.load_kw), site.load_kw + most / step_hours) / KW_PER_MW,
    )


def make_order(
    offers: Sequence[SiteOffer], grid: TimeGrid, delivery: slice, rules: MarketRules
) -> DayAheadOrder | TooSmallToBid:
    """Return the order of a portfolio for the delivery slots of the planning grid.

    Args:
        offers: Tranches of each connection point.
        grid: Planning grid.
        delivery: Its slots of the delivery day.
        rules: What the auction accepts.

    Raises:
        InvalidInput: The delivery day is not a whole number of delivery periods.
        BidRejected: The independent check refused the order.
    """
    per_period = rules.slots_per_period
    if (delivery.stop - delivery.start) % per_period:
        raise InvalidInput("market.slots_per_period", "does not divide the delivery day")
    volume = _per_period(sum((offer.volume_mw for offer in offers), np.zeros(grid.count)), delivery, per_period)
    peak = float(np.max(np.abs(volume)))
    if peak < float(rules.min_volume_mw):
        return TooSmallToBid(peak_mw=peak, min_volume_mw=rules.min_volume_mw)
    capability = _per_period(sum((offer.capability_mw for offer in offers), np.zeros(grid.count)), delivery, per_period)
    lots = round_to_lots(volume, rules.lot_mw, capability)
    periods = tuple(
        BidPeriod(
            start=grid.start + grid.step * first,
            end=grid.start + grid.step * (first + per_period),
            curve=demand_curve(_tranches(offers, slice(first, first + per_period), rules), count, rules),
        )
        for first, count in zip(range(delivery.start, delivery.stop, per_period), lots, strict=True)
    )
    step = grid.step * per_period
    day = TimeGrid(start=grid.start + grid.step * delivery.start, step=step, count=len(lots))
    require_sound(check_curves(periods, rules, day, capability))
    ordered = float(rules.lot_mw) * float(np.sum(lots))
    hours = per_period * grid.step_hours
    return DayAheadOrder(periods=periods, rounding_error_mwh=(float(volume.sum()) - ordered) * hours)


def _tranches(offers: Sequence[SiteOffer], slots: slice, rules: MarketRules) -> list[Tranche]:
    """Return the tranches of all sites in one delivery period; its slots share the volume evenly."""
    share = 1.0 / (slots.stop - slots.start)
    found: list[Tranche] = []
    for offer in offers:
        for slot in range(slots.start, slots.stop):
            found += (
                Tranche(limit_price_per_mwh=rules.max_price_per_mwh, volume_mw=float(offer.must_run_mw[slot]) * share),
                Tranche(
                    limit_price_per_mwh=rules.legal_price(offer.flexible_limit_eur_per_mwh[slot]),
                    volume_mw=float(offer.flexible_mw[slot]) * share,
                ),
                Tranche(
                    limit_price_per_mwh=rules.legal_price(offer.optional_limit_eur_per_mwh[slot]),
                    volume_mw=float(offer.optional_mw[slot]) * share,
                ),
            )
    return [tranche for tranche in found if tranche.volume_mw != 0.0]


def _per_period(values: FloatArray, delivery: slice, per_period: int) -> FloatArray:
    means: FloatArray = values[delivery].reshape(-1, per_period).mean(axis=1)
    return means


def _dearest_alternative(sessions: SessionArrays, schedule: SessionSchedule, price: FloatArray) -> FloatArray:
    """Return per slot the highest price in the windows of the sessions that draw there; the slot's own where none does."""
    slot_count = len(price)
    highest = np.full((slot_count, slot_count), -np.inf)
    for arrival in range(slot_count):
        highest[arrival, arrival:] = np.maximum.accumulate(price[arrival:])
    in_window = highest[sessions.arrival_slot, sessions.departure_slot - 1]
    drawing = schedule.energy_kwh > DRAW_TOLERANCE_KWH
    dearest = price.copy()
    np.maximum.at(dearest, schedule.slot[drawing], in_window[schedule.row[drawing]])
    return dearest


def _optional_kwh(sessions: SessionArrays, schedule: SessionSchedule, price: FloatArray) -> FloatArray:
    """Return per slot the draw beyond what sessions need: the dearest part of each session's schedule."""
    if not np.any(sessions.energy_min_kwh < sessions.energy_max_kwh):
        return np.zeros(len(price))
    row = schedule.row
    order = np.lexsort((schedule.slot, price[schedule.slot], row))
    energy = schedule.energy_kwh[order]
    running = np.cumsum(energy)
    before = np.concatenate([[0.0], running])[schedule.offset[:-1]]
    charged = running - before[row[order]]
    beyond = np.clip(charged - sessions.energy_min_kwh[row[order]], 0.0, energy)
    beyond[beyond < DRAW_TOLERANCE_KWH] = 0.0
    return sum_by(schedule.slot[order], beyond, len(price))
