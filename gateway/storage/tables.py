"""One table per kind of record: typed columns to find rows by, and the whole record as `body`.

A new kind takes three lines and a command:

1. a class below with `@record(Kind, at="its_time_field")` over it,
2. one line per field that `find(where=...)` may name (same name as in the record; indexed together with tenant and time),
3. an import of the kind, and then
   `python -m gateway.storage.migrate "what changed"`, which writes the migration beside the others. Read it, keep it.

`at` is the dotted path of the field that orders the kind in time and that `since` and `until` compare; without one it is the
time of writing. Kinds that are written often or are large derive from `CompactRow`: their body is compressed. A kind that may
be deleted after a while says so with `expires`.
"""

from sqlalchemy import BigInteger
from sqlmodel import Field

from gateway.domain.authorities import AuthorityStanding
from gateway.domain.bids import Award, Bid, Nomination, Order, PlanRun, Residual, Schedule
from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.dispatch import CommandRoster, DispatchBatch, DispatchOutcome
from gateway.domain.doors import CsmsCommand, OcpiRegistration
from gateway.domain.errors import InvalidInput
from gateway.domain.exchange_rates import ExchangeRate
from gateway.domain.fleet import RegisterReading
from gateway.domain.identity import Account
from gateway.domain.limits import Limit
from gateway.domain.market_asking import MarketPoll, SourceBan
from gateway.domain.oscp import OscpLink, OscpMessage, OscpRegister, OscpRequest, OscpSegment
from gateway.domain.programs import (
    Enrolment,
    HeldObject,
    NonCompliance,
    OptSchedule,
    PendingReport,
    ProgramState,
    ReportDuty,
)
from gateway.domain.random_delay import DelaySeed
from gateway.domain.series import CarbonSeries, MarketDayStatus, PriceSeries
from gateway.domain.sessions import Session
from gateway.domain.settlement import EventPerformance, MeteredPeriod, Settlement
from gateway.domain.signals import GridEvent, RawSignal, ReportRequest, SeenNonce, VenRegistration
from gateway.domain.steering import Limitation
from gateway.domain.steering_orders import ExecutionProof, SteeringOrder
from gateway.domain.system_series import SystemSeries
from gateway.domain.topology import CapacityGroup, Charger, ConnectionPoint, Node, Portfolio
from gateway.storage.rows import RECORDS, CompactRow, TableSpec, TextRow, any_row, has_successor, no_longer_open, record


def spec_of(kind: type) -> TableSpec:
    """Return how a kind is kept.

    Raises:
        InvalidInput: There is no table for it.
    """
    try:
        return RECORDS[kind]
    except KeyError:
        raise InvalidInput("kind", f"{kind.__name__} is not a kind of record") from None


# ---------------------------------------------------------------- who, where


@record(Account)
class AccountRecord(TextRow, table=True):
    """Logins and tokens."""

    actor: str
    token_sha256: str | None
    certificate_uri: str | None
    csms: str | None


@record(Node)
class NodeRecord(TextRow, table=True):
    """The site tree."""

    parent: str | None
    kind: str


@record(Charger)
class ChargerRecord(TextRow, table=True):
    """Charge point connectors."""

    csms: str
    parent: str


@record(ConnectionPoint)
class ConnectionPointRecord(TextRow, table=True):
    """Grid connections with a settlement meter."""

    site: str
    bidding_zone: str


@record(Portfolio)
class PortfolioRecord(TextRow, table=True):
    """What is bid together."""

    bidding_zone: str


@record(OscpLink)
class OscpLinkRecord(TextRow, table=True):
    """Links with OSCP partners, tokens hashed or encrypted."""

    state: str


@record(OscpRequest, at="at", expires=any_row)
class OscpRequestRecord(TextRow, table=True):
    """Requests of OSCP partners that took effect."""

    authority: str


@record(OscpSegment, at="at", expires=no_longer_open)
class OscpSegmentRecord(CompactRow, table=True):
    """Parts of messages that came in several."""

    authority: str
    chain: str
    is_open: bool


@record(OscpMessage, at="created_at", expires=no_longer_open)
class OscpMessageRecord(TextRow, table=True):
    """Messages to OSCP partners; ordered by what happened first."""

    authority: str
    is_open: bool


@record(OscpRegister, at="until")
class OscpRegisterRecord(TextRow, table=True):
    """Energy registers of capacity groups."""

    authority: str


@record(CapacityGroup)
class CapacityGroupRecord(TextRow, table=True):
    """Names under which grid partners know nodes."""

    authority: str
    name: str
    node: str


@record(Session, at="arrival")
class SessionRecord(TextRow, table=True):
    """Cars at chargers; ordered by arrival."""

    charger: str
    state: str


# ---------------------------------------------------------------- signals and limits


@record(RawSignal, at="received_at", expires=any_row)
class RawSignalRecord(CompactRow, table=True):
    """Messages as they came."""

    authority: str
    protocol: str
    sha256: str


@record(GridEvent, at="active.start")
class GridEventRecord(TextRow, table=True):
    """Demand-response events; ordered by the start of their active period."""

    authority: str
    event_id: str
    cancelled: bool
    opt: str | None
    raw_signal: str


@record(VenRegistration, at="registered_at")
class VenRegistrationRecord(TextRow, table=True):
    """Our registrations with VTNs."""

    ven_id: str
    active: bool


@record(ReportRequest, at="start")
class ReportRequestRecord(TextRow, table=True):
    """Reports that VTNs asked for."""

    authority: str
    cancelled: bool


@record(Enrolment, at="consented_at")
class EnrolmentRecord(TextRow, table=True):
    """Who may be called by which program."""

    authority: str
    node: str


@record(ProgramState, at="changed_at")
class ProgramStateRecord(TextRow, table=True):
    """Switches of programs."""

    authority: str


@record(OptSchedule, at="created_at")
class OptScheduleRecord(TextRow, table=True):
    """When we are available to a partner."""

    authority: str
    event_id: str
    is_settled: bool


@record(NonCompliance, at="at")
class NonComplianceRecord(TextRow, table=True):
    """Rules of profiles that partners broke."""

    authority: str
    profile: str
    object_id: str


@record(HeldObject, at="seen_at")
class HeldObjectRecord(TextRow, table=True):
    """Objects of 3.x VTNs as last seen."""

    authority: str
    kind: str
    program_id: str


@record(ReportDuty)
class ReportDutyRecord(TextRow, table=True):
    """Reports that events of 3.x VTNs ask for."""

    authority: str
    event_id: str
    is_finished: bool


@record(PendingReport, at="made_at", expires=no_longer_open)
class PendingReportRecord(CompactRow, table=True):
    """Reports not acknowledged yet, and those that were, for a while."""

    authority: str
    request: str
    is_open: bool


@record(SeenNonce, at="seen_at", expires=any_row)
class SeenNonceRecord(TextRow, table=True):
    """Nonces that were used."""

    authority: str


@record(AuthorityStanding, at="changed_at")
class AuthorityStandingRecord(TextRow, table=True):
    """What is remembered of authorities that state limits directly."""


@record(Limit, at="interval.start")
class LimitRecord(TextRow, table=True):
    """Limits of all authorities; ordered by the start of their interval."""

    authority: str
    node: str
    kind: str
    binding: str
    cause: str
    over_at: int | None = Field(sa_type=BigInteger)
    """Microseconds since 1970-01-01 UTC; none while it has no end."""


@record(ComplianceShortfall, at="raised_at")
class ComplianceShortfallRecord(TextRow, table=True):
    """Limits that the chargers below a node could not keep."""

    authority: str
    node: str
    is_open: bool


@record(CommandRoster)
class CommandRosterRecord(CompactRow, table=True):
    """Chargers of charging platforms as packed commands refer to them."""

    csms: str


@record(DispatchBatch, at="issued_at", expires=has_successor)
class DispatchBatchRecord(CompactRow, table=True):
    """Commands to charging platforms."""

    csms: str
    sequence: int = Field(sa_type=BigInteger)
    cause: str


@record(DispatchOutcome, at="at", expires=any_row)
class DispatchOutcomeRecord(CompactRow, table=True):
    """What became of the commands."""

    batch: str
    csms: str


@record(DelaySeed, at="drawn_at")
class DelaySeedRecord(TextRow, table=True):
    """What random delays of changes are drawn from."""


@record(Limitation, at="since")
class LimitationRecord(TextRow, table=True):
    """Where the state machine of each steering box and direction is."""

    box: str


@record(SteeringOrder, at="received_at")
class SteeringOrderRecord(TextRow, table=True):
    """Orders of steering boxes; kept for ever."""

    box: str
    is_open: bool


@record(ExecutionProof, at="received_at")
class ExecutionProofRecord(CompactRow, table=True):
    """What became of orders of steering boxes; kept for ever."""

    box: str
    is_complete: bool


# ---------------------------------------------------------------- market data


@record(PriceSeries, at="grid.start")
class PriceSeriesRecord(TextRow, table=True):
    """Prices; ordered by the first delivery period."""

    zone: str
    product: str
    source: str


@record(CarbonSeries, at="grid.start")
class CarbonSeriesRecord(TextRow, table=True):
    """Carbon intensities; ordered by the first slot."""

    zone: str
    kind: str
    source: str


@record(SystemSeries, at="grid.start")
class SystemSeriesRecord(TextRow, table=True):
    """Demand and forecasts of wind and sun; ordered by the first slot."""

    zone: str
    kind: str


@record(ExchangeRate, at="begins_at")
class ExchangeRateRecord(TextRow, table=True):
    """What currencies are worth in each other; ordered by day, kept for ever."""

    base: str
    quote: str
    source: str


@record(MarketPoll, at="asked_at")
class MarketPollRecord(TextRow, table=True):
    """How often days of market data were asked for."""


@record(SourceBan, at="banned_at")
class SourceBanRecord(TextRow, table=True):
    """Sources that asked to be left alone."""


@record(MarketDayStatus, at="checked_at")
class MarketDayStatusRecord(TextRow, table=True):
    """How far the data of a delivery day have come."""

    zone: str
    product: str
    day: str
    state: str


# ---------------------------------------------------------------- bids and money


@record(PlanRun, at="made_at")
class PlanRunRecord(CompactRow, table=True):
    """Runs of the day-ahead optimisation."""

    portfolio: str
    delivery_day: str
    outcome: str


@record(Bid, at="drafted_at")
class BidRecord(TextRow, table=True):
    """Bids, one row per immutable version."""

    portfolio: str
    delivery_day: str
    auction: str
    plan: str
    state: str


@record(Order, at="created_at")
class OrderRecord(TextRow, table=True):
    """What left or shall leave for approved bids."""

    bid: str
    auction: str
    state: str


@record(Award, at="received_at")
class AwardRecord(TextRow, table=True):
    """Results of auctions."""

    order: str
    bid: str
    portfolio: str
    delivery_day: str


@record(Nomination, at="created_at")
class NominationRecord(TextRow, table=True):
    """What we told the balance responsible party."""

    award: str
    connection_point: str
    delivery_day: str
    state: str


@record(Schedule, at="start")
class ScheduleRecord(TextRow, table=True):
    """What sites shall draw; ordered by the first slot."""

    node: str
    connection_point: str
    delivery_day: str
    cause: str


@record(CsmsCommand, at="sent_at")
class CsmsCommandRecord(TextRow, table=True):
    """Newest commands over doors, one row per charger; ordered by when they were sent."""

    csms: str
    charger: str
    outcome: str


@record(OcpiRegistration, at="registered_at")
class OcpiRegistrationRecord(TextRow, table=True):
    """How we and OCPI platforms know each other."""


@record(Residual, at="start")
class ResidualRecord(TextRow, table=True):
    """Positions that a late limit makes impossible; ordered by their start."""

    node: str
    limit: str


@record(MeteredPeriod, at="start")
class MeteredPeriodRecord(TextRow, table=True):
    """Energy at the meter per delivery period; ordered by its start."""

    connection_point: str


@record(RegisterReading, at="at")
class RegisterReadingRecord(CompactRow, table=True):
    """Energy registers at the last border of delivery periods, one row per connection point."""


@record(Settlement, at="settled_at")
class SettlementRecord(TextRow, table=True):
    """Settled delivery days."""

    portfolio: str
    connection_point: str
    delivery_day: str


@record(EventPerformance, at="found_at")
class EventPerformanceRecord(TextRow, table=True):
    """How far events were followed."""

    event: str
    node: str
