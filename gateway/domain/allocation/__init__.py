"""Splitting what a node may draw over the chargers below it, in total and per phase: vectorised over chargers.

```
          site cap             1. who charges: bottom-up, per node the highest priorities whose minimum power fits
        +----+----+               (a charger draws nothing or at least its minimum: 6 A for AC, IEC 61851-1)
   circuit cap  circuit cap    2. how much: water levels, theta of a charger = min over the nodes and phases above it,
    +--+--+      +--+--+          power = minimum + clip(weight * theta): weighted max-min fair
    chargers     chargers      3. must-run chargers first, the others share what they leave
                               4. unbalance between phases, steps of the chargers: only ever downwards, then hand-outs that fit
```

With one minimum for all chargers and no bounds per phase step 1 finds the active set of highest total priority exactly. Step 2
equals progressive filling, with and without phases.
"""

from gateway.domain.allocation.levels import PhaseBounds, TreeLevels
from gateway.domain.allocation.pilots import Pilots, quantise
from gateway.domain.allocation.running import RunRules, RunTimes
from gateway.domain.allocation.splitting import Demand, allocate, allocate_within, clip

__all__ = [
    "Demand",
    "PhaseBounds",
    "Pilots",
    "RunRules",
    "RunTimes",
    "TreeLevels",
    "allocate",
    "allocate_within",
    "clip",
    "quantise",
]
