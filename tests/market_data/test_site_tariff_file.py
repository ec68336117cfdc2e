"""Tariffs in files: the shipped ones price every quarter-hour of their years, and a wrong file is named by its key."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.app.peers import priced_energy
from gateway.cli.commands import app
from gateway.domain.errors import InvalidInput
from gateway.domain.series import Quality
from gateway.domain.site_tariff import ILLUSTRATIVE
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.site_tariff_file import load_site_tariff
from gateway.market_data.tariff import TariffPriceSource, load_tariff
from gateway.settings import TariffSettings
from tests.fakes.clock import HandClock

CONFIG = Path(__file__).resolve().parents[2] / "config"
SHIPPED = sorted((CONFIG / "tariffs").glob("*.toml"))
HEAD = 'name = "t"\ncurrency = "EUR"\ntime_zone = "Europe/Berlin"\nsource = "s"\nlicence = "l"\n'
LAYER = '[[layer]]\nname = "n"\nkind = "network"\nunit = "per-kwh"\nvalid_from = 2025-01-01\n'


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_tariff_prices_every_quarter_hour_of_its_first_year(path: Path) -> None:
    tariff = load_site_tariff(path)
    first = max(layer.valid_from for layer in tariff.layers)
    for offset in range(0, 365, 4):
        day = DeliveryDay(day=first + timedelta(days=offset), zone=tariff.time_zone)
        if any(layer.valid_until is not None and day.day >= layer.valid_until for layer in tariff.layers):
            break
        prices = tariff.prices_per_mwh(day)
        assert len(prices) == day.grid().count
        assert all(Decimal(0) < price < Decimal(1000) for price in prices)
        assert tariff.demand_per_kw(day.day) >= 0


def test_there_is_an_american_a_german_and_a_british_one() -> None:
    assert {path.name.partition("_")[0] for path in SHIPPED} == {"us", "de", "gb"}
    assert len(SHIPPED) == 7


def test_layers_of_sce_say_what_the_schedule_says() -> None:
    layers = load_site_tariff(CONFIG / "tariffs" / "us_sce_tou_ev_4_2019.toml")
    schedule = load_tariff(CONFIG / "data" / "sce_tou_ev" / "sce_tou_ev_4_march_2019.json", currency="USD")
    for offset in range(0, 366, 3):
        day = DeliveryDay(day=date(2019, 3, 1) + timedelta(days=offset), zone="America/Los_Angeles")
        assert layers.prices_per_mwh(day) == schedule.prices_per_mwh(day)
        assert layers.demand_per_kw(day.day) == schedule.demand_per_kw(day.day) == Decimal("15.51")


def test_german_layers_come_on_top_and_evenings_are_dear() -> None:
    tariff = load_site_tariff(CONFIG / "tariffs" / "de_controllable_low_voltage_2025.toml")
    prices = tariff.prices_per_mwh(DeliveryDay(day=date(2025, 10, 15), zone="Europe/Berlin"))
    assert not tariff.has_energy
    assert prices[17 * 4] - prices[4] == Decimal("73.9")
    assert len(set(tariff.prices_per_mwh(DeliveryDay(day=date(2025, 7, 15), zone="Europe/Berlin")))) == 1


def test_a_german_depot_pays_for_its_highest_power_and_all_levies_of_the_year() -> None:
    tariff = load_site_tariff(CONFIG / "tariffs" / "de_depot_2025.toml")
    prices = set(tariff.prices_per_mwh(DeliveryDay(day=date(2025, 10, 15), zone="Europe/Berlin")))
    assert prices == {
        Decimal(1000) * sum(map(Decimal, ("0.0109", "0.0011", "0.0205", "0.01558", "0.00816", "0.00277")))
    }
    assert tariff.demand_per_kw(date(2025, 10, 15)) == Decimal("19.85")
    assert tariff.illustrative_on(date(2025, 10, 15)) == ("metering",)


@pytest.mark.parametrize(
    "path", [path for path in SHIPPED if not path.stem.startswith("us_")], ids=lambda path: path.stem
)
def test_a_layer_of_a_shipped_tariff_names_its_source_or_is_illustrative(path: Path) -> None:
    for layer in load_site_tariff(path).layers:
        assert layer.is_illustrative or layer.source, layer.name


async def test_prices_with_illustrative_layers_are_estimates_and_say_so() -> None:
    british = load_site_tariff(CONFIG / "tariffs" / "gb_workplace_2025.toml")
    day = DeliveryDay(day=date(2025, 10, 15), zone="Europe/London")
    clock = HandClock(day.interval.start)
    series = await TariffPriceSource(british, zone="GB-SITE", licence="x", clock=clock).fetch("GB-SITE", day)
    assert series is not None
    assert series.quality is Quality.ESTIMATED
    assert series.note.startswith(f"{ILLUSTRATIVE} (energy, distribution, unit")
    real = replace(british, layers=tuple(replace(one, is_illustrative=False) for one in british.layers))
    final = await TariffPriceSource(real, zone="GB-SITE", licence="x", clock=clock).fetch("GB-SITE", day)
    assert final is not None
    assert (final.quality, final.note) == (Quality.FINAL, "")


def test_british_red_band_hurts_on_weekdays_only_and_carries_tax() -> None:
    tariff = load_site_tariff(CONFIG / "tariffs" / "gb_workplace_2025.toml")
    weekday, sunday = (
        tariff.prices_per_mwh(DeliveryDay(day=date(2025, 10, day), zone="Europe/London")) for day in (15, 19)
    )
    assert weekday[16 * 4] == (Decimal("0.169") + Decimal("0.084") + Decimal("0.00775")) * 1000 * Decimal("1.2")
    assert sunday[16 * 4] == (Decimal("0.169") + Decimal("0.0009") + Decimal("0.00775")) * 1000 * Decimal("1.2")


def settings(file: Path, **changes: object) -> TariffSettings:
    base = {"zone": "GB-SITE", "time_zone": "Europe/London", "currency": "GBP", "file": file, "licence": "x"}
    return TariffSettings.model_validate(base | changes)


def test_a_supply_contract_may_be_layers_if_they_price_the_energy() -> None:
    british = CONFIG / "tariffs" / "gb_workplace_2025.toml"
    assert priced_energy(settings(british)).name.startswith("GB workplace")
    with pytest.raises(InvalidInput, match=r"plan\.site_tariff"):
        priced_energy(settings(CONFIG / "tariffs" / "de_depot_2025.toml"))
    with pytest.raises(InvalidInput) as refusal:
        priced_energy(settings(british, currency="EUR"))
    assert refusal.value.field == "tariff.currency"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (HEAD, "tariff.layer"),
        ("name = ", "tariff"),
        (HEAD + LAYER, "tariff.layer[0]"),
        (HEAD + LAYER + 'amount = "1"\nwindow = []\n', "tariff.layer[0]"),
        (HEAD + LAYER + "amount = 1.0\n", "tariff.layer[0].window[0].amount"),
        (HEAD + LAYER + 'amount = "inf"\n', "tariff.layer[0].window[0].amount"),
        (HEAD + LAYER + 'amount = "1"\ncolour = "red"\n', "tariff.layer[0].colour"),
        (HEAD + LAYER.replace("per-kwh", "per-kva") + 'amount = "1"\n', "tariff.layer[0].unit"),
        (HEAD + LAYER.replace("2025-01-01", '"2025"') + 'amount = "1"\n', "tariff.layer[0].valid_from"),
        (HEAD + LAYER + 'window = [{ hours = ["16:05", "19:00"], amount = "1" }]\n', "tariff.layer[0].window[0].hours"),
        (HEAD + LAYER + 'window = [{ hours = ["24:00", "25:00"], amount = "1" }]\n', "tariff.layer[0].window[0].hours"),
        (
            HEAD + LAYER + 'window = [{ season = ["02-30", "03-01"], amount = "1" }]\n',
            "tariff.layer[0].window[0].season",
        ),
        (HEAD + LAYER + 'window = [{ days = "holidays", amount = "1" }]\n', "tariff.layer[0].window[0].days"),
        (HEAD + LAYER + 'amount = "1"\nillustrative = 1\n', "tariff.layer[0].illustrative"),
        (HEAD + LAYER + 'amount = "1"\nillustrative = true\nsource = "s"\n', "layer.n.illustrative"),
        (HEAD.replace("Europe/Berlin", "Mars/Base") + LAYER + 'amount = "1"\n', "time_zone"),
    ],
)
def test_a_wrong_file_is_named_by_its_key(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refusal:
        load_site_tariff(path)
    assert refusal.value.field.endswith(field)


def test_the_command_prints_what_a_quarter_hour_costs_layer_by_layer() -> None:
    path = CONFIG / "tariffs" / "de_depot_2025.toml"
    shown = CliRunner().invoke(app, ["market", "tariff", str(path), "2025-10-15"])
    assert shown.exit_code == 0, shown.output
    assert "network fee, energy" in shown.output
    assert "59.01000 EUR per MWh" in shown.output
    assert "19.85 EUR per kW of the month's highest power" in shown.output
    assert "source Stadtwerke Malchow" in shown.output
    assert f"metering (network, per-month) from 2025-01-01 to 2026-01-01\n    {ILLUSTRATIVE}\n" in shown.output
