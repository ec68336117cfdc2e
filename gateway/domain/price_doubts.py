"""What is doubtful about prices that are used: said wherever a plan, a bid or a settlement was made from them.

A day that was late, decoupled, stood in for, estimated or contradicted by another source stays so when it is the past that a
forecast learned from. Nothing is refused here; people decide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.domain.contradictions import Contradiction, of_sentence, says_otherwise
from gateway.domain.errors import PreconditionFailed
from gateway.domain.evidence import content_hash
from gateway.domain.series import DayState, MarketDayStatus, PriceSeries, Quality
from gateway.domain.timegrid import DeliveryDay

AFTER_DECOUPLING = "published after the deadline of the coupling: local auctions may have set these prices"
"""How the note of a day begins whose prices came after its coupling had failed."""
_QUALITIES = {
    Quality.SUBSTITUTED: "stand-ins instead of prices",
    Quality.ESTIMATED: "estimates instead of prices",
    Quality.PRELIMINARY: "preliminary prices",
}
_EXPECTED = frozenset({DayState.WAITING, DayState.PARTIAL})
_CONTRADICTED = "prices that another source contradicts"
_DECOUPLED = "no prices by the deadline of the coupling"
_NOT_WHOLE = "prices that are late or not whole"
_ORDER = (_CONTRADICTED, _DECOUPLED, *_QUALITIES.values(), _NOT_WHOLE)
"""What weighs most comes first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsedDay:
    """A market day whose prices were used, or would have been had they been there."""

    status: MarketDayStatus
    series: PriceSeries | None
    """What the status points to; None when nothing is known."""


def contradiction_in(status: MarketDayStatus) -> Contradiction | None:
    """Return how a second source contradicts the prices that are used; None when none does."""
    if status.contradiction is not None or not says_otherwise(status.cross_check):
        return status.contradiction
    key = content_hash([status.series_id, status.cross_check])
    return of_sentence(key, status.cross_check, status.checked_at)


def waits_for_word(status: MarketDayStatus) -> bool:
    """Tell whether its prices are contradicted in a way that nobody has acknowledged: no bid leaves from them."""
    found = contradiction_in(status)
    return found is not None and found.is_open


def require_word(statuses: Iterable[MarketDayStatus]) -> None:
    """Check that a person has spoken about every contradiction of the prices behind a bid.

    Raises:
        PreconditionFailed: Nobody has acknowledged one of them, as it is now; the days are named.
    """
    waiting = [status for status in statuses if waits_for_word(status)]
    if waiting:
        days = ", ".join(status.id for status in waiting)
        raise PreconditionFailed(f"prices contradict each other and nobody has acknowledged it: {days}")


def kinds_of_doubt(day: UsedDay) -> tuple[str, ...]:
    """Return what is doubtful about the prices of a day, most important first; empty when nothing is."""
    state, found = day.status.state, []
    if contradiction_in(day.status) is not None:
        found.append(_CONTRADICTED)
    if state is DayState.DECOUPLED or day.status.note.startswith(AFTER_DECOUPLING):
        found.append(_DECOUPLED)
    if day.series is not None and day.series.quality in _QUALITIES:
        found.append(_QUALITIES[day.series.quality])
    is_stood_in = day.series is not None and day.series.quality is Quality.SUBSTITUTED
    if state in {DayState.LATE, DayState.FALLBACK} and not is_stood_in:
        found.append(_NOT_WHOLE)
    return tuple(found)


def judged_days(days: Sequence[UsedDay], last: DeliveryDay) -> tuple[UsedDay, ...]:
    """Return the days up to a last one that are not waited for any more: nothing is doubtful yet about what is still expected."""
    until = last.day.isoformat()
    return tuple(one for one in days if one.status.day <= until and one.status.state not in _EXPECTED)


def named_doubts(days: Sequence[UsedDay]) -> tuple[str, ...]:
    """Return what is doubtful about the prices of single days, each under the name of its product."""
    return tuple(f"{day.status.product.value}: {kind}" for day in days for kind in kinds_of_doubt(day))


def doubts_about(days: Sequence[UsedDay]) -> tuple[str, ...]:
    """Return what is doubtful about the prices of several days of one product, a sentence for each kind of doubt.

    Args:
        days: The days that were used, in any order; a day whose publication is still waited for is none of them.
    """
    by_kind: dict[str, list[UsedDay]] = {}
    for day in sorted(days, key=lambda one: one.status.day):
        for kind in kinds_of_doubt(day):
            by_kind.setdefault(kind, []).append(day)
    return tuple(_told(kind, by_kind[kind], len(days)) for kind in _ORDER if kind in by_kind)


def _told(kind: str, doubtful: Sequence[UsedDay], count: int) -> str:
    last = doubtful[-1].status
    said = f"{kind} on {len(doubtful)} of {count} days, last {last.day}"
    if kind != _CONTRADICTED:
        return said
    waiting = sum(waits_for_word(one.status) for one in doubtful)
    newest = contradiction_in(last)
    word = f"{waiting} not acknowledged" if waiting or newest is None else newest.word_told()
    return f"{said} ({last.cross_check}; {word})"
