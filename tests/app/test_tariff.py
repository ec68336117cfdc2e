"""A tariff in place of a market: its settings, and the sources that come of it."""

from datetime import date
from pathlib import Path

import pytest

from gateway.app.peers import tariff_carbon, tariff_prices
from gateway.domain.errors import InvalidInput
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.settings import Settings, TariffSettings, load_settings
from tests.fakes.clock import HandClock

DATA = Path(__file__).resolve().parents[2] / "config" / "data"
ZONE = "America/Los_Angeles"
DAY = DeliveryDay(day=date(2019, 5, 23), zone=ZONE)
TARIFF = TariffSettings(
    zone="SCE",
    time_zone=ZONE,
    currency="USD",
    file=DATA / "sce_tou_ev" / "sce_tou_ev_4_march_2019.json",
    licence="BSD-3-Clause",
    carbon_file=DATA / "us_2019" / "sgip_caiso_sce_moer_2019_05.csv",
)
PLAIN = "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"
SECTION = f'[tariff]\nzone = "SCE"\ntime_zone = "{ZONE}"\ncurrency = "USD"\nfile = "t.json"\nlicence = "x"\n'
MARKET = '[market]\nzone = "BE"\ntime_zone = "Europe/Brussels"\nentsoe_url = "http://x"\nentsoe_token_file = "t"\n'


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    return path


def test_a_tariff_says_what_a_delivery_day_is(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, PLAIN + SECTION))
    assert (settings.time_zone, settings.time_zones) == (ZONE, {"SCE": ZONE})
    assert settings.price_zone == settings.tariff


def test_a_market_does_too_and_a_bare_gateway_counts_in_utc(tmp_path: Path) -> None:
    assert load_settings(written(tmp_path, PLAIN + MARKET)).time_zones == {"BE": "Europe/Brussels"}
    assert (Settings().time_zone, Settings().time_zones) == ("UTC", {})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (PLAIN + SECTION + MARKET, "tariff"),
        (PLAIN + SECTION.replace('"USD"', '"dollars"'), "tariff.currency"),
        (PLAIN + SECTION.replace("licence", "license"), "tariff.licence"),
    ],
)
def test_a_wrong_tariff_is_named(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(written(tmp_path, text))
    assert caught.value.field == field


async def test_prices_and_carbon_come_from_the_files() -> None:
    clock = HandClock(DAY.next().interval.start)
    [(key, [source])] = tariff_prices(TARIFF, clock).items()
    assert key == ("SCE", PriceProduct.TARIFF_ENERGY)
    prices = await source.fetch("SCE", DAY)
    assert prices is not None
    assert (prices.currency, prices.licence, prices.is_complete) == ("USD", "BSD-3-Clause", True)
    [(zone, [carbon])] = tariff_carbon(TARIFF, clock).items()
    series = await carbon.fetch(zone, DAY)
    assert series is not None
    assert series.is_complete


def test_without_a_carbon_file_there_is_no_carbon() -> None:
    assert tariff_carbon(TARIFF.model_copy(update={"carbon_file": None}), HandClock()) == {}


def test_a_missing_tariff_file_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"gone\.json"):
        tariff_prices(TARIFF.model_copy(update={"file": Path("gone.json")}), HandClock())
