"""Adapters to the world outside, made from settings: prices, carbon, exchange, BRP and VTNs."""

from datetime import timedelta
from pathlib import Path

import aiohttp

from gateway.app.feeds import carbon_feed, public_feeds
from gateway.domain.errors import InvalidInput
from gateway.domain.identity import system_principal
from gateway.domain.series import CarbonKind, PriceProduct
from gateway.domain.topology import Portfolio
from gateway.exchanges.brp import BrpAccount, BrpDesk
from gateway.exchanges.nord_pool import NordPoolAccount, NordPoolExchange, NordPoolMarket
from gateway.grid_settings import VtnSettings
from gateway.market_data.carbon import CarbonAccount, CarbonIntensitySource
from gateway.market_data.carbon_of_generation import GenerationCarbon, load_factors
from gateway.market_data.entsoe import (
    REQUESTS_PER_MINUTE,
    EntsoeAccount,
    EntsoeEndpoint,
    EntsoeImbalanceSource,
    EntsoePriceSource,
)
from gateway.market_data.entsoe_system import EntsoeSystemSource
from gateway.market_data.market_rules import load_market_rules
from gateway.market_data.sgip_file import SgipCarbonFile
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.market_data.tariff import PricedEnergy, TariffPriceSource, load_tariff
from gateway.market_data.turnstile import BanBook, Pace
from gateway.openadr.https import TlsFiles
from gateway.openadr.journal import ExchangeJournal
from gateway.openadr.profiles import ProfileGate
from gateway.openadr.profiles.gate import gate_of_dialect
from gateway.openadr.v20b.guard import SignaturePolicy
from gateway.openadr.v20b.noted import NotedTransport
from gateway.openadr.v20b.push_server import PushServer
from gateway.openadr.v20b.push_settings import PushSettings
from gateway.openadr.v20b.rereading import Rereader
from gateway.openadr.v20b.settings import LaterWord, ReportPoint, ShortfallWord, SigningFiles, VenSettings
from gateway.openadr.v20b.transport import HttpTransport
from gateway.openadr.v20b.ven import Ven
from gateway.ports import (
    CarbonSource,
    Clock,
    Ids,
    PriceSource,
    SignalDesk,
    StatusDesk,
    Store,
    UsageDesk,
    Worker,
)
from gateway.services.gather_market_data import SystemSource
from gateway.settings import (
    BrpSettings,
    ExchangeSettings,
    MarketSettings,
    TariffSettings,
    private_key,
    read_secret,
    seconds,
)

CONFIG = Path(__file__).resolve().parents[2] / "config"
MARKET_RULES = CONFIG / "market_rules.toml"
CARBON_FACTORS = CONFIG / "carbon_factors.toml"
PriceKey = tuple[str, PriceProduct]


def entsoe_endpoint(
    market: MarketSettings,
    session: aiohttp.ClientSession,
    clock: Clock,
    worker: Worker,
    bans: BanBook | None = None,
) -> EntsoeEndpoint | None:
    """Return the one door to ENTSO-E: everything that asks the platform shares its budget; None where it is not asked.

    Raises:
        InvalidInput: There is an address and no token file.
    """
    if market.entsoe_url is None:
        return None
    if market.entsoe_token_file is None:
        raise InvalidInput("market.entsoe_token_file", "is required with market.entsoe_url")
    token = read_secret("market.entsoe_token_file", market.entsoe_token_file)
    account = EntsoeAccount(url=market.entsoe_url, token=token)
    pace = Pace(per_minute=REQUESTS_PER_MINUTE, bans=bans)
    return EntsoeEndpoint(account=account, session=session, clock=clock, worker=worker, pace=pace)


def price_sources(
    market: MarketSettings,
    endpoint: EntsoeEndpoint | None,
    session: aiohttp.ClientSession,
    clock: Clock,
    bans: BanBook | None = None,
) -> dict[PriceKey, tuple[PriceSource, ...]]:
    """Return the price sources of the market's zone by product: ENTSO-E first, then the feeds of the same product.

    Raises:
        InvalidInput: There is no source at all, a feed or auction is not one of the zone, or a value is missing.
    """
    found: dict[PriceProduct, tuple[PriceSource, ...]] = {}
    if endpoint is not None:
        found |= _platform_prices(market, endpoint)
    elif market.auctions or market.system:
        raise InvalidInput("market.entsoe_url", "is required with market.auctions and market.system")
    for product, feeds in public_feeds(market, session, clock, bans).items():
        found[product] = (*found.get(product, ()), *feeds)
    if not found:
        raise InvalidInput("market.feeds", "must name a source of prices, or market.entsoe_url be set")
    return {(market.zone, product): sources for product, sources in found.items()}


def system_sources(market: MarketSettings, endpoint: EntsoeEndpoint | None) -> dict[str, tuple[SystemSource, ...]]:
    """Return what else ENTSO-E is asked for about the market's zone."""
    if endpoint is None:
        return {}
    return {market.zone: tuple(EntsoeSystemSource(endpoint=endpoint, subject=one) for one in market.system)}


def _platform_prices(market: MarketSettings, endpoint: EntsoeEndpoint) -> dict[PriceProduct, tuple[PriceSource, ...]]:
    """Return what ENTSO-E is asked for: the zone's main auction, further ones of the settings, and imbalance prices."""
    rules = load_market_rules(MARKET_RULES)
    rule = rules.zone(market.zone)
    main = (
        PriceProduct.DAY_AHEAD_SDAC if PriceProduct.DAY_AHEAD_SDAC in rule.sequences else PriceProduct.DAY_AHEAD_LOCAL
    )
    auctions = (main, *(PriceProduct(name) for name in market.auctions))
    for auction in auctions:
        if auction not in rule.sequences:
            raise InvalidInput(
                "market.auctions", f"{auction.value} is no auction of {market.zone} by market_rules.toml"
            )
    auction_sources = {
        auction: (EntsoePriceSource(endpoint=endpoint, rules=rules, product=auction),) for auction in auctions
    }
    imbalance = {
        product: (EntsoeImbalanceSource(endpoint=endpoint, rules=rules, product=product),)
        for product in rule.imbalance_products
    }
    return {**auction_sources, **imbalance}


def carbon_sources(
    market: MarketSettings, endpoint: EntsoeEndpoint | None, session: aiohttp.ClientSession, clock: Clock
) -> dict[str, tuple[CarbonSource, ...]]:
    """Return the carbon source of the market's zone; none where the settings name none.

    Raises:
        InvalidInput: There is an address and no token file, or two sources.
    """
    if market.carbon_feed is not None:
        if market.carbon_url is not None:
            raise InvalidInput("market.carbon_feed", "must not stand beside market.carbon_url: a zone has one source")
        if market.carbon_feed.name == "entsoe-generation":
            if endpoint is None:
                raise InvalidInput("market.entsoe_url", "is required for the carbon feed entsoe-generation")
            factors = load_factors(CARBON_FACTORS, market.carbon_feed.factors)
            return {market.zone: (GenerationCarbon(endpoint=endpoint, factors=factors),)}
        return {market.zone: (carbon_feed(market.zone, market.carbon_feed, session, clock),)}
    if market.carbon_url is None:
        return {}
    if market.carbon_token_file is None:
        raise InvalidInput("market.carbon_token_file", "is required with market.carbon_url")
    account = CarbonAccount(
        url=market.carbon_url,
        token=read_secret("market.carbon_token_file", market.carbon_token_file),
        kind=CarbonKind(market.carbon_kind),
    )
    return {market.zone: (CarbonIntensitySource(account=account, session=session, clock=clock),)}


def tariff_prices(tariff: TariffSettings, clock: Clock) -> dict[PriceKey, tuple[PriceSource, ...]]:
    """Return the tariff as the one price source of its zone.

    Raises:
        InvalidInput: The file is missing or breaks a rule; the field names where.
    """
    priced = priced_energy(tariff)
    source = TariffPriceSource(priced, zone=tariff.zone, licence=tariff.licence, clock=clock)
    return {(tariff.zone, PriceProduct.TARIFF_ENERGY): (source,)}


def priced_energy(tariff: TariffSettings) -> PricedEnergy:
    """Return the tariff of a file: layers in TOML, or a schedule in JSON.

    Raises:
        InvalidInput: The file is missing or breaks a rule, prices no energy, or is in another currency or time zone.
    """
    if tariff.file.suffix != ".toml":
        return load_tariff(tariff.file, currency=tariff.currency)
    found = load_site_tariff(tariff.file)
    if not found.has_energy:
        raise InvalidInput("tariff.file", f"{tariff.file.name} prices no energy: it belongs to plan.site_tariff")
    for field in ("currency", "time_zone"):
        if getattr(found, field) != getattr(tariff, field):
            raise InvalidInput(f"tariff.{field}", f"is {getattr(found, field)} in {tariff.file.name}")
    return found


def tariff_carbon(tariff: TariffSettings, clock: Clock) -> dict[str, tuple[CarbonSource, ...]]:
    """Return the carbon source beside a tariff; none without a file.

    Raises:
        InvalidInput: The file is missing or breaks a rule; the field names the row.
    """
    if tariff.carbon_file is None:
        return {}
    return {tariff.zone: (SgipCarbonFile(tariff.carbon_file, zone=tariff.zone, clock=clock),)}


def exchange_of(
    settings: ExchangeSettings, market: MarketSettings, session: aiohttp.ClientSession, clock: Clock
) -> NordPoolExchange:
    """Return the exchange behind the auction API."""
    account = NordPoolAccount(
        base_url=settings.url,
        sts_url=settings.token_url,
        username=settings.username,
        password=read_secret("exchange.password_file", settings.password_file),
    )
    product = NordPoolMarket(products={market.zone: settings.product}, time_zone=market.time_zone)
    return NordPoolExchange(account=account, market=product, session=session, clock=clock)


def nomination_desk_of(settings: BrpSettings, portfolio: Portfolio, session: aiohttp.ClientSession) -> BrpDesk:
    """Return the balance responsible party's door."""
    account = BrpAccount(
        base_url=settings.url,
        token=read_secret("brp.token_file", settings.token_file),
        brp=settings.id,
        portfolio=portfolio.exchange_portfolio,
    )
    return BrpDesk(account=account, session=session)


def ven_of(  # noqa: PLR0913  # every port of a VEN, by name
    settings: VtnSettings,
    *,
    store: Store,
    signal_desk: SignalDesk,
    usage_desk: UsageDesk,
    status_desk: StatusDesk,
    clock: Clock,
    ids: Ids,
    worker: Worker,
    journal: ExchangeJournal,
) -> Ven:
    """Return the VEN for one VTN."""
    ven_settings = ven_settings_of(settings)
    transport = HttpTransport(
        ven_settings.vtn_url,
        ven_settings.tls,
        max_bytes=ven_settings.guard_policy().max_bytes,
        timeout_s=ven_settings.request_timeout_s,
    )
    return Ven(
        ven_settings,
        store,
        signal_desk,
        usage_desk,
        clock,
        ids,
        system_principal(settings.tenant, "openadr"),
        status_desk=status_desk,
        transport=NotedTransport(transport, journal.page(settings.tenant, settings.authority, clock)),
        worker=worker,
        gate=_gate_of(settings),
    )


def _gate_of(settings: VtnSettings) -> ProfileGate | None:
    if not settings.profile:
        return None
    return gate_of_dialect(
        settings.profile,
        settings.dialect,
        tenant=settings.tenant,
        authority=settings.authority,
        applies_broken=settings.applies_broken,
    )


def ven_settings_of(settings: VtnSettings) -> VenSettings:
    """Return what the VEN of one VTN is told."""
    poll = seconds(settings.poll)
    return VenSettings(
        authority=settings.authority,
        tenant=settings.tenant,
        vtn_url=settings.url,
        ven_name=settings.ven_name,
        ven_id=settings.ven_id,
        vtn_id=settings.vtn_id,
        market_contexts=settings.market_contexts,
        own_nodes=(settings.portfolio_node,),
        nodes=settings.targets,
        report_points=_report_points(settings),
        min_sampling=seconds(settings.report_every),
        max_sampling=max(seconds(settings.report_every), timedelta(hours=1)),
        status_every=max(poll, timedelta(seconds=10)),
        history_points=settings.history_points,
        device_classes=frozenset(settings.device_classes),
        poll_interval=poll,
        tell_within=poll,
        push=_push_of(settings),
        later_word=LaterWord(settings.later_word),
        on_shortfall=ShortfallWord(settings.on_shortfall),
        cancel_at_stop=settings.cancel_at_stop,
        lost_after=seconds(settings.lost_after),
        first_backoff=poll,
        longest_backoff=max(poll, timedelta(minutes=5)),
        report_patience=max(3 * poll, timedelta(hours=1)),
        signature=SignaturePolicy(settings.signature),
        fingerprints=frozenset(settings.fingerprints),
        clock_skew=seconds(settings.clock_skew),
        signing=_signing_of(settings),
        tls=TlsFiles(
            ca_file=settings.ca,
            cert_file=settings.client_certificate,
            key_file=private_key("vtn.client_key", settings.client_key),
            fingerprints=frozenset(settings.tls_fingerprints),
        ),
        allow_plain_http=settings.allow_plain_on_loopback,
    )


def rereader_of(settings: VtnSettings, store: Store) -> Rereader:
    """Return what reads stored messages of a 2.0b VTN again, by the same profile as the VEN.

    Raises:
        InvalidInput: A setting is wrong or the profile is missing.
    """
    return Rereader(ven_settings_of(settings), store, _gate_of(settings))


def push_server_of(settings: VtnSettings, ven: Ven) -> PushServer | None:
    """Return the door that a VTN pushes to; None when it does not."""
    push = _push_of(settings)
    if push is None:
        return None
    max_bytes = ven_settings_of(settings).guard_policy().max_bytes
    return PushServer(push, ven.receive, max_bytes=max_bytes, authority=settings.authority)


def _signing_of(settings: VtnSettings) -> SigningFiles | None:
    key = private_key("vtn.signing_key", settings.signing_key)
    if settings.signing_certificate is None or key is None:
        return None
    return SigningFiles(cert_file=settings.signing_certificate, key_file=key)


def _push_of(settings: VtnSettings) -> PushSettings | None:
    own = settings.push
    if own is None:
        return None
    return PushSettings(
        port=own.port,
        public_url=own.public_url,
        host=own.host,
        cert_file=own.certificate,
        key_file=private_key("vtn.push.key", own.key),
        client_ca_file=own.client_ca,
        fingerprints=frozenset(own.client_fingerprints),
        allow_plain_http=settings.allow_plain_on_loopback,
        is_polling=own.with_polls,
    )


def _report_points(settings: VtnSettings) -> tuple[ReportPoint, ...]:
    """Return the portfolio and every other node that is offered; each is known to the VTN by its name."""
    node = settings.portfolio_node
    others = [
        ReportPoint(r_id=f"{name}-power", node=other, resource_id=name) for name, other in settings.report_nodes.items()
    ]
    return (ReportPoint(r_id="portfolio-power", node=node, resource_id=node), *others)
