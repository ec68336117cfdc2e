"""The campaign of the dispatcher: the same seed lives the same days, and a broken control loop is seen."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from gateway.services.gather_signals.ledger import LimitLedger
from gateway.services.plan_dispatch import DispatchLink, LinkBatch
from gateway.services.plan_dispatch.control import Control
from gateway.services.plan_dispatch.picture import Picture
from gateway.services.plan_dispatch.sender import Sender
from scripts.campaigns import dispatch
from scripts.dispatch_happenings import HAPPENINGS, SHARES
from scripts.dispatch_pace import PACES, Pace
from scripts.dispatch_world import Platform


def after(count: int) -> Callable[[], bool]:
    """A deadline in cases instead of seconds."""
    left = iter(range(count))
    return lambda: next(left, None) is None


@pytest.fixture
def short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days of two hours in which something happens every few minutes."""
    monkeypatch.setattr(dispatch, "DAY_S", 2 * 3600.0)
    monkeypatch.setattr(dispatch, "PACES", (Pace(tick_s=120.0, lease_s=600.0, calm_s=300.0),) * len(PACES))


@pytest.mark.usefixtures("short_days")
def test_the_same_seed_gives_the_same_history_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "DAY_S", 3600.0)
    first, again = dispatch.run(7, after(1)), dispatch.run(7, after(1))
    assert first == again
    assert first.failures == ()
    assert first.measured["history_digest"] != dispatch.run(8, after(1)).measured["history_digest"]


def limits_are_not_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_self: Control, _picture: Picture) -> None:
        return None

    monkeypatch.setattr(Control, "_clipped", nothing)


def leases_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Platform.read

    async def read(self: Any, *, is_written: bool) -> bool:
        acted = await plain(self, is_written=is_written)
        self._hands.lease_end_s[:] = np.where(self._hands.lease_end_s > 0.0, 1e9, self._hands.lease_end_s)
        return acted

    monkeypatch.setattr(Platform, "read", read)


def leases_are_ten_seconds_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = DispatchLink._take

    def take(self: DispatchLink) -> LinkBatch:
        batch = plain(self)
        return replace(batch, lease_until=batch.lease_until + timedelta(seconds=10))

    monkeypatch.setattr(DispatchLink, "_take", take)


def numbers_are_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def know_sequence(self: Sender, csms: str, sequence: int) -> None:
        self._sequences[csms] = max(sequence - 1, 0)

    monkeypatch.setattr(Sender, "know_sequence", know_sequence)


def limits_are_forgotten_at_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = LimitLedger.load

    def load(self: LimitLedger, events: Any, limits: Any, now: Any) -> None:
        del limits
        plain(self, events, [], now)

    monkeypatch.setattr(LimitLedger, "load", load)


@pytest.mark.usefixtures("short_days")
@pytest.mark.parametrize(
    ("broken", "seed"),
    [
        (limits_are_not_clipped, 7),
        (leases_never_end, 1),
        (leases_are_ten_seconds_longer, 1),
        (numbers_are_given_out_again, 1),
        (limits_are_forgotten_at_a_restart, 5),
    ],
)
def test_the_campaign_sees_a_broken_dispatcher(
    monkeypatch: pytest.MonkeyPatch, broken: Callable[[pytest.MonkeyPatch], None], seed: int
) -> None:
    broken(monkeypatch)
    assert dispatch.run(seed, after(1)).failures


def test_everything_that_may_happen_has_its_share() -> None:
    assert len(SHARES) == len(HAPPENINGS)
    assert sum(SHARES) == pytest.approx(1.0)
