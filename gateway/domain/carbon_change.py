"""Whether a newer carbon series says something so different that a plan made from the older one is worth making again.

Estimates are replaced by measured values all day long, most of them a few grams apart: a plan that followed each would never rest.
"""

from gateway.domain.series import CarbonSeries

WORTH_REPLANNING = 0.1
"""Mean change as a share of the mean intensity, from which on a plan is made again."""


def has_moved(before: CarbonSeries, after: CarbonSeries, share: float = WORTH_REPLANNING) -> bool:
    """Tell whether the mean absolute change over the slots that both know is more than a share of the mean intensity.

    Args:
        before: What the plan was made from.
        after: What is known now.
        share: Of the mean of `before`, above 0.

    Returns:
        True also when they measure different things: average and marginal are two questions. False when they share no slot.
    """
    if before.measure != after.measure:
        return True
    newer = dict(zip(after.grid.starts(), after.intensity_g_per_kwh, strict=True))
    pairs = [
        (old, new)
        for start, old in zip(before.grid.starts(), before.intensity_g_per_kwh, strict=True)
        if old is not None and (new := newer.get(start)) is not None
    ]
    if not pairs:
        return False
    change = sum(abs(new - old) for old, new in pairs)
    return change > share * sum(old for old, _ in pairs)
