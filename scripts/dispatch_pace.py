"""How fast the days of the dispatch campaign pass: how often something happens, how often it is looked, and how long leases run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gateway.domain.calm import CalmRules
from gateway.domain.follow_rules import FollowRules
from gateway.services.plan_dispatch import DispatchSettings
from gateway.services.track_fleet import TrackSettings

RETRY_S = 30.0
LEASE_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The times of one day.

    Attributes:
        tick_s: Time between two looks, and between two measurements, while nothing happens.
        lease_s: How long a command holds.
        calm_s: Mean time between two happenings.
    """

    tick_s: float
    lease_s: float
    calm_s: float

    @property
    def detection_s(self) -> float:
        """Until then an over-drawing charger need not be known: two measurements after a command has settled."""
        return 2 * self.tick_s + 60.0

    @property
    def asked_again_s(self) -> float:
        """Until then who refused or was silent has been asked again."""
        return RETRY_S + self.tick_s + 10.0

    @property
    def fail_safe_s(self) -> float:
        """Until then every charger that enforces its lease is at its fallback after its stream has ended."""
        return self.lease_s + LEASE_GRACE_S

    @property
    def settings(self) -> DispatchSettings:
        """What the dispatcher is told."""
        return DispatchSettings(
            tick=timedelta(seconds=self.tick_s),
            lease=timedelta(seconds=self.lease_s),
            lead=timedelta(seconds=10),
            retry_after=timedelta(seconds=RETRY_S),
            calm=CalmRules(restore_spread_s=self.lease_s, ramp_kw_per_s=0.05),
            store_patience_s=60.0,
        )

    @property
    def rules(self) -> FollowRules:
        """When a charger counts as not following."""
        return FollowRules(ack_timeout_s=60.0, silent_after_s=5 * self.tick_s, taper_after_s=2 * self.tick_s)

    @property
    def tracking(self) -> TrackSettings:
        """When a measurement is too old."""
        return TrackSettings(stale_after=timedelta(seconds=3 * self.tick_s))


STORM = Pace(tick_s=120.0, lease_s=600.0, calm_s=20 * 60.0)
ORDINARY = Pace(tick_s=300.0, lease_s=1500.0, calm_s=60 * 60.0)
QUIET = Pace(tick_s=600.0, lease_s=3000.0, calm_s=120 * 60.0)
PACES = (STORM, ORDINARY, QUIET)
SHARES = (0.2, 0.4, 0.4)
"""How many of the days are of each kind: faults are far more frequent than in any life, and quiet days show what builds up."""
