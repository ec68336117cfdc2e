"""What a connection point lets a bidirectional fleet draw and feed in."""

from dataclasses import dataclass

import numpy as np

from bidding.arrays import FloatArray, require_each
from gateway.domain.errors import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FleetCaps:
    """Limits per slot, at least 0; infinite where there is none. Resting cars are always within them."""

    import_kwh: FloatArray
    """Most the fleet may draw on balance, shape (T,)."""
    export_kwh: FloatArray
    """Most it may feed in on balance, shape (T,)."""

    def __post_init__(self) -> None:
        """Check both limits.

        Raises:
            InvalidInput: Not one number of at least 0 per slot, or of different lengths.
        """
        for name in ("import_kwh", "export_kwh"):
            cap = _numbers(name, getattr(self, name))
            if cap.shape != np.shape(self.import_kwh) or cap.ndim != 1:
                raise InvalidInput(name, "must have one value per slot, as many as the other limit")
            require_each(name, cap >= 0.0, "must be at least 0")
            cap.setflags(write=False)
            object.__setattr__(self, name, cap)

    @property
    def slot_count(self) -> int:
        """Length of the horizon."""
        return len(self.import_kwh)


def _numbers(field: str, values: FloatArray) -> FloatArray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(field, "must be numbers") from error
