"""What is doubtful about prices is said in words, once for each kind, the heaviest first."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.domain.price_doubts import AFTER_DECOUPLING, UsedDay, doubts_about, kinds_of_doubt
from gateway.domain.series import DayState, MarketDayStatus, PriceProduct, Quality, market_day_id
from tests.fakes.market import price_series
from tests.services.market_scene import DAY, TENANT, prices_of

NOW = datetime(2025, 10, 14, 9, tzinfo=UTC)
SDAC = PriceProduct.DAY_AHEAD_SDAC
DIFFERS = "smard differs from entsoe in 1 of 96 periods, most at 2025-10-14 10:00Z: 1 instead of 2"


def used(
    back: int = 0,
    *,
    state: DayState = DayState.COMPLETE,
    quality: Quality | None = Quality.FINAL,
    note: str = "",
    said: str = "",
) -> UsedDay:
    day = DAY.next(-back)
    series = None if quality is None else replace(price_series(day, prices_of(day), fetched_at=NOW), quality=quality)
    status = MarketDayStatus(
        id=market_day_id("BE", SDAC, day),
        tenant=TENANT,
        zone="BE",
        product=SDAC,
        day=day.day.isoformat(),
        state=state,
        missing_count=0,
        series_id=None if series is None else series.id,
        checked_at=NOW,
        note=note,
        cross_check=said,
    )
    return UsedDay(status=status, series=series)


@pytest.mark.parametrize(
    ("day", "kinds"),
    [
        pytest.param(used(), (), id="whole and final"),
        pytest.param(used(said="confirmed by smard in 96 periods"), (), id="confirmed"),
        pytest.param(used(said=DIFFERS), ("prices that another source contradicts",), id="contradicted"),
        pytest.param(
            used(state=DayState.DECOUPLED, quality=None), ("no prices by the deadline of the coupling",), id="decoupled"
        ),
        pytest.param(
            used(note=f"{AFTER_DECOUPLING}; x"), ("no prices by the deadline of the coupling",), id="came after it"
        ),
        pytest.param(used(state=DayState.LATE, quality=None), ("prices that are late or not whole",), id="late"),
        pytest.param(used(state=DayState.FALLBACK, quality=None), ("prices that are late or not whole",), id="never"),
        pytest.param(
            used(state=DayState.FALLBACK, quality=Quality.SUBSTITUTED),
            ("stand-ins instead of prices",),
            id="stood in for",
        ),
        pytest.param(used(quality=Quality.ESTIMATED), ("estimates instead of prices",), id="estimated"),
        pytest.param(used(quality=Quality.PRELIMINARY), ("preliminary prices",), id="preliminary"),
        pytest.param(
            used(quality=Quality.PRELIMINARY, said=DIFFERS),
            ("prices that another source contradicts", "preliminary prices"),
            id="two at once",
        ),
    ],
)
def test_a_day_tells_what_is_doubtful(day: UsedDay, kinds: tuple[str, ...]) -> None:
    assert kinds_of_doubt(day) == kinds


def test_days_are_counted_and_the_last_one_is_named() -> None:
    days = [used(), used(1, said=DIFFERS), used(4, quality=Quality.ESTIMATED), used(3, quality=Quality.ESTIMATED)]
    assert doubts_about(days) == (
        f"prices that another source contradicts on 1 of 4 days, last {DAY.next(-1).day.isoformat()} ({DIFFERS}; 1 not acknowledged)",
        f"estimates instead of prices on 2 of 4 days, last {DAY.next(-3).day.isoformat()}",
    )
    assert doubts_about([used(), used(1)]) == ()
