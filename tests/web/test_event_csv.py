"""The measurement of an event as CSV: whoever has the file computes the baseline again, with the documented formula alone."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta

import pytest

from gateway.domain.settlement import EventPerformance
from gateway.domain.signals import GridEvent
from gateway.domain.timegrid import DeliveryDay
from gateway.services.report_delivery import EventMeasurement
from gateway.web.event_csv import COLUMNS, measurement_csv
from tests.services.market_scene import AUDITOR, DAY, TENANT
from tests.services.test_report_delivery import BEGIN, EVENT, POINT, Reporting, metered
from tests.web.conftest import browsing, serving
from tests.web.partners_scene import PARTNER, with_partners

OTHER_POINT = "541448820000000001"
NODES = ("site-01", "site-02")


def file_of(found: EventMeasurement) -> list[dict[str, str]]:
    out = io.StringIO()
    csv.writer(out).writerows(measurement_csv(found))
    out.seek(0)
    return list(csv.DictReader(out))


def recomputed_kw(rows: Iterable[dict[str, str]]) -> float:
    """Compute the baseline by the formula that the module of the file documents, from its text alone."""
    days: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    last: dict[str, str] = {}
    for row in rows:
        last = row
        if row["row"] == "baseline-day" and row["is_comparable"] == "yes":
            length = datetime.fromisoformat(row["end_utc"]) - datetime.fromisoformat(row["start_utc"])
            days[row["day"]][row["slot"]] += float(row["chargers_kwh"]) / (length.total_seconds() / 3600.0)
    latest = sorted(days, reverse=True)[: int(last["looked_at"])]
    means = {day: sum(days[day].values()) / len(days[day]) for day in latest}
    counted = sorted(latest, key=lambda day: means[day], reverse=True)[: int(last["counted"])]
    return sum(means[day] for day in counted) / len(counted) + float(last["adjustment_kw"])


async def measured(
    past: Sequence[tuple[int, float]] = ((1, 80.0), (2, 100.0), (5, 90.0)), *, begin: datetime = BEGIN
) -> tuple[Reporting, EventMeasurement]:
    scene = Reporting()
    await scene.with_event(max_kw=40.0, nodes=NODES, begin=begin)
    today = DeliveryDay.containing(begin, "Europe/Brussels")
    for back, kw in past:
        start = today.next(-back).at(time(17))
        for point, extra in ((POINT, 0.0), (OTHER_POINT, 7.25)):
            rows = metered(point, start, [kw + extra + slot for slot in range(12)])
            await scene.store.seed(TENANT, *(replace(row, is_modelled=back == 1) for row in rows))
    for node, kw in zip(NODES, (30.0, 20.0), strict=True):
        scene.samples.put(node, begin, [kw] * 120)
    await scene.store.seed(TENANT, *metered(POINT, begin, [30.0] * 4))
    scene.clock.set(begin + timedelta(minutes=61))
    return scene, await scene.reporter.event_measurement(AUDITOR, EVENT)


@pytest.mark.parametrize(
    "past",
    [
        ((1, 80.0), (2, 100.0), (5, 90.0)),
        ((1, 80.0), (2, 80.0), (5, 80.0), (6, 900.0)),
        ((1, 10.0), (2, 0.0)),
    ],
    ids=["highest", "equal-and-out-of-reach", "as-many-as-count"],
)
async def test_the_baseline_is_computed_again_from_the_file_alone(past: tuple[tuple[int, float], ...]) -> None:
    _, found = await measured(past)
    rows = file_of(found)
    assert found.performance.baseline_kw is not None
    assert recomputed_kw(rows) == pytest.approx(found.performance.baseline_kw, abs=1e-9)
    assert {row["baseline_kw"] for row in rows} == {repr(found.performance.baseline_kw)}
    counted = {row["day"] for row in rows if row["is_counted"] == "yes"}
    assert all(day in found.performance.baseline_method for day in counted)
    assert len(counted) == 2


async def test_the_file_says_method_origin_and_what_was_not_read() -> None:
    _, found = await measured()
    rows = file_of(found)
    assert tuple(rows[0]) == COLUMNS
    assert {(row["method"], row["adjustment"], row["adjustment_kw"], row["basis"]) for row in rows} == {
        ("high 2 of 3", "none", "0.0", "chargers only")
    }
    modelled = {row["day"] for row in rows if row["origin"] == "modelled"}
    assert modelled == {DAY.next(-1).day.isoformat()}
    own = [row for row in rows if row["row"] == "event"]
    assert len(own) == 2 * len({row["slot"] for row in own})
    read = [row for row in own if row["connection_point"] == POINT][:4]
    assert [(row["chargers_kwh"], row["at_the_meter_kwh"], row["origin"]) for row in read] == [
        ("7.5", "8.5", "measured")
    ] * 4
    unread = [row for row in own if row["connection_point"] == OTHER_POINT]
    assert {(row["chargers_kwh"], row["at_the_meter_kwh"], row["origin"]) for row in unread} == {("", "", "missing")}
    for row in rows:
        assert datetime.fromisoformat(row["start_local"]) == datetime.fromisoformat(row["start_utc"])


async def test_modelled_days_are_named_where_the_method_is() -> None:
    _, found = await measured(((1, 100.0), (2, 80.0), (5, 90.0)))
    assert found.performance.baseline_method == "high 2 of 3 (2025-10-14 modelled, 2025-10-10)"


async def test_slots_are_those_of_the_same_wall_clock_over_the_change_of_the_clock() -> None:
    monday = DeliveryDay(day=DAY.day.replace(day=27), zone="Europe/Brussels")
    _, found = await measured(((3, 80.0), (4, 100.0), (5, 90.0)), begin=monday.at(time(18)))
    rows = file_of(found)
    assert {row["start_local"][10:] for row in rows if row["slot"] == "1"} == {"T18:00:00+01:00", "T18:00:00+02:00"}
    assert recomputed_kw(rows) == pytest.approx(found.performance.baseline_kw, abs=1e-9)


async def test_without_enough_past_the_file_has_what_there_is() -> None:
    _, found = await measured(((1, 80.0),))
    rows = file_of(found)
    assert {row["baseline_kw"] for row in rows} == {""}
    assert {row["judged_baseline"] for row in rows} == {"high 2 of 3: only 1 comparable days with meter readings"}
    assert {row["is_comparable"] for row in rows if row["row"] == "baseline-day"} == {"yes", "no"}


async def test_pages_link_to_it_and_who_may_not_see_events_gets_none() -> None:
    house, journal = await with_partners()
    [done] = [one for one in house.scene.store.all(GridEvent, TENANT) if one.id == f"{PARTNER}:done"]
    address = "/utility/event/measurement.csv?id=vtn%3Agrid%3Adone"
    async with serving(house, journal=journal) as url, browsing(url) as browser:
        await browser.login("olga")
        assert address in (await browser.get("/utility", Accept="text/html")).text
        event_page = (await browser.get(f"/utility/event?id={done.id}", Accept="text/html")).text
        assert address in event_page
        assert "by the chargers only" in event_page
        page = await browser.get(address)
        assert page.status == 200
        head, *lines = csv.reader(io.StringIO(page.text))
        assert tuple(head) == COLUMNS
        assert {line[0] for line in lines} == {"done"}
        [kept] = [one for one in house.scene.store.all(EventPerformance, TENANT) if one.event == done.id]
        assert {line[head.index("judged_mean_power_kw")] for line in lines} == {repr(kept.mean_power_kw)}
        assert (await browser.get("/utility/event/measurement.csv?id=nothing")).status == 404
    async with serving(house) as url, browsing(url) as stranger:
        assert (await stranger.get(address)).status == 401
