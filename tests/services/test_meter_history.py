"""What a platform reports of its meters' past: it fills what is unknown, all of it or none, and nothing else."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from gateway.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionRefused,
    RequestReused,
    StorageUnavailable,
)
from gateway.domain.settlement import MeteredPeriod
from gateway.domain.timegrid import DeliveryDay, TimeGrid
from gateway.domain.topology import Charger
from gateway.domain.units import QUARTER_HOUR
from gateway.ports import Batch
from gateway.services.plan_bids.knowledge import mean_other_load_kw
from gateway.services.track_fleet import MeterHistory
from gateway.services.track_fleet.history import MOST_PERIODS
from tests.fakes.clock import START
from tests.services.scene import OPERATOR, PLATFORM, POINTS, TENANT, Scene, tree

BEGIN = START.replace(minute=0, second=0, microsecond=0) - timedelta(days=2)


def past(count: int = 8, **changes: object) -> MeterHistory:
    """A meter that counted 10 kWh a period, the chargers 4 of it."""
    values: dict[str, object] = {
        "connection_point": POINTS[0],
        "start": BEGIN,
        "resolution": QUARTER_HOUR,
        "energy_kwh": np.full(count, 10.0),
        "chargers_kwh": np.full(count, 4.0),
    }
    return MeterHistory(**(values | changes))  # type: ignore[arg-type]


def metered(start: datetime, energy_kwh: float) -> MeteredPeriod:
    return MeteredPeriod(
        id=f"{POINTS[0]}:{start.isoformat()}",
        tenant=TENANT,
        connection_point=POINTS[0],
        start=start,
        end=start + QUARTER_HOUR,
        energy_kwh=energy_kwh,
        chargers_kwh=0.0,
        coverage=0.4,
    )


async def a_scene(*more: object) -> Scene:
    scene = Scene()
    await scene.store.seed(TENANT, *tree(), *more)
    await scene.load()
    return scene


async def report(scene: Scene, history: MeterHistory, request_id: str = "m1") -> int:
    return await scene.services.tracker.report_meter_history(PLATFORM, history, request_id=request_id)


def rows(scene: Scene) -> list[MeteredPeriod]:
    return sorted(scene.store.all(MeteredPeriod, TENANT), key=lambda row: row.start)


async def test_the_past_becomes_metered_periods_with_an_audit_entry_in_the_same_batch() -> None:
    scene = await a_scene()
    assert await report(scene, past()) == 8
    kept = rows(scene)
    assert [row.start for row in kept] == [BEGIN + QUARTER_HOUR * i for i in range(8)]
    assert all(row.end - row.start == QUARTER_HOUR for row in kept)
    assert {(row.energy_kwh, row.chargers_kwh, row.coverage) for row in kept} == {(10.0, 4.0, 1.0)}
    assert kept[0].id == f"{POINTS[0]}:{BEGIN.isoformat()}"
    batch = scene.store.applied[-1]
    assert len(batch.puts) == 8
    [entry] = batch.audit
    assert (entry.actor, entry.action, entry.object_id, entry.request_id) == (
        PLATFORM.actor,
        "metered.report",
        POINTS[0],
        "m1",
    )
    assert (entry.detail["reported"], entry.detail["kept"]) == ("8", "8")


async def test_the_forecast_of_the_other_load_learns_from_it() -> None:
    scene = await a_scene()
    await report(scene, past(96))
    grid = DeliveryDay.containing(START, "Europe/Brussels").next().grid()
    load_kw = mean_other_load_kw(rows(scene), grid, "Europe/Brussels")
    assert load_kw is not None
    assert load_kw.tolist() == [24.0] * grid.count


async def test_what_was_metered_is_never_overwritten() -> None:
    measured = metered(BEGIN + QUARTER_HOUR * 3, 77.0)
    scene = await a_scene(measured)
    assert await report(scene, past()) == 7
    kept = rows(scene)
    assert len(kept) == 8
    assert kept[3] == measured
    assert await report(scene, past(energy_kwh=np.full(8, 99.0)), "m2") == 0
    assert rows(scene) == kept
    assert scene.store.applied[-1].audit[0].detail["kept"] == "0"


async def test_a_repeated_report_is_answered_again_and_other_content_refused() -> None:
    scene = await a_scene()
    assert await report(scene, past()) == 8
    batches = len(scene.store.applied)
    assert await report(scene, past()) == 8
    assert len(scene.store.applied) == batches
    for other in (
        past(energy_kwh=np.full(8, 10.5)),
        past(chargers_kwh=np.full(8, 4.5)),
        past(connection_point=POINTS[1]),
        past(start=BEGIN + QUARTER_HOUR),
        past(7),
    ):
        with pytest.raises(RequestReused):
            await report(scene, other)
    with pytest.raises(InvalidInput, match="request_id"):
        await report(scene, past(), "")


async def test_only_the_platform_at_the_site_may_report() -> None:
    scene = await a_scene()
    tracker = scene.services.tracker
    with pytest.raises(PermissionRefused):
        await tracker.report_meter_history(OPERATOR, past(), request_id="m1")
    with pytest.raises(NotFound, match="connection point"):
        await report(scene, past(connection_point="541448820000009999"))
    with pytest.raises(NotFound, match="connection point"):
        await tracker.report_meter_history(replace(PLATFORM, csms="csms-other"), past(), request_id="m1")
    with pytest.raises(NotFound):
        await tracker.report_meter_history(replace(PLATFORM, tenant="other"), past(), request_id="m1")
    assert not rows(scene)


async def test_a_platform_reports_only_where_its_own_chargers_are() -> None:
    changed = [replace(row, csms="csms-2") if isinstance(row, Charger) and "-2-" in row.id else row for row in tree()]
    scene = Scene()
    await scene.store.seed(TENANT, *changed)
    await scene.load()
    second = replace(PLATFORM, csms="csms-2")
    tracker = scene.services.tracker
    assert await tracker.report_meter_history(second, past(connection_point=POINTS[1]), request_id="b") == 8
    with pytest.raises(NotFound):
        await tracker.report_meter_history(second, past(), request_id="a")
    assert await tracker.report_meter_history(replace(second, csms=None), past(), request_id="c") == 8


async def test_periods_must_be_over() -> None:
    scene = await a_scene()
    border = START - QUARTER_HOUR * 8
    assert await report(scene, past(start=border)) == 8
    with pytest.raises(InvalidInput, match="start_time"):
        await report(scene, past(start=border + QUARTER_HOUR), "m2")
    with pytest.raises(InvalidInput, match="start_time"):
        await report(scene, past(start=datetime.fromisoformat("9999-12-31T23:00:00+00:00")), "m3")
    assert len(rows(scene)) == 8


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("resolution_minutes", {"resolution": timedelta(hours=1)}),
        ("resolution_minutes", {"resolution": timedelta(0)}),
        ("start_time", {"start": BEGIN + timedelta(minutes=7)}),
        ("start_time", {"start": BEGIN + timedelta(microseconds=1)}),
        ("start_time", {"start": BEGIN.replace(tzinfo=None)}),
        ("energy_kwh", {"energy_kwh": np.zeros(0), "chargers_kwh": np.zeros(0)}),
        ("energy_kwh", {"energy_kwh": np.zeros(MOST_PERIODS + 1), "chargers_kwh": np.zeros(MOST_PERIODS + 1)}),
        ("energy_kwh", {"energy_kwh": np.array([1.0, np.nan] * 4)}),
        ("charger_energy_kwh", {"chargers_kwh": np.zeros(0)}),
        ("charger_energy_kwh", {"chargers_kwh": np.zeros(7)}),
        ("charger_energy_kwh", {"chargers_kwh": np.array([1.0, np.inf] * 4)}),
        ("charger_energy_kwh", {"chargers_kwh": np.full(8, -0.1)}),
    ],
)
def test_a_wrong_column_is_refused_by_its_name(field: str, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        past(**changes)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_longest_report_is_taken_and_a_site_may_feed_in() -> None:
    history = past(MOST_PERIODS, start=BEGIN - QUARTER_HOUR * MOST_PERIODS, energy_kwh=np.full(MOST_PERIODS, -1.0))
    grid = TimeGrid(start=history.start, count=MOST_PERIODS)
    assert history.end() == grid.end == BEGIN
    assert history.rows(TENANT)[-1].energy_kwh == -1.0


async def test_without_a_disk_nothing_is_kept_and_the_request_can_come_again() -> None:
    scene = await a_scene()
    scene.store.is_down = True
    with pytest.raises(StorageUnavailable):
        await report(scene, past())
    assert not rows(scene)
    scene.store.is_down = False
    assert await report(scene, past()) == 8


async def test_a_period_that_is_metered_in_this_moment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await a_scene()
    measured = metered(BEGIN, 77.0)
    apply = scene.store.apply

    async def meter_first(batch: Batch) -> None:
        monkeypatch.setattr(scene.store, "apply", apply)
        await scene.store.seed(TENANT, measured)
        await apply(batch)

    monkeypatch.setattr(scene.store, "apply", meter_first)
    with pytest.raises(Conflict):
        await report(scene, past())
    assert rows(scene) == [measured]
    assert await report(scene, past()) == 7


async def test_what_a_model_made_is_kept_as_modelled() -> None:
    scene = await a_scene()
    assert await report(scene, past(is_modelled=True)) == 8
    assert all(row.is_modelled for row in rows(scene))
    with pytest.raises(RequestReused):
        await report(scene, past())
