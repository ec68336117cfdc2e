"""What is checked at every instant of a campaign's day, by what the world does and what was ordered, not by what the gateway thinks.

Whom nobody can command may draw more than a limit leaves, and everybody else makes room for it as soon as it can be known:

| out of reach | since when others make room |
| --- | --- |
| its platform has no stream | at once, at what it was told and at its fallback later |
| its platform does not read or answer | `DOUBT_S` after the first command that nobody acknowledged, until it is asked again |
| refuses | at once, until it is asked again |
| draws what it likes | once it was measured above its limit twice, and where its platform answered also when it falls silent |
| draws what it likes and was silent before | never: nobody can know |

Who may draw more waits until there is room for it by what the others draw, whatever they were told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from scripts.dispatch_world import below, phase_share

if TYPE_CHECKING:
    from scripts.campaigns.dispatch import Life

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

SAME_KW = 0.02
"""Rounding of set points on the wire."""
DOUBT_S = 5.0
"""A command that is not acknowledged for so long is not believed."""
SOON_S = 0.01
"""The instant at which doubt begins belongs to both."""


class Watch:
    """Compares what is drawn with what is owed."""

    def __init__(self, life: Life) -> None:
        """Begin with the tree as it is; `rewired` when it changes."""
        self._life = life
        self._trouble_s = np.full(len(life.chargers), -np.inf)
        """When each last refused, or its platform last did not read or answer."""
        self._open_since_s = np.full(len(life.chargers), np.inf)
        """Since when each has a command that nobody acknowledged; infinite for the others."""
        self._seen_s = np.full(len(life.chargers), -np.inf)
        """When each was last heard of."""
        self._is_known = np.zeros(len(life.chargers), dtype=bool)
        """Who is known to draw what it likes."""
        self.rewired()

    def rewired(self) -> None:
        """Look again at what hangs where and on which phases."""
        self._below = below(self._life.nodes, self._life.chargers)
        self._share = phase_share(self._life.chargers)

    def check(self, when: str) -> None:
        """Compare what is drawn below every node with what is owed there, and every lease with its end."""
        life = self._life
        power = life.hands.power_kw(life.clock.elapsed_s)
        self._check_fail_safe(power)
        for platform in life.platforms:
            life.failures += platform.disorder
            platform.disorder.clear()
        if life.is_up:
            self._check_limits(when, power)

    def by_platform(self, values: list[float]) -> FloatArray:
        """Return a value per charger from one per platform, shape (C,)."""
        return np.asarray(np.array(values)[self._life.platform_of])

    def drawn_kw(self, power: FloatArray) -> FloatArray:
        """Return what is drawn below each node, shape (N,)."""
        return np.asarray(self._below @ power)

    def above(self, i: int) -> IndexArray:
        """Return the nodes above a charger, as positions."""
        return np.flatnonzero(self._below[:, i])

    # ---------------------------------------------------------------- limits

    def check_rises(self, before: FloatArray) -> None:
        """Check that nobody was let draw more than just before below a node that has no room for it.

        Who may still draw more than its newest command says counts, also while that command may not be doubted yet.
        """
        power = self._life.hands.power_kw(self._life.clock.elapsed_s)
        is_out = self._is_out_of_reach()
        rises = self._totals(np.where(is_out, 0.0, np.maximum(power - before, 0.0))) > SAME_KW
        if rises.any():
            self._compare("rises in", power, is_out, is_out & ~self._is_unknown(power), rises)

    def _check_limits(self, when: str, power: FloatArray) -> None:
        is_out = self._is_out_of_reach()
        is_counted = is_out & ~self._is_unknown(power) & ~self._is_under_way()
        self._compare(f"{when} the step at", power, is_out, is_counted, np.bool_(True))

    def _compare(
        self, when: str, power: FloatArray, is_out: BoolArray, is_counted: BoolArray, where: BoolArray | np.bool_
    ) -> None:
        life = self._life
        movable, counted = (self._totals(np.where(which, power, 0.0)) for which in (~is_out, is_counted))
        owed = life.words.in_force(life.clock.now())
        too_much = (movable > np.maximum(owed - counted, 0.0) + SAME_KW) & where
        for node, phase in np.argwhere(too_much).tolist():
            name = f"{life.nodes[node].id}{f' L{phase}' if phase else ''}"
            life.failures.append(
                f"{when} {life.clock.elapsed_s:.3f} s {name} draws {movable[node, phase]:.2f} kW that obey and "
                f"{counted[node, phase]:.2f} kW that are known not to, above {owed[node, phase]:.2f} kW in force"
            )

    def _totals(self, power: FloatArray) -> FloatArray:
        """Return what is drawn below each node in total and on each phase, shape (N, 4)."""
        return np.asarray(self._below @ np.column_stack([power, power[:, None] * self._share]))

    def _is_out_of_reach(self) -> BoolArray:
        """Return which chargers nobody can command now, shape (C,)."""
        life, now_s, hands = self._life, self._life.clock.elapsed_s, self._life.hands
        is_gone = self.by_platform([p.link is None or p.is_deaf or p.is_mute for p in life.platforms]) > 0
        self._trouble_s = np.where(hands.refuses | self._is_quiet(), now_s, self._trouble_s)
        is_asked_soon = now_s < self._trouble_s + life.pace.asked_again_s
        return np.asarray(is_gone | is_asked_soon | (now_s >= hands.wild_since_s))

    def _is_quiet(self) -> BoolArray:
        """Return whose platform does not read or does not answer, shape (C,)."""
        return self.by_platform([p.is_deaf or p.is_mute for p in self._life.platforms]) > 0

    def _is_unknown(self, power: FloatArray) -> BoolArray:
        """Return who draws what it likes without anybody being able to know it yet, shape (C,)."""
        life, now_s, hands = self._life, self._life.clock.elapsed_s, self._life.hands
        is_unseen = hands.is_silent | (self.by_platform([p.link is None for p in life.platforms]) > 0)
        # Who draws what it likes is known only by what it draws above its limit.
        is_over = power > hands.allowed_kw(now_s) + SAME_KW
        hands.over_since_s = np.where(is_over, np.minimum(hands.over_since_s, now_s), np.inf)
        seen_s = self.by_platform([p.came_s for p in life.platforms])
        known_s = np.max([hands.over_since_s, hands.car_since_s, seen_s], axis=0) + life.pace.detection_s
        self._seen_s = np.where(is_unseen, self._seen_s, now_s)
        is_wild = now_s >= hands.wild_since_s
        is_measured = (now_s >= known_s) & ~is_unseen
        # Who was known and is not heard of any more goes on drawing too much, until another car comes. Where a platform does not
        # answer, nobody can tell who draws too much from who was told nothing.
        still_known = self._is_known & (hands.car_since_s <= self._seen_s) & is_over
        is_answering = now_s >= self._trouble_s + life.pace.detection_s
        self._is_known = is_wild & (still_known | (is_measured & is_answering))
        return np.asarray(is_wild & ~self._is_known & ~is_measured)

    def _is_under_way(self) -> BoolArray:
        """Return whose newest command may not be doubted yet although its platform does not answer, shape (C,)."""
        life, now_s = self._life, self._life.clock.elapsed_s
        book, places = life.book()
        is_open = (book.sequence > book.acked_sequence)[places]
        came_s = self.by_platform([p.came_s for p in life.platforms])
        since = np.maximum(np.minimum(self._open_since_s, now_s), came_s)
        self._open_since_s = np.where(is_open, since, np.inf)
        return np.asarray(is_open & self._is_quiet() & (now_s < self._open_since_s + DOUBT_S + SOON_S))

    # ---------------------------------------------------------------- leases

    def fail_safe_borders(self) -> list[float]:
        """Return when every charger of a platform whose stream has ended must be at its fallback, in elapsed seconds."""
        return [p.left_s + self._life.pace.fail_safe_s + SOON_S for p in self._life.platforms if p.link is None]

    def _check_fail_safe(self, power: FloatArray) -> None:
        """Check that every obeying charger of class A or B is at its fallback soon enough after its stream has ended."""
        life, now_s, hands = self._life, self._life.clock.elapsed_s, self._life.hands
        left = self.by_platform([np.inf if p.link is not None else p.left_s for p in life.platforms])
        is_late = now_s > left + life.pace.fail_safe_s
        obeys = ~hands.is_c & (now_s < hands.wild_since_s)
        for i in np.flatnonzero(is_late & obeys & (power > hands.fallback_kw + SAME_KW)).tolist():
            life.failures.append(f"at {now_s:.3f} s {life.chargers[i].id} draws {power[i]:.2f} kW without a lease")
        for platform in life.platforms:
            if platform.longest_lease_s > life.pace.lease_s + SOON_S:
                life.failures.append(f"{platform.name} was given a lease of {platform.longest_lease_s:.3f} s")
                platform.longest_lease_s = 0.0
