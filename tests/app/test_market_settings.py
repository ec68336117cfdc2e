"""The example of market settings: it loads, and every key is in it."""

import re
from pathlib import Path

import pytest

from gateway.app.peers import CONFIG
from gateway.settings import (
    CarbonFeedSettings,
    FeedSettings,
    MarketSettings,
    PlanSettings,
    TariffSettings,
    load_settings,
)

EXAMPLE = CONFIG / "market.toml"


def shown(table: str) -> set[str]:
    """Keys that the example shows in a table, also those in comments."""
    text = EXAMPLE.read_text(encoding="utf-8")
    found: set[str] = set()
    for part in re.split(r"^(?:# )?(?=\[)", text, flags=re.MULTILINE):
        if part.startswith(f"{table}]"):
            found |= set(re.findall(r"^(?:# )?(\w+) = ", part, flags=re.MULTILINE))
    return found


@pytest.mark.parametrize(
    ("table", "model", "elsewhere"),
    [
        ("[market", MarketSettings, {"feeds", "carbon_feed"}),
        ("[[market.feeds]", FeedSettings, set()),
        ("[market.carbon_feed", CarbonFeedSettings, set()),
        ("[tariff", TariffSettings, set()),
        ("[plan", PlanSettings, set()),
    ],
)
def test_every_key_is_in_the_example(table: str, model: type[MarketSettings], elsewhere: set[str]) -> None:
    assert shown(table) == set(model.model_fields) - elsewhere


def test_the_example_is_what_it_says() -> None:
    settings = load_settings(EXAMPLE)
    assert settings.market is not None
    assert [feed.name for feed in settings.market.feeds] == ["energy-charts", "smard"]
    assert settings.plan is not None
    assert settings.plan.site_tariff == Path("config/tariffs/de_depot_2025.toml")
