"""Prices and carbon of every delivery day: fetched, judged, compared between sources, kept with every revision.

What a source's reply means is read in `gateway.market_data`; what a day's prices are used for is decided elsewhere.
"""

from gateway.services.gather_market_data.bans import SourceBans
from gateway.services.gather_market_data.contradictions import Contradictions
from gateway.services.gather_market_data.currencies import Currencies, KeptRates
from gateway.services.gather_market_data.gather import MarketDataGatherer
from gateway.services.gather_market_data.history import PriceHistories, PriceHistory, PriceOrigin
from gateway.services.gather_market_data.loop import PublicationLoop
from gateway.services.gather_market_data.opinions import SourceAnswer, SourceOpinions, ask_sources, compared
from gateway.services.gather_market_data.revisions import as_known, better, says_the_same
from gateway.services.gather_market_data.settings import GatherSettings
from gateway.services.gather_market_data.stand_in import shifted_series
from gateway.services.gather_market_data.system import SystemGatherer, SystemSource

__all__ = [
    "Contradictions",
    "Currencies",
    "GatherSettings",
    "KeptRates",
    "MarketDataGatherer",
    "PriceHistories",
    "PriceHistory",
    "PriceOrigin",
    "PublicationLoop",
    "SourceAnswer",
    "SourceBans",
    "SourceOpinions",
    "SystemGatherer",
    "SystemSource",
    "as_known",
    "ask_sources",
    "better",
    "compared",
    "says_the_same",
    "shifted_series",
]
