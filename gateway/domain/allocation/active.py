"""Who charges when not all can: a charger draws nothing or at least its minimum (6 A for AC, IEC 61851-1)."""

import numpy as np

from gateway.domain.allocation.frames import Bounds, Frame
from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, FloatArray, IntArray

_KEY_BITS = 62
_MOST_PRIORITY_BITS = 40
_REPAIR_ROUNDS = 8
"""With different minima or bounds per phase: how often chargers that were left out are offered what remains."""


def active_set(
    frame: Frame, bounds: Bounds, size_kw: FloatArray, priority: FloatArray, need: FloatArray | None = None
) -> BoolArray:
    """Return which items stay, shape (K,): per node, bottom-up, the highest priorities whose sizes fit every bound.

    With one size for all and totals alone this is the greedy algorithm on a laminar matroid and finds the set of highest total
    priority exactly (Edmonds 1971). Otherwise it is greedy by priority, and no charger is left out that still fits.

    Args:
        frame: Who may charge.
        bounds: Most that may flow through each node, in total and per phase; shares of the items.
        size_kw: What each needs at least.
        priority: Higher first.
        need: What all sizes count at each node, shape (B, N), where it is known already.
    """
    size = bounds.share * size_kw
    need = frame.totals(size) if need is None else need
    tight: BoolArray = np.logical_or.reduce(need > bounds.room_kw + TOLERANCE_KW, axis=1)
    if not tight.any():
        return np.ones(len(size_kw), dtype=bool)
    stays = _kept(frame, Bounds(size, bounds.room_kw).rows(tight), need[tight], priority)
    out = np.flatnonzero(~stays)
    if len(out) and (len(bounds.share) > 1 or _differ(size_kw)):
        left = bounds.room_kw - (need - frame.totals_of(out, size.take(out, axis=1)))
        stays[out] = _offered(frame.subset(~stays), size.take(out, axis=1), left, priority.take(out))
    return stays


def _differ(sizes_kw: FloatArray) -> bool:
    return bool(sizes_kw.size) and float(sizes_kw.max() - sizes_kw.min()) > TOLERANCE_KW


def _offered(out: Frame, size: FloatArray, room: FloatArray, priority: FloatArray) -> BoolArray:
    """Return which of the items that were left out still fit beside those that stay, highest priority first.

    Args:
        out: Those that were left out.
        size: Size of each in each bound, shape (B, K).
        room: What those that stay leave, shape (B, N).
        priority: Higher first.
    """
    first = priority
    found = np.zeros(len(first), dtype=bool)
    place = np.arange(len(first))
    for _ in range(_REPAIR_ROUNDS):
        fits = (size <= out.spread_runs(_least_above(out, room)) + TOLERANCE_KW) | (size <= 0.0)
        can: BoolArray = np.logical_and.reduce(fits, axis=0)
        if not can.any():
            break
        out, size, first, place = out.subset(can), size.compress(can, axis=1), first[can], place[can]
        new = _kept(out, Bounds(size, room), out.totals(size), first)
        found[place[new]] = True
        room = room - out.totals(size * new)
        rest = np.logical_not(new)
        out, size, first, place = out.subset(rest), size.compress(rest, axis=1), first[rest], place[rest]
    return found


def _least_above(frame: Frame, room: FloatArray) -> FloatArray:
    """Return for each run the least room of its node and of every node above it, shape (B, R)."""
    padded = np.concatenate([room, np.full((len(room), 1), np.inf)], axis=1)
    least = np.full((len(room), len(frame.run_node)), np.inf)
    for above in frame.levels.above:
        np.minimum(least, padded.take(above.take(frame.run_node), axis=1), out=least)
    return least


def _kept(frame: Frame, sizes: Bounds, need: FloatArray, priority: FloatArray) -> BoolArray:
    """Return which items stay when every bound drops the lowest priorities of its full nodes, deepest nodes first."""
    stays = np.ones(len(priority), dtype=bool)
    for row, room in enumerate(sizes.room_kw):
        size, caps = sizes.share[row], room + TOLERANCE_KW
        gone = np.flatnonzero(~stays)
        load = need[row] - frame.totals_of(gone, size.take(gone)[None, :])[0] if len(gone) else need[row]
        for nodes in frame.levels.nodes_at:
            full = nodes.compress(load.take(nodes) > caps.take(nodes))
            if len(full):
                gone = _dropped(frame, full, size, stays, caps, priority)
                stays[gone] = False
                load = load - frame.totals_of(gone, size.take(gone)[None, :])[0]
    return stays


def _dropped(  # one row of one bound
    frame: Frame, full: IntArray, size: FloatArray, stays: BoolArray, caps: FloatArray, priority: FloatArray
) -> IntArray:
    """Return the items below full nodes of one level that do not fit."""
    at, counts = frame.below(full)
    run = np.repeat(np.arange(len(full)), counts)
    counted = stays.take(at) & (size.take(at) > 0.0)
    at, run = at.compress(counted), run.compress(counted)
    order = _by_run_and_priority(run, priority.take(at))
    at, run = at.take(order), run.take(order)
    return at.compress(~_greedy_runs(run, size.take(at), caps.take(full)))


def _greedy_runs(run: IntArray, size_kw: FloatArray, caps: FloatArray) -> BoolArray:
    """Accept items in order within each run while they fit its cap; who does not fit is skipped.

    One round per distinct size at most: once an item does not fit, no later one of its size or larger does. Runs in which everybody
    fits are done.
    """
    keeps = np.ones(len(run), dtype=bool)
    at, cap = np.arange(len(run)), caps.take(run)
    while True:
        starts = np.flatnonzero(np.append(True, run[1:] != run[:-1]))
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(run))))
        kept = keeps.take(at)
        used = np.cumsum(size_kw * kept)
        before = np.append(0.0, used).take(starts)
        misfit = np.flatnonzero(kept & (used - before.take(group) > cap))
        if not len(misfit):
            return keeps
        first = np.full(len(starts), len(run), dtype=np.int64)
        first[group[misfit[::-1]]] = misfit[::-1]  # the last one written is the first misfit of its group
        limit = np.where(first < len(run), size_kw.take(np.minimum(first, len(run) - 1)), np.inf)
        drops = (np.arange(len(run)) >= first.take(group)) & (size_kw >= limit.take(group))
        keeps[at.compress(drops)] = False
        goes_on = (first < len(run)).take(group)
        at, run, size_kw, cap = (values.compress(goes_on) for values in (at, run, size_kw, cap))


def _by_run_and_priority(run: IntArray, priority: FloatArray) -> IntArray:
    """Return the order by run, then highest priority first, then place.

    Run, priority and place are packed into one whole number: a sort of unique numbers needs not be stable, is therefore quick, and
    gives the same order everywhere. Priorities closer together than the bits left for them (24 or more) resolve are equal.
    """
    count = len(run)
    place_bits = count.bit_length()
    bits = min(_MOST_PRIORITY_BITS, _KEY_BITS - place_bits - int(run[-1] if count else 0).bit_length())
    high = float(priority.max(initial=-np.inf))
    span = max(high - float(priority.min(initial=np.inf)), TOLERANCE_KW)
    behind = ((high - priority) / span * (2**bits - 1)).astype(np.int64)
    return np.argsort((run << (bits + place_bits)) + (behind << place_bits) + np.arange(count))
