"""All services of one gateway, wired to each other by callables and to the world by ports."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta

from gateway.app.doors import best_classes
from gateway.app.peers import PriceKey
from gateway.app.random_delay import ChangeLatency, delay_rules
from gateway.app.steering import ChargersBelow, steering_settings
from gateway.csms.standing import DoorBook
from gateway.domain.authorities import StatedRules
from gateway.domain.calm import CalmRules
from gateway.domain.follow_rules import FollowRules
from gateway.domain.limits import Limit
from gateway.domain.programs import OptDecision
from gateway.domain.series import CarbonKind, PriceProduct
from gateway.domain.signals import GridEvent, OptType
from gateway.domain.site_tariff import SiteTariff
from gateway.grid_settings import ProgramSettings
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.ports import CarbonSource, Clock, Exchange, Ids, NominationDesk, PriceSource, Store, Worker
from gateway.services.admit import Admission
from gateway.services.believe_stays import StayBeliefs
from gateway.services.decide_opt import OptDecider, OptMode, OptRules
from gateway.services.declare_availability import AvailabilityDesk
from gateway.services.expect_power import PowerExpectation
from gateway.services.follow_dispatch import Follower
from gateway.services.gather_market_data import (
    Contradictions,
    Currencies,
    GatherSettings,
    MarketDataGatherer,
    PriceHistories,
    SourceOpinions,
    SystemGatherer,
    SystemSource,
)
from gateway.services.gather_signals import (
    ProgramDesk,
    ProgramRules,
    SignalGatherer,
    SignalSettings,
    SignalSources,
)
from gateway.services.keep_audit import AuditKeeper
from gateway.services.plan_bids import BidPlanner, PlanSettings
from gateway.services.plan_dispatch import Dispatcher, DispatchSettings, DispatchSources
from gateway.services.report_delivery import DeliveryReporter, ReportSettings
from gateway.services.review_bids import BidReviewer
from gateway.services.settle_delivery import Settler, SettleSettings
from gateway.services.steer_power import ProofKeeper, SteeringDesk
from gateway.services.submit_orders import OrderSubmitter, SubmitSettings
from gateway.services.track_fleet import FleetTracker, TrackSettings
from gateway.settings import Settings, seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What services need of the outside."""

    store: Store
    clock: Clock
    ids: Ids
    worker: Worker
    prices: dict[PriceKey, tuple[PriceSource, ...]]
    carbon: dict[str, tuple[CarbonSource, ...]]
    exchange: Exchange
    nomination_desk: NominationDesk
    system: dict[str, tuple[SystemSource, ...]] = field(default_factory=dict)
    doors: DoorBook = field(default_factory=DoorBook)
    """Doors to charging platforms, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Every service of the gateway."""

    tenants: tuple[str, ...]
    admission: Admission
    fleet: FleetTracker
    beliefs: StayBeliefs
    signals: SignalGatherer
    programs: ProgramDesk
    availability: AvailabilityDesk
    opt: OptDecider
    dispatcher: Dispatcher
    follower: Follower
    market: MarketDataGatherer
    system: SystemGatherer
    price_histories: PriceHistories
    price_opinions: SourceOpinions
    contradictions: Contradictions
    currencies: Currencies
    planner: BidPlanner
    reviewer: BidReviewer
    submitter: OrderSubmitter
    settler: Settler
    reporter: DeliveryReporter
    auditor: AuditKeeper
    steering: SteeringDesk
    proofs: ProofKeeper

    async def load(self) -> None:
        """Go on from rows, in the order in which one needs the other."""
        await self.fleet.load()
        await self.signals.load()
        await self.steering.load()
        for tenant in self.tenants:
            await self.opt.load(tenant)
        await self.dispatcher.load()


def _price_histories(world: World, tenants: tuple[str, ...]) -> PriceHistories:
    at_once = [(tenant, *key) for tenant in tenants for key in world.prices]
    return PriceHistories(store=world.store, clock=world.clock, at_once=at_once)


def wire_services(settings: Settings, world: World) -> Services:
    """Return all services of a deployment."""
    store, clock, ids, tenants = world.store, world.clock, world.ids, settings.tenants
    control = _wire_control(settings, world)
    return Services(
        tenants=tenants,
        admission=Admission(store=store, clock=clock, ids=ids, tenants=tenants),
        fleet=control.fleet,
        beliefs=control.beliefs,
        signals=control.signals,
        programs=ProgramDesk(control.signals.scribe, control.signals.appraiser),
        availability=AvailabilityDesk(store=store, clock=clock, ids=ids, partners=_partners(settings)),
        opt=control.opt,
        dispatcher=control.dispatcher,
        follower=control.follower,
        market=MarketDataGatherer(
            store=store,
            clock=clock,
            ids=ids,
            price_sources=world.prices,
            carbon_sources=world.carbon,
            settings=_gather_settings(settings),
        ),
        system=SystemGatherer(store=store, clock=clock, sources=world.system, settings=_gather_settings(settings)),
        price_opinions=SourceOpinions(world.prices, clock),
        currencies=Currencies(store=store, clock=clock, ids=ids),
        contradictions=Contradictions(store=store, clock=clock, ids=ids),
        price_histories=_price_histories(world, tenants),
        planner=BidPlanner(
            store=store,
            clock=clock,
            ids=ids,
            worker=world.worker,
            exchange=world.exchange,
            settings=_plan_settings(settings),
            fleet=control.fleet.view,
        ),
        reviewer=BidReviewer(store=store, clock=clock, ids=ids),
        submitter=_wire_submitter(settings, world),
        settler=Settler(
            store=store, clock=clock, ids=ids, worker=world.worker, settings=SettleSettings(tenants=tenants)
        ),
        reporter=DeliveryReporter(
            store=store,
            clock=clock,
            ids=ids,
            node_power=control.fleet.node_power,
            settings=ReportSettings(tenants=tenants, longest_hold=_sample_spacing(settings) * 2),
        ),
        auditor=AuditKeeper(store=store),
        steering=_wire_steering(settings, world, control),
        proofs=ProofKeeper(
            store=store,
            clock=clock,
            ids=ids,
            node_power=control.fleet.node_power,
            chargers_below=ChargersBelow(control.fleet),
            settings=steering_settings(settings),
        ),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Control:
    """The services of the control path: signal to limit to charger and back."""

    fleet: FleetTracker
    beliefs: StayBeliefs
    signals: SignalGatherer
    opt: OptDecider
    dispatcher: Dispatcher
    follower: Follower


def _wire_control(settings: Settings, world: World) -> _Control:
    store, clock, ids, tenants = world.store, world.clock, world.ids, settings.tenants
    fleet = FleetTracker(store=store, clock=clock, ids=ids, tenants=tenants, settings=_track_settings(settings))
    beliefs = StayBeliefs(store=store, clock=clock, tenants=tenants, time_zone=settings.time_zone)
    follower = Follower(
        store=store,
        clock=clock,
        ids=ids,
        fleet=fleet.view,
        charger_ids=fleet.charger_ids,
        power=fleet.power,
        rules=_follow_rules(settings),
        flush_every=seconds(settings.dispatch.tick),
    )
    opt_of = _LateOpt()
    sources = SignalSources(
        find_node=fleet.find_node,
        find_charger=fleet.find_charger,
        decide=opt_of,
        baseline_kw=LatestPower(fleet),
        expected_kw=PowerExpectation(fleet.node_power, clock),
    )
    signals = SignalGatherer(
        store=store, clock=clock, ids=ids, tenants=tenants, sources=sources, settings=signal_settings(settings)
    )
    dispatcher = Dispatcher(
        store=store,
        clock=clock,
        ids=ids,
        tenants=tenants,
        desk=follower,
        sources=_dispatch_sources(fleet, signals, sources, beliefs),
        settings=_dispatch_settings(settings),
    )
    opt_of.decider = OptDecider(
        store=store,
        clock=clock,
        facts=dispatcher,
        change_opt=signals.change_opt,
        rules=opt_rules(settings),
        latency=ChangeLatency(fleet.find_node, delay_rules(settings)),
        resource_nodes=_resource_nodes(settings),
    )
    fleet.on_tree.append(dispatcher.follow_tree)
    fleet.on_change.append(dispatcher.wake)
    fleet.on_measurement.append(follower.noticed)
    follower.on_news.append(dispatcher.wake)
    signals.on_change.append(dispatcher.wake)
    return _Control(
        fleet=fleet,
        beliefs=beliefs,
        signals=signals,
        opt=opt_of.decider,
        dispatcher=dispatcher,
        follower=follower,
    )


def _dispatch_sources(
    fleet: FleetTracker, signals: SignalGatherer, sources: SignalSources, beliefs: StayBeliefs
) -> DispatchSources:
    return DispatchSources(
        fleet=fleet.view,
        find_charger=fleet.find_charger,
        limits=signals.limits_by_node,
        lost=signals.lost_nodes,
        steady=signals.steady_nodes,
        expected_kw=sources.expected_kw,
        other_kw=fleet.other_kw,
        believe_departure=beliefs.believe_departure,
    )


def _wire_steering(settings: Settings, world: World, control: _Control) -> SteeringDesk:
    return SteeringDesk(
        store=world.store,
        clock=world.clock,
        ids=world.ids,
        limit_desk=control.signals,
        find_node=control.fleet.find_node,
        settings=steering_settings(settings),
    )


def _wire_submitter(settings: Settings, world: World) -> OrderSubmitter:
    return OrderSubmitter(
        store=world.store,
        clock=world.clock,
        ids=world.ids,
        exchange=world.exchange,
        nomination_desk=world.nomination_desk,
        settings=_submit_settings(settings),
    )


class _LateOpt:
    """The opt policy needs the dispatcher, which needs the signals, which need the policy: it is put in last."""

    decider: OptDecider

    def __call__(self, event: GridEvent, limits: Sequence[Limit], now: datetime) -> OptDecision:
        return self.decider.decide_now(event, limits, now)


class LatestPower:
    """Mean measured power of a node over the last hour: what `reduce by` is counted from when an event arrives."""

    def __init__(self, fleet: FleetTracker) -> None:
        """Remember who knows."""
        self._fleet = fleet

    def __call__(self, tenant: str, node_id: str, at: datetime) -> float | None:
        """Return the mean in kW; None when nothing was measured."""
        _, power = self._fleet.node_power(tenant, node_id, at - timedelta(hours=1))
        known = power[power == power]  # noqa: PLR0124  # leaves out NaN
        return float(known.mean()) if known.size else None


def signal_settings(settings: Settings) -> SignalSettings:
    """Return how the signals of a deployment's grid partners are treated."""
    programs = {entry.key: _program_rules(entry) for entry in settings.program}
    for vtn in settings.vtn:
        own = programs.get(vtn.authority, ProgramRules())
        programs[vtn.authority] = replace(own, is_unconditional=vtn.is_unconditional)
    wishing = StatedRules(is_unconditional=False)
    providers = StatedRules(is_forecast=True)
    oscp = {
        one.authority: replace(
            providers if one.role == "capacity-provider" else wishing, most_times_rating=one.most_times_rating
        )
        for one in settings.oscp
    }
    stated = {**SignalSettings().stated, **oscp}
    return SignalSettings(programs=programs, stated=stated, time_zone=settings.time_zone)


def _program_rules(entry: ProgramSettings) -> ProgramRules:
    return ProgramRules(
        simple_fraction=entry.simple_fraction,
        level_fraction=entry.level_fraction,
        has_measured_normal=entry.normal == "baseline",
        is_mandatory=entry.is_mandatory,
        most_times_rating=entry.most_times_rating,
        requires_enrolment=entry.requires_enrolment,
        price_zone=entry.price_zone,
        price_product=PriceProduct(entry.price_product),
        carbon_kind=CarbonKind(entry.carbon_kind),
    )


def _partners(settings: Settings) -> dict[str, frozenset[str]]:
    """Return the names of each tenant's grid partners that can be told about availability: only 2.0b has EiOpt."""
    return {
        tenant: frozenset(vtn.authority for vtn in settings.vtn if vtn.tenant == tenant and vtn.dialect == "2.0b")
        for tenant in settings.tenants
    }


def _resource_nodes(settings: Settings) -> dict[str, dict[str, str]]:
    """Return our nodes by the names under which each grid partner knows them."""
    return {
        vtn.authority: {vtn.ven_name: vtn.portfolio_node, **vtn.v3.resources, **vtn.targets} for vtn in settings.vtn
    }


def opt_rules(settings: Settings) -> dict[str, OptRules]:
    """Return what was agreed about answers, by authority or `{authority}:{program}`."""
    return {
        entry.key: OptRules(
            mode=OptMode(entry.opt),
            default_answer=None if entry.ask_default is None else OptType(entry.ask_default),
            ask_within=seconds(entry.ask_within),
            is_mandatory=entry.is_mandatory,
            min_notice=seconds(entry.min_notice),
            most_events_per_day=entry.most_events_per_day,
            protects_guarantees=entry.protects_guarantees,
        )
        for entry in settings.program
    }


def _sample_spacing(settings: Settings) -> timedelta:
    """Return the spacing of power samples of nodes: as often as the dispatcher looks."""
    return seconds(max(30.0, settings.dispatch.tick))


def _track_settings(settings: Settings) -> TrackSettings:
    times = settings.dispatch
    return TrackSettings(
        stale_after=seconds(times.telemetry_stale_after),
        sample_every=_sample_spacing(settings),
        longest_gap=seconds(max(300.0, times.telemetry_stale_after)),
        grace=seconds(max(60.0, times.tick)),
        most_future=seconds(max(60.0, times.tick)),
        best_class=best_classes(settings),
    )


def _follow_rules(settings: Settings) -> FollowRules:
    times = settings.dispatch
    return FollowRules(
        settle_s=max(15.0, times.tick),
        not_following_after_s=times.not_following_after,
        ack_timeout_s=max(30.0, times.lease / 3.0),
        silent_after_s=max(300.0, times.telemetry_stale_after),
        taper_after_s=max(30.0, 2.0 * times.tick),
    )


def _dispatch_settings(settings: Settings) -> DispatchSettings:
    times = settings.dispatch
    return DispatchSettings(
        tick=seconds(times.tick),
        lease=seconds(times.lease),
        headroom=times.headroom,
        least_headroom=times.least_headroom,
        lead=seconds(max(10.0, times.tick)),
        calm=CalmRules(stability_s=times.stability, restore_spread_s=times.restore_spread),
        retry_after=seconds(max(30.0, times.lease / 3.0)),
        random_delay=delay_rules(settings),
        carbon_zone="" if settings.price_zone is None else settings.price_zone.zone,
    )


def _gather_settings(settings: Settings) -> GatherSettings:
    place = settings.price_zone
    history = 21 if place is None else place.history_days
    return GatherSettings(tenants=settings.tenants, time_zones=settings.time_zones, history_days=history)


def _plan_settings(settings: Settings) -> PlanSettings:
    plan = settings.plan
    if plan is None:
        return PlanSettings(tenants=())
    return PlanSettings(
        tenants=(plan.tenant,),
        plan_at=time.fromisoformat(plan.plan_at),
        deadline_s=plan.deadline_real_seconds,
        sweep=seconds(plan.sweep),
        history_quiet=seconds(plan.history_quiet),
        relative_gap=plan.relative_gap,
        carbon_eur_per_tonne=plan.carbon_eur_per_tonne,
        site_tariff=_site_tariff(settings),
    )


def _site_tariff(settings: Settings) -> SiteTariff | None:
    """Return what comes on top of the market's prices, or the layers of the supply contract where it has any."""
    if settings.plan is not None and settings.plan.site_tariff is not None:
        return load_site_tariff(settings.plan.site_tariff)
    if settings.tariff is not None and settings.tariff.file.suffix == ".toml":
        return load_site_tariff(settings.tariff.file)
    return None


def _submit_settings(settings: Settings) -> SubmitSettings:
    return SubmitSettings() if settings.exchange is None else SubmitSettings(award_poll=seconds(settings.exchange.poll))
