"""How much of every limit is left free: as configured, and as chargers were measured above their commands lately."""

import numpy as np
import numpy.typing as npt

from gateway.domain.calm import TrackingError
from gateway.domain.commands import CommandBook
from gateway.domain.fleet import FleetView
from gateway.services.plan_dispatch.settings import DispatchSettings

FloatArray = npt.NDArray[np.float64]

_ERROR_MARGIN = 1.25
"""So much more than the worst measured excess is left free."""


class Headroom:
    """The share that is left free at every node, worked out once per tick."""

    def __init__(self, settings: DispatchSettings) -> None:
        """Begin with nothing measured.

        Args:
            settings: What is left free until it is known how exactly chargers follow, and bounds of what is learned.
        """
        self._settings = settings
        self._tracking = TrackingError(settings.headroom_window.total_seconds())
        self._known_at = -np.inf
        self.known = np.zeros(0)
        """As it was last worked out, shape (N,)."""

    def shift(self, seconds: float) -> None:
        """Move what was measured with a clock that was set by so many seconds."""
        self._tracking.shift(seconds)

    def of(self, view: FleetView, book: CommandBook, now: float) -> FloatArray:
        """Return the share to leave free per node, shape (N,).

        Args:
            view: The fleet.
            book: What its chargers were told.
            now: Seconds of the clock.
        """
        settings, count = self._settings, len(view.tree.node_ids)
        if self.known.shape == (count,) and 0.0 <= now - self._known_at < settings.tick.total_seconds():
            return self.known
        measured_kw, commanded_kw = book.tracked_kw(view.power_kw)
        totals = view.levels.totals
        self._tracking.see(totals(np.maximum(measured_kw - commanded_kw, 0.0)), totals(commanded_kw), now)
        learned = self._tracking.share(count) * _ERROR_MARGIN
        within = np.clip(learned, settings.least_headroom, settings.most_headroom)
        self.known, self._known_at = np.where(np.isnan(learned), settings.headroom, within), now
        return self.known
