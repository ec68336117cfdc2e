"""Old rows go once a day of market time, by the settings, and a disk that fails once does not end that."""

import asyncio
from datetime import timedelta

from gateway.app.keeping import keep_store, retention_of
from gateway.domain.dispatch import DispatchBatch
from gateway.domain.errors import StorageUnavailable
from gateway.domain.programs import PendingReport
from gateway.domain.signals import RawSignal
from gateway.settings import StoreSettings
from gateway.storage.retention import Retention
from tests.fakes.clock import HandClock


class CountingStore:
    """Counts how often it is cleaned, and fails when told."""

    def __init__(self) -> None:
        self.asked: list[Retention] = []
        self.is_down = False

    async def prune(self, retention: Retention) -> dict[str, int]:
        self.asked.append(retention)
        if self.is_down:
            raise StorageUnavailable("the disk is full")
        return {"raw_signal_record": 3, "outbox": 0}


def test_the_settings_say_how_long() -> None:
    found = retention_of(StoreSettings(messages_kept_days=40, reports_kept_days=8)).records
    assert found[RawSignal] == found[DispatchBatch] == timedelta(days=40)
    assert found[PendingReport] == timedelta(days=8)


async def test_once_a_day_and_again_after_a_failure() -> None:
    clock, store = HandClock(), CountingStore()
    task = asyncio.ensure_future(keep_store(store, StoreSettings(), clock))  # type: ignore[arg-type]  # all it calls
    for day, expected in enumerate((0, 1, 2, 3)):
        store.is_down = day == 1
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(store.asked) == expected
        clock.move(hours=23)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(store.asked) == expected
        clock.move(hours=1)
    task.cancel()
