"""The Californian day: what the gateway is told, and what the summary makes of its answers."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.demo.configuration import MARKETS, fleet_arguments, gateway_tables, write_gateway_config
from gateway.demo.folder import RunFolder
from gateway.demo.tariff_day import summarise_tariff_day
from gateway.demo.timeline import pace_for, timeline_of
from gateway.domain.timegrid import DeliveryDay
from gateway.settings import load_settings
from gateway.v1 import bidding_service_pb2 as bidding
from gateway.v1 import dispatch_service_pb2 as dispatch
from gateway.v1 import evidence_service_pb2 as evidence
from gateway.v1 import market_data_service_pb2 as market_data

US = MARKETS["us"]
PACE = pace_for(1800.0, is_autopilot=True)


def test_the_gateway_gets_a_tariff_and_no_market(tmp_path: Path) -> None:
    folder = RunFolder(path=tmp_path)
    write_gateway_config(folder, US, PACE, {}, seed=1)
    settings = load_settings(folder.config)
    assert (settings.market, settings.exchange, settings.brp, settings.vtn) == (None, None, None, ())
    assert settings.tariff is not None
    assert (settings.tariff.zone, settings.tariff.currency, settings.time_zone) == ("SCE", "USD", "America/Los_Angeles")
    assert settings.tariff.file.exists()
    assert settings.tariff.carbon_file is not None
    assert settings.tariff.carbon_file.exists()


def test_the_belgian_gateway_still_gets_its_market(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    doors: dict[str, dict[str, Any]] = {
        "market": {
            f"{name}": f"http://127.0.0.1:9/{name}"
            for name in ("entsoe_url", "entsoe_token", "carbon_url", "carbon_token", "exchange_url", "sts_url")
        }
        | dict.fromkeys(("exchange_username", "exchange_password", "brp_url", "brp_token"), "x"),
        "grid": {"vtn_url": "http://127.0.0.1:9/"},
    }
    tables = gateway_tables(RunFolder(path=tmp_path), MARKETS["be"], PACE, doors, seed=1)
    assert tables["market"]["zone"] == "BE"
    assert "tariff" not in tables
    assert len(tables["vtn"]) == 1
    assert tables["dispatch"]["tick"] == 900.0


def test_recorded_sessions_are_replayed(tmp_path: Path) -> None:
    timeline = timeline_of(DeliveryDay(day=US.day, zone=US.time_zone))
    arguments = fleet_arguments(RunFolder(path=tmp_path), US, timeline, PACE, "127.0.0.1:1")
    assert arguments[arguments.index("--recorded") + 1].endswith("us_2019/sessions.csv")
    assert arguments[arguments.index("--from-day") + 1] == "2019-05-22"
    assert "--recorded" not in fleet_arguments(RunFolder(path=tmp_path), MARKETS["be"], timeline, PACE, "127.0.0.1:1")


def point(**changes: Any) -> bidding.TariffCost:
    fields: dict[str, Any] = {
        "connection_point_id": "caltech-meter",
        "metered_period_count": 96,
        "charged_kwh": "90.000",
        "cost": "6.8",
        "emissions_kg": 20.0,
        "uncontrolled_kwh": "100",
        "uncontrolled_cost": "8.0",
        "uncontrolled_emissions_kg": 25.0,
    }
    return bidding.TariffCost(**(fields | changes))


def summary_of(*points: bidding.TariffCost, bids: tuple[bidding.Bid, ...] = ()) -> dict[str, Any]:
    return summarise_tariff_day(
        market="us",
        delivery_day="2019-05-23",
        market_time=datetime(2019, 5, 24, 8, tzinfo=UTC),
        costs=bidding.GetTariffCostResponse(currency_code="USD", period_count=96, points=points),
        prices=market_data.GetPricesResponse(source="tariff: SCE TOU-EV-4", currency_code="USD", note="energy only"),
        carbon=market_data.GetCarbonResponse(
            kind=market_data.CARBON_KIND_MARGINAL, quality=market_data.QUALITY_FINAL, source="sgip-file"
        ),
        bids=bids,
        troubles=[dispatch.ChargerDispatch(charger_id=f"c{n}", likely_cause="stuck") for n in range(7)],
        fleet={"missed_departure_count": 3, "missed_early_count": 2, "missed_kwh": 1.5, "ended_count": 120},
        plan=[evidence.TraceStep(kind="plan", id="p", summary="plan of vpp-us")],
        audit=evidence.VerifyAuditResponse(entry_count=9, is_intact=True, head_hash="ff"),
    )


def test_energy_that_was_not_charged_is_no_saving() -> None:
    cost = summary_of(point())["cost"]
    assert cost["uncontrolled_cost_modelled"] == "8.00"
    assert cost["uncontrolled_cost_of_charged_energy_modelled"] == "7.20"
    assert cost["saved_modelled"] == "0.40"


def test_connection_points_add_up() -> None:
    summary = summary_of(point(), point(connection_point_id="jpl-meter", metered_period_count=90))
    assert summary["energy"] == {
        "charged_kwh": "180.00",
        "uncontrolled_kwh_modelled": "200.00",
        "metered_periods": 186,
        "periods": 192,
    }
    assert summary["co2"] == {"marginal_kg_modelled": 40.0, "uncontrolled_marginal_kg_modelled": 50.0}
    assert summary["drivers"]["missed_departures"] == 3
    assert (summary["chargers_not_following"]["count"], len(summary["chargers_not_following"]["first"])) == (7, 5)
    assert summary["audit"] == {"entries": 9, "is_intact": True, "head_hash": "ff"}


@pytest.mark.parametrize("field", ["emissions_kg", "uncontrolled_emissions_kg"])
def test_carbon_that_is_not_known_everywhere_is_not_summed(field: str) -> None:
    unknown = point()
    unknown.ClearField(field)  # type: ignore[arg-type]
    assert summary_of(point(), unknown)["co2"] is None


def test_nothing_charged_costs_nothing() -> None:
    nothing = point(charged_kwh="0", cost="0", uncontrolled_kwh="0", uncontrolled_cost="0")
    assert summary_of(nothing)["cost"]["saved_modelled"] == "0.00"
    assert summary_of(nothing)["bid"] is None
    assert summary_of(nothing, bids=(bidding.Bid(id="b"),))["bid"] == "b"
