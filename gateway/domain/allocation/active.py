"""Who charges when not all can: a charger draws nothing or at least its minimum (6 A for AC, IEC 61851-1)."""

from collections.abc import Iterable

import numpy as np

from gateway.domain.allocation.frames import Frame
from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, FloatArray, IntArray, summed

_KEY_BITS = 62
_PRIORITY_BITS = 40
"""Priorities closer together than this resolves of their whole span are equal."""
_REPAIR_ROUNDS = 8
"""With different minima or bounds per phase: how often chargers that were left out are offered what remains."""


def active_set(
    frame: Frame, room_kw: FloatArray, size: FloatArray, need: FloatArray, priority: FloatArray
) -> BoolArray:
    """Return who stays, shape (H, R): per node, bottom-up, the highest priorities whose sizes fit every bound.

    With one size for all and totals alone this is the greedy algorithm on a laminar matroid and finds the set of highest total
    priority exactly (Edmonds 1971). Otherwise it is greedy by priority, and no charger is left out that still fits.

    Args:
        frame: Who may charge.
        room_kw: Most that may flow through each node, in total and per phase, shape (B, N).
        size: What each needs at least of each bound, 0 for nobody, shape (B, H, R).
        need: What all sizes count at each node, shape (B, N).
        priority: Higher first, for nobody as for somebody, shape (H, R); see `Frame.ranks`.
    """
    tight: BoolArray = np.logical_or.reduce(need > room_kw + TOLERANCE_KW, axis=1)
    if not np.count_nonzero(tight):
        return np.ones(frame.slots.shape, dtype=bool)
    behind = _behind(priority)
    rows = np.flatnonzero(tight).tolist()
    stays = _kept(frame, [(room_kw[row], size[row], need[row]) for row in rows], behind)
    if stays.all() or (len(size) == 1 and not _differ(size[0].ravel().compress(frame.is_in().ravel()))):
        return stays
    out = frame.part(~stays)
    sizes = out.of(size)
    left = room_kw - (need - out.frame.totals(sizes))
    return stays | (out.back(_offered(out.frame, sizes, left, out.of(behind))) > 0.0)


def _differ(sizes_kw: FloatArray) -> bool:
    return bool(sizes_kw.size) and float(sizes_kw.max() - sizes_kw.min()) > TOLERANCE_KW


def _behind(priority: FloatArray) -> IntArray:
    """Return how far everybody is behind the highest priority in whole steps, shape (H, R)."""
    high, low = float(priority.max(initial=-np.inf)), float(priority.min(initial=np.inf))
    span = max(high - low, TOLERANCE_KW)
    steps: IntArray = ((high - priority) * ((2**_PRIORITY_BITS - 1) / span)).astype(np.int64)
    return steps


def _offered(out: Frame, size: FloatArray, room: FloatArray, behind: IntArray) -> FloatArray:
    """Return 1 for those who were left out and still fit beside those that stay, highest priority first, shape (H, R).

    Args:
        out: Those that were left out.
        size: Size of each in each bound, shape (B, H, R).
        room: What those that stay leave, shape (B, N).
        behind: Lowest first, shape (H, R).
    """
    shape = out.slots.shape
    found = np.zeros(out.slots.size)
    place = np.arange(out.slots.size).reshape(shape)
    for _ in range(_REPAIR_ROUNDS):
        fits = (size <= _least_above(out, room)[:, None, :] + TOLERANCE_KW) | (size <= 0.0)
        can: BoolArray = np.logical_and.reduce(fits, axis=0) & out.is_in()
        if not np.count_nonzero(can):
            break
        part = out.part(can)
        out, size, behind, place = part.frame, part.of(size), part.of(behind), part.of(place)
        is_in = out.is_in()
        new = _kept(out, zip(room, size, out.totals(size), strict=True), behind) & is_in
        found[place[new]] = 1.0
        room = room - out.totals(size * new)
        part = out.part(is_in & ~new)
        out, size, behind, place = part.frame, part.of(size), part.of(behind), part.of(place)
    return found.reshape(shape)


def _least_above(frame: Frame, room: FloatArray) -> FloatArray:
    """Return for each column the least room of its node and of every node above it, shape (B, R)."""
    padded = np.concatenate([room, np.full((len(room), 1), np.inf)], axis=1)
    least = np.full((len(room), len(frame.node)), np.inf)
    for above in frame.levels.above:
        np.minimum(least, padded.take(above.take(frame.node), axis=1), out=least)
    return least


def _kept(frame: Frame, bounds: Iterable[tuple[FloatArray, FloatArray, FloatArray]], behind: IntArray) -> BoolArray:
    """Return who stays when every bound drops the lowest priorities of its full nodes, deepest nodes first.

    Args:
        frame: Who may charge.
        bounds: Of each bound the room of each node, the size of each, and what all sizes count at each node: (N,), (H, R), (N,).
        behind: Lowest first, shape (H, R).
    """
    stays = np.ones(frame.slots.shape, dtype=bool)
    nodes_at = [nodes.compress(frame.count.take(nodes) > 0) for nodes in frame.levels.nodes_at]
    dropped: list[tuple[IntArray, BoolArray]] = []
    for room, size, need in bounds:
        caps = room + TOLERANCE_KW
        load = need - _gone(frame, size, dropped) if dropped else need
        gone_at: FloatArray | None = None
        for nodes in nodes_at:
            here = load.take(nodes) if gone_at is None else load.take(nodes) - gone_at.take(nodes)
            is_full = here > caps.take(nodes)
            if np.count_nonzero(is_full):
                full = nodes.compress(is_full)
                gone_at = np.zeros(len(room) + 1) if gone_at is None else gone_at
                columns, drops, lost = _beyond(frame, full, (size, caps), stays, behind)
                stays[:, columns] &= ~drops
                dropped.append((columns, drops))
                gone_at[full] += lost
            if gone_at is not None:
                gone_at += summed(frame.levels.up.take(nodes), gone_at.take(nodes), len(gone_at))
    return stays


def _gone(frame: Frame, size: FloatArray, dropped: list[tuple[IntArray, BoolArray]]) -> FloatArray:
    """Return what the sizes of those in some columns who were dropped count at each node, shape (N,)."""
    columns = np.concatenate([at for at, _drops in dropped])
    lost = np.concatenate([np.add.reduce(size.take(at, axis=1) * drops, axis=0) for at, drops in dropped])
    return np.asarray(frame.lift(summed(frame.node.take(columns), lost, len(frame.first))[None])[0])


def _beyond(
    frame: Frame, full: IntArray, bound: tuple[FloatArray, FloatArray], stays: BoolArray, behind: IntArray
) -> tuple[IntArray, BoolArray, FloatArray]:
    """Return columns below full nodes of one level, who stands there and does not fit, and what they count for each node.

    Args:
        frame: Who may charge.
        full: The nodes.
        bound: Size of each in one bound and what may flow through each node, shape (H, R) and (N,).
        stays: Who was not dropped before, shape (H, R).
        behind: Lowest first, shape (H, R).
    """
    size, caps = bound
    columns, counts = frame.below(full)
    sizes = size.take(columns, axis=1) * stays.take(columns, axis=1)
    ranks, room = behind.take(columns, axis=1), caps.take(full)
    if len(columns) == len(full):
        drops = _beyond_columns(sizes, ranks, room)
        lost = np.add.reduce(sizes * drops, axis=0)
    else:
        run = np.repeat(np.arange(len(full)), counts)
        drops = _beyond_runs(run, sizes, ranks, room)
        lost = summed(run, np.add.reduce(sizes * drops, axis=0), len(full))
    return columns, drops, lost


def _beyond_columns(size: FloatArray, behind: IntArray, caps: FloatArray) -> BoolArray:
    """Return who does not fit where each column has a cap of its own, shape (H, n): in order, and who does not fit is skipped."""
    height, count = size.shape
    bits = height.bit_length()
    order = np.sort((behind << bits) + np.arange(height)[:, None], axis=0) & ((1 << bits) - 1)
    flat = order * count + np.arange(count)
    in_order = size.ravel().take(flat)
    beyond = np.empty(size.shape, dtype=bool)
    used = np.zeros(count)
    for own, misfits in zip(in_order, beyond, strict=True):
        np.greater(used + own, caps, out=misfits)
        used += own * ~misfits
    beyond &= in_order > 0.0
    drops = np.empty(size.size, dtype=bool)
    drops[flat] = beyond
    return drops.reshape(size.shape)


def _beyond_runs(run: IntArray, size: FloatArray, behind: IntArray, caps: FloatArray) -> BoolArray:
    """Return who does not fit where a run of columns has one cap, shape (H, n).

    Args:
        run: Which cap holds for each column, ascending, shape (n,).
        size: Size of each, 0 for who does not count, shape (H, n).
        behind: Lowest first, shape (H, n).
        caps: The caps.
    """
    height, count = size.shape
    place = np.flatnonzero(size.T > 0.0)
    column = place // height
    flat = (place - column * height) * count + column
    runs = run.take(column)
    order = _by_run_and_priority(runs, behind.ravel().take(flat))
    flat, runs = flat.take(order), runs.take(order)
    keeps = _greedy_runs(runs, size.ravel().take(flat), caps)
    drops = np.zeros(size.size, dtype=bool)
    drops[flat.compress(~keeps)] = True
    return drops.reshape(size.shape)


def _greedy_runs(run: IntArray, size_kw: FloatArray, caps: FloatArray) -> BoolArray:
    """Accept items in order within each run while they fit its cap; who does not fit is skipped.

    One round per distinct size at most: once an item does not fit, no later one of its size or larger does. Runs in which everybody
    fits are done.
    """
    keeps = np.ones(len(run), dtype=bool)
    at, cap = np.arange(len(run)), caps
    while True:
        used = np.cumsum(size_kw)
        opens = np.flatnonzero(run[1:] != run[:-1]) + 1
        before = np.zeros(len(caps))
        before[run.take(opens)] = used.take(opens - 1)
        beyond = used - before.take(run)
        misfit = np.flatnonzero(beyond > cap.take(run))
        if not len(misfit):
            return keeps
        first = np.full(len(caps), len(run), dtype=np.int64)
        np.minimum.at(first, run.take(misfit), misfit)
        is_cut = first < len(run)
        limit = np.full(len(caps), np.inf)
        limit[is_cut] = size_kw.take(first.compress(is_cut))
        cap = cap.copy()
        cap[is_cut] -= beyond.take(first.compress(is_cut)) - limit.compress(is_cut)
        is_behind = np.arange(len(run)) >= first.take(run)
        is_small = size_kw < limit.take(run)
        keeps[at.compress(is_behind & ~is_small)] = False
        goes_on = is_behind & is_small
        at, run, size_kw = at.compress(goes_on), run.compress(goes_on), size_kw.compress(goes_on)


def _by_run_and_priority(run: IntArray, behind: IntArray) -> IntArray:
    """Return the order by run, then highest priority first, then place.

    Run, priority and place are packed into one whole number: a sort of unique numbers needs not be stable, is therefore quick, and
    gives the same order everywhere. The bits left for priorities are 24 or more.
    """
    count = len(run)
    place_bits = count.bit_length()
    bits = min(_PRIORITY_BITS, _KEY_BITS - place_bits - int(run[-1] if count else 0).bit_length())
    steps = behind >> (_PRIORITY_BITS - bits)
    key = np.sort((run << (bits + place_bits)) + (steps << place_bits) + np.arange(count))
    return key & ((1 << place_bits) - 1)
