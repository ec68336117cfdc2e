"""From when on a charger counts as not following, not answering, silent or not using what it may."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class FollowRules:
    """When a charger counts as not following."""

    tolerance_kw: float = 0.3
    tolerance_share: float = 0.05
    """More than limit plus the larger of both is over-drawing."""
    settle_s: float = 15.0
    """Measurements so soon after a command say nothing yet."""
    samples: int = 2
    """So many measurements in a row over the limit, or ..."""
    not_following_after_s: float = 60.0
    """... one, and nothing better for so long."""
    ack_timeout_s: float = 30.0
    """A platform must acknowledge within this time."""
    doubt_after_s: float = 5.0
    """A command that is not acknowledged for so long is not believed: others make room for what was accepted before."""
    silent_after_s: float = 300.0
    """A charger with a car that sends no measurement for so long is silent."""
    taper_after_s: float = 30.0
    """A car that draws less than its limit for so long leaves the rest to others."""
    damping_s: float = 60.0
    """Time constant with which a measurement counts for what is left to others: noise moves nobody's set point."""

    def tolerance(self, limit_kw: FloatArray) -> FloatArray:
        """Return the tolerance per charger in kW."""
        return np.maximum(self.tolerance_kw, self.tolerance_share * limit_kw)
