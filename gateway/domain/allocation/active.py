"""Who charges when not all can: a charger draws nothing or at least its minimum (6 A for AC, IEC 61851-1)."""

from collections.abc import Iterable

import numpy as np

from gateway.domain.allocation.frames import Frame
from gateway.domain.allocation.levels import TOLERANCE_KW, BoolArray, FloatArray, IntArray, summed

_KEY_BITS = 62
_PRIORITY_BITS = 40
"""Priorities closer together than this resolves of their whole span are equal."""
_MANY = 3
"""Where more than one column in so many is touched, all are added up again."""
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
    is_touched = np.zeros(len(frame.node), dtype=bool)
    for room, size, need in bounds:
        left, load = _without(frame, size, need, stays, np.flatnonzero(is_touched))
        for columns in _drop(frame, nodes_at, (left, load, room + TOLERANCE_KW), behind):
            is_touched[columns] = True
            stays[:, columns] &= (left.take(columns, axis=1) > 0.0) | (size.take(columns, axis=1) <= 0.0)
    return stays


def _without(
    frame: Frame, size: FloatArray, need: FloatArray, stays: BoolArray, touched: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return the sizes of those who stay, 0 for the others, shape (H, R), and what they count at each node, shape (N,).

    Args:
        frame: Who may charge.
        size: Size of each in one bound, shape (H, R).
        need: What all sizes count at each node, shape (N,).
        stays: Who stays, shape (H, R).
        touched: Columns in which somebody does not.
    """
    if not len(touched):
        return size.copy(), need
    left = size * stays
    if _MANY * len(touched) > len(frame.node):
        return left, np.asarray(frame.totals(left[None])[0])
    gone = size.take(touched, axis=1) - left.take(touched, axis=1)
    return left, np.asarray(need - frame.lift(frame.direct_of(touched, gone[None]))[0])


def _drop(
    frame: Frame, nodes_at: list[IntArray], bound: tuple[FloatArray, FloatArray, FloatArray], behind: IntArray
) -> list[IntArray]:
    """Drop the lowest priorities of the full nodes of one bound, deepest nodes first; return the columns below full nodes by level.

    Args:
        frame: Who may charge.
        nodes_at: Nodes of each level with anybody at or below them, deepest first.
        bound: Size of each, where 0 is put for those who are dropped, shape (H, R); what the sizes count at each node and how much
            may, shape (N,) each.
        behind: Lowest first, shape (H, R).
    """
    size, load, caps = bound
    touched: list[IntArray] = []
    gone: FloatArray | None = None
    for nodes in nodes_at:
        here = load.take(nodes) if gone is None else load.take(nodes) - gone.take(nodes)
        is_full = here > caps.take(nodes)
        if np.count_nonzero(is_full):
            full = nodes.compress(is_full)
            gone = np.zeros(len(caps) + 1) if gone is None else gone
            columns, lost = _lost(frame, full, (size, caps.take(full)), behind)
            gone[full] += lost
            touched.append(columns)
        if gone is not None:
            gone += summed(frame.levels.up.take(nodes), gone.take(nodes), len(gone))
    return touched


def _lost(
    frame: Frame, full: IntArray, bound: tuple[FloatArray, FloatArray], behind: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return the columns below full nodes of one level, and what those count who do not fit there; put 0 for their sizes.

    Args:
        frame: Who may charge.
        full: The nodes, shape (n,).
        bound: Size of each, 0 for who does not count, changed in place, shape (H, R); what may flow through each node, shape (n,).
        behind: Lowest first, shape (H, R).
    """
    size, caps = bound
    columns, counts = frame.below(full)
    sizes, ranks = size.take(columns, axis=1), behind.take(columns, axis=1)
    before = np.add.reduce(sizes, axis=0)
    if len(columns) == len(full):
        fitting = _fitting_columns(sizes, ranks, caps)
        lost = before - np.add.reduce(fitting, axis=0)
    else:
        run = np.repeat(np.arange(len(full)), counts)
        fitting = _fitting_runs(run, sizes, ranks, caps)
        lost = summed(run, before - np.add.reduce(fitting, axis=0), len(full))
    size[:, columns] = fitting
    return columns, lost


def _fitting_columns(size: FloatArray, behind: IntArray, caps: FloatArray) -> FloatArray:
    """Return the sizes of those who fit where each column has a cap of its own, shape (H, n), 0 for the others.

    They are taken in order, and who does not fit is skipped.
    """
    height, count = size.shape
    bits = height.bit_length()
    order = np.sort((behind << bits) + np.arange(height)[:, None], axis=0) & ((1 << bits) - 1)
    flat = order * count + np.arange(count)
    in_order = size.ravel().take(flat)
    used = np.zeros(count)
    for own in in_order:
        np.multiply(own, used + own <= caps, out=own)
        used += own
    fitting = np.empty(size.size)
    fitting[flat] = in_order
    return fitting.reshape(size.shape)


def _fitting_runs(run: IntArray, size: FloatArray, behind: IntArray, caps: FloatArray) -> FloatArray:
    """Return the sizes of those who fit where a run of columns has one cap, shape (H, n), 0 for the others.

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
    fitting = size.copy()
    fitting.ravel()[flat.compress(~keeps)] = 0.0
    return fitting


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
