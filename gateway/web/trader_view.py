"""What the trader page shows, computed from rows: pure, without request or template."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from gateway.domain.bids import (
    OPEN_STATES,
    ORDERED_STATES,
    Award,
    Bid,
    BidPeriod,
    BidState,
    Nomination,
    NominationState,
    PlanRun,
    Residual,
)
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Permission, Principal
from gateway.domain.settlement import Settlement
from gateway.domain.used_inputs import InputKind, UsedInput, provenance, qualities
from gateway.web.spreadsheet import text_cell

EDITABLE = OPEN_STATES
"""States from which a trader may make a new version; what two people agreed on must be withdrawn first."""
WITHDRAWABLE = OPEN_STATES | {BidState.APPROVED}
_URGENT = timedelta(minutes=10)
_SOON = timedelta(minutes=30)
_CSV_HEAD = (
    "bid",
    "content_hash",
    "state",
    "start_utc",
    "local_start",
    "volume_mw",
    "curve",
    "plan_price_per_mwh",
    "awarded_mw",
    "clearing_price_per_mwh",
    "price_quality",
    "price_provenance",
    "carbon_quality",
    "carbon_provenance",
    "tariff_quality",
    "tariff_provenance",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodRow:
    """One delivery period in the table."""

    index: int
    label: str
    """Local begin with its UTC offset, so that the repeated hour of the October day is two different rows."""
    volume_mw: Decimal
    """What is bought at any price below the first limit price."""
    curve: str
    """`volume @ limit price` of every point, for people."""
    price_per_mwh: float | None
    """Price that the plan believed."""
    awarded_mw: Decimal | None
    awarded_price: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Actions:
    """What the caller may do with the bid now; the service checks again."""

    can_revise: bool
    can_propose: bool
    can_approve: bool
    can_reject: bool
    can_withdraw: bool
    approve_refusal: str
    """Why the caller may not approve although somebody may; empty otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MoneyLine:
    """Totals of a settled day."""

    day_ahead: Decimal
    imbalance: Decimal
    uncontrolled: Decimal
    currency: str
    price_doubts: tuple[str, ...]
    """What is doubtful about the prices behind it."""
    conversions: tuple[str, ...]
    """Which of them were converted from another currency, and by which rate."""

    @property
    def total(self) -> Decimal:
        """Day-ahead plus imbalance; positive is paid."""
        return self.day_ahead + self.imbalance

    @property
    def saved(self) -> Decimal:
        """Uncontrolled cost minus what was paid; modelled, for comparison."""
        return self.uncontrolled - self.total


def period_rows(bid: Bid, plan: PlanRun | None, award: Award | None) -> list[PeriodRow]:
    """Return one row per delivery period: 92, 96 or 100 for a quarter-hourly day."""
    zone = ZoneInfo(bid.time_zone)
    awarded = {} if award is None else {period.start: period for period in award.periods}
    rows = []
    for index, period in enumerate(bid.periods):
        got = awarded.get(period.start)
        rows.append(
            PeriodRow(
                index=index,
                label=local_label(period.start, zone),
                volume_mw=period.max_volume_mw,
                curve=", ".join(f"{point.volume_mw} @ {point.price_per_mwh}" for point in period.curve),
                price_per_mwh=_planned_price(plan, period.start),
                awarded_mw=None if got is None else got.volume_mw,
                awarded_price=None if got is None else got.price_per_mwh,
            )
        )
    return rows


def local_label(start: datetime, zone: ZoneInfo) -> str:
    """Return the local begin of a period, for example `02:15 +02:00`."""
    local = start.astimezone(zone)
    offset = local.strftime("%z")
    return f"{local:%H:%M} {offset[:3]}:{offset[3:]}"


def gate_countdown(gate_closure: datetime, now: datetime) -> str:
    """Return the time left until the gate closes, or that it has closed."""
    left = gate_closure - now
    if left <= timedelta(0):
        return "gate closed"
    minutes, seconds = divmod(int(left.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    return f"gate closes in {hours}:{minutes:02d}:{seconds:02d}"


def gate_urgency(gate_closure: datetime, now: datetime) -> str:
    """Return how near the gate is: `closed`, `urgent` (under 10 min), `soon` (under 30 min) or `calm`."""
    left = gate_closure - now
    if left <= timedelta(0):
        return "closed"
    if left < _URGENT:
        return "urgent"
    return "soon" if left < _SOON else "calm"


def may_plan(bid: Bid | None, principal: Principal) -> bool:
    """Return whether the caller may have the day planned anew: not while people or the exchange have a bid of it."""
    is_free = bid is None or (bid.state not in ORDERED_STATES and bid.state is not BidState.PROPOSED)
    return is_free and principal.may(Permission.BID_DRAFT)


def plan_text(plan: PlanRun, zone: ZoneInfo) -> str:
    """Return when a plan was made and how that ended, in words."""
    made = plan.made_at.astimezone(zone)
    ending = f"{plan.outcome}: {plan.message}" if plan.message else plan.outcome
    return f"Last planned on {made:%d %b} at {made:%H:%M:%S} {local_label(plan.made_at, zone)[-6:]}, {ending}"


def csv_lines(bid: Bid, rows: Sequence[PeriodRow], inputs: Sequence[UsedInput] = ()) -> list[tuple[str, ...]]:
    """Return the table as lines of a CSV file with a header; no text of it is a formula to a spreadsheet.

    Args:
        bid: What is bought.
        rows: One per delivery period.
        inputs: What its plan was made from: each line says how far prices, carbon and tariff may be trusted.
    """
    lines: list[tuple[str, ...]] = [_CSV_HEAD]
    told = [text for kind in InputKind for text in (qualities(inputs, kind), provenance(inputs, kind))]
    for row, period in zip(rows, bid.periods, strict=True):
        lines.append(
            (
                text_cell(bid.id),
                text_cell(bid.content_hash),
                bid.state.value,
                period.start.isoformat(),
                row.label,
                str(row.volume_mw),
                text_cell(row.curve),
                "" if row.price_per_mwh is None else f"{row.price_per_mwh:.2f}",
                "" if row.awarded_mw is None else str(row.awarded_mw),
                "" if row.awarded_price is None else str(row.awarded_price),
                *(text_cell(text) for text in told),
            )
        )
    return lines


def actions(bid: Bid, principal: Principal, now: datetime) -> Actions:
    """Return which buttons the caller sees."""
    is_open = now < bid.gate_closure
    may_approve = principal.may(Permission.BID_APPROVE) and bid.state is BidState.PROPOSED and is_open
    is_own = principal.actor in {bid.proposed_by, bid.drafted_by}
    may_draft = principal.may(Permission.BID_DRAFT)
    return Actions(
        can_revise=may_draft and bid.state in EDITABLE and is_open,
        can_propose=principal.may(Permission.BID_PROPOSE) and bid.state is BidState.VALIDATED and is_open,
        can_approve=may_approve and not is_own,
        can_reject=principal.may(Permission.BID_APPROVE) and bid.state is BidState.PROPOSED,
        can_withdraw=principal.may(Permission.BID_WITHDRAW) and bid.state in WITHDRAWABLE and is_open,
        approve_refusal="You proposed this bid; another person must approve it." if may_approve and is_own else "",
    )


def revised_periods(bid: Bid, planned: Sequence[BidPeriod], volumes: Sequence[str]) -> tuple[BidPeriod, ...]:
    """Return the bid's periods with the volumes a trader typed, each made from the plan's own curve of the period.

    A volume that was typed before leaves no trace: the planned volume brings back the planned curve. A period whose volume did not
    change and is not the planned one keeps its curve.

    Args:
        bid: The version that is corrected.
        planned: What its plan drafted.
        volumes: As typed, one per period.

    Raises:
        InvalidInput: A volume is not a decimal number, or there is not one per period; the period is named.
    """
    if len(volumes) != len(bid.periods):
        raise InvalidInput("volume_mw", f"needs {len(bid.periods)} values, one per delivery period")
    zone = ZoneInfo(bid.time_zone)
    drafted = {(period.start, period.end): period for period in planned}
    return tuple(
        _revised(
            period,
            drafted.get((period.start, period.end), period),
            _volume(f"volume_mw[{local_label(period.start, zone)}]", text),
        )
        for period, text in zip(bid.periods, volumes, strict=True)
    )


def nomination_counts(nominations: Sequence[Nomination]) -> dict[str, int]:
    """Return how many nominations are in each state."""
    return {state.value: sum(1 for nomination in nominations if nomination.state is state) for state in NominationState}


def money_line(settlements: Sequence[Settlement]) -> MoneyLine | None:
    """Return the totals of a settled day over all connection points; None before settlement."""
    if not settlements:
        return None
    return MoneyLine(
        day_ahead=sum((row.day_ahead_cash for row in settlements), Decimal(0)),
        imbalance=sum((row.imbalance_cash for row in settlements), Decimal(0)),
        uncontrolled=sum((row.uncontrolled_cash for row in settlements), Decimal(0)),
        currency=settlements[0].currency,
        price_doubts=tuple(dict.fromkeys(doubt for row in settlements for doubt in row.price_doubts)),
        conversions=tuple(dict.fromkeys(one for row in settlements for one in row.conversions)),
    )


def exposure(residuals: Sequence[Residual]) -> Decimal:
    """Return the cash at risk of all residuals together; positive is a cost."""
    return sum((residual.exposure for residual in residuals), Decimal(0))


def chart_columns(bid: Bid, plan: PlanRun | None, award: Award | None) -> dict[str, list[float | None]]:
    """Return the chart's columns: begin of each period in epoch seconds, volumes in MW, price per MWh."""
    awarded = {} if award is None else {period.start: float(period.volume_mw) for period in award.periods}
    uncontrolled = _uncontrolled_mw(plan)
    starts = [period.start for period in bid.periods]
    return {
        "x": [start.timestamp() for start in starts],
        "order_mw": [float(period.max_volume_mw) for period in bid.periods],
        "awarded_mw": [awarded.get(start) for start in starts],
        "uncontrolled_mw": [uncontrolled.get(start) for start in starts],
        "price_per_mwh": [_planned_price(plan, start) for start in starts],
    }


def _revised(period: BidPeriod, planned: BidPeriod, volume: Decimal) -> BidPeriod:
    is_untouched = volume == period.max_volume_mw and volume != planned.max_volume_mw
    return period if is_untouched else planned.with_volume(volume)


def _volume(field: str, text: str) -> Decimal:
    plain = text.strip()
    if not plain or len(plain) > 20 or not all(letter in "0123456789.-" for letter in plain):
        raise InvalidInput(field, "must be a decimal number in MW such as 1.2")
    try:
        return Decimal(plain)
    except ArithmeticError as error:
        raise InvalidInput(field, "must be a decimal number in MW such as 1.2") from error


def _planned_price(plan: PlanRun | None, start: datetime) -> float | None:
    if plan is None:
        return None
    index = (start - plan.start) // timedelta(minutes=plan.step_minutes)
    return plan.price_per_mwh[index] if 0 <= index < len(plan.price_per_mwh) else None


def _uncontrolled_mw(plan: PlanRun | None) -> dict[datetime, float]:
    if plan is None or not plan.sites:
        return {}
    step = timedelta(minutes=plan.step_minutes)
    columns = zip(*(site.uncontrolled_kw for site in plan.sites), strict=True)
    return {plan.start + step * index: sum(column) / 1000.0 for index, column in enumerate(columns)}
