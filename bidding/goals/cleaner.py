"""Who charges now and who waits for cleaner electricity, decided quarter-hour by quarter-hour on a short carbon forecast.

```
forecast  |240|210|180|190|230| ...      a car that needs two of the next four slots takes the two cleanest of them:
car needs two, may wait four             here the third and fourth, so it waits now
```

The rule is causal: it knows the forecast issued now and when a car is believed to leave, nothing later. A car that needs every slot
it may still wait for charges now; so does one for which the forecast says nothing. Choosing the cleanest slots that suffice is the exact
optimum for one car without a shared limit (a linear program over a box and one sum; greedy by intensity).
"""

import numpy as np

from bidding.arrays import BoolArray, FloatArray, IntArray, finite_vector
from gateway.domain.errors import InvalidInput


def charges_now(needed_slots: FloatArray, waiting_slots: IntArray, forecast_g_per_kwh: FloatArray) -> BoolArray:
    """Return which cars charge in the present slot, shape (C,).

    Args:
        needed_slots: Slots at full rate that each car still needs, at least 0, shape (C,).
        waiting_slots: Slots from now on within which it shall have them, the present one included, shape (C,); beyond the forecast
            only what it covers counts.
        forecast_g_per_kwh: Intensity of the present slot and those after it, shape (H,).

    Raises:
        InvalidInput: A value is not finite or negative, or the arrays have different lengths.
    """
    forecast = finite_vector("forecast_g_per_kwh", forecast_g_per_kwh)
    needed = finite_vector("needed_slots", needed_slots)
    if waiting_slots.shape != needed.shape:
        raise InvalidInput("waiting_slots", f"must have {len(needed)} values")
    if (needed < 0.0).any():
        raise InvalidInput("needed_slots", "must be at least 0")
    slots = np.ceil(needed)
    known = np.clip(waiting_slots, 0, len(forecast))
    if not len(forecast):
        return np.asarray(needed > 0.0)
    # Of equal slots the earlier one is taken: only a strictly cleaner one ahead is worth waiting for.
    cleaner_ahead = np.cumsum(forecast < forecast[0])
    better = np.where(known > 0, cleaner_ahead[np.maximum(known, 1) - 1], 0)
    return np.asarray((needed > 0.0) & ((known <= slots) | (better < slots)))
