from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli.demo import delivery_day_of
from gateway.demo.configuration import MARKETS, gateway_tables
from gateway.demo.folder import fresh_folder
from gateway.demo.settings import DEMO_FILE, demo_settings
from gateway.demo.timeline import at_least_real, pace_for, timeline_of
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay

DOORS = {
    "market": dict.fromkeys(
        (
            "entsoe_url",
            "entsoe_token",
            "carbon_url",
            "carbon_token",
            "exchange_url",
            "sts_url",
            "exchange_username",
            "exchange_password",
            "brp_url",
            "brp_token",
        ),
        "x",
    ),
    "grid": {"vtn_url": "http://127.0.0.1:1/x"},
}


def test_the_run_opens_at_eleven_local_the_day_before() -> None:
    timeline = timeline_of(DeliveryDay(day=date(2025, 10, 15), zone="Europe/Brussels"))
    assert timeline.opening == datetime(2025, 10, 14, 9, tzinfo=UTC)
    assert timeline.delivery_end - timeline.delivery_start == timedelta(hours=24)


@pytest.mark.parametrize(
    ("market", "day", "is_played"),
    [
        ("be", "2025-10-02", True),
        ("be", "2025-10-19", True),
        ("be", "2025-10-01", False),
        ("be", "2025-10-26", False),
        ("be", "tomorrow", False),
        ("us", "2019-05-30", True),
        ("us", "2025-10-15", False),
    ],
)
def test_only_days_that_were_recorded_whole_are_played(market: str, day: str, is_played: bool) -> None:
    """On a stand-in the day would pass and never be settled: no money is made from prices of another day."""
    if is_played:
        assert delivery_day_of(day, MARKETS[market]) == date.fromisoformat(day)
        return
    with pytest.raises(InvalidInput) as caught:
        delivery_day_of(day, MARKETS[market])
    assert caught.value.field == "day"


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2025, 10, 26), 25)])
def test_a_delivery_day_with_a_clock_change_has_its_own_length(day: date, hours: int) -> None:
    timeline = timeline_of(DeliveryDay(day=day, zone="Europe/Brussels"))
    assert timeline.delivery_end - timeline.delivery_start == timedelta(hours=hours)


@pytest.mark.parametrize("is_autopilot", [True, False])
@pytest.mark.parametrize("speed", [None, 1.0, 144.0, 3600.0])
def test_leases_polls_and_heartbeats_last_five_real_seconds(
    tmp_path: Path, speed: float | None, is_autopilot: bool
) -> None:
    pace = pace_for(speed, is_autopilot=is_autopilot)
    tables = gateway_tables(fresh_folder(tmp_path / "run"), MARKETS["be"], pace, DOORS, seed=1)
    assert tables["dispatch"]["lease"] / pace.fastest >= 5.0
    assert tables["vtn"][0]["poll"] / pace.fastest >= 5.0
    assert tables["rpc"]["heartbeat_real_seconds"] >= 5.0


def test_a_wish_for_speed_never_slows_the_quiet_hours() -> None:
    pace = pace_for(900.0, is_autopilot=False)
    assert pace.delivery == 900.0
    assert pace.quiet >= 900.0


def test_a_short_duration_is_lengthened_and_a_long_one_kept() -> None:
    assert at_least_real(timedelta(minutes=1), 600.0) == timedelta(seconds=3000)
    assert at_least_real(timedelta(hours=2), 600.0) == timedelta(hours=2)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("shortest_real_seconds = 5.0", "shortest_real_seconds = 1.0", "shortest_real_seconds"),
        ("event_kw = 1000.0", "event_kw = -1.0", "event_kw"),
        ("[pace.people]", "[pace.peopel]", "pace.people"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(DEMO_FILE.read_text().replace(old, new))
    with pytest.raises(InvalidInput) as caught:
        demo_settings(path)
    assert caught.value.field == field
