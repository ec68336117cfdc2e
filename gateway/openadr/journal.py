"""The last exchanges with each grid partner, for people: when, what, what came of it and how long it was. Never what was said.

Both dialects write here at the border to the wire, so that what is rejected later is seen, too. Nothing of it survives a restart.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from gateway.ports import Clock, PartnerExchange

KEPT = 50
"""Exchanges that are kept of each partner."""
_LONGEST_TEXT = 200


class ExchangeJournal:
    """Implements `ports.PartnerJournal` for all partners of a gateway.

    Args:
        kept: How many exchanges of each partner are kept.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._pages: dict[tuple[str, str], deque[PartnerExchange]] = {}

    def note(self, tenant: str, exchange: PartnerExchange) -> None:
        """Write an exchange down; one more of the same kind in a row is counted, else the oldest of the partner is forgotten."""
        page = self._pages.setdefault((tenant, exchange.authority), deque(maxlen=self._kept))
        if page and _is_same(page[-1], exchange):
            exchange = replace(exchange, repeats=page.pop().repeats + 1)
        page.append(exchange)

    def latest(self, tenant: str) -> Sequence[PartnerExchange]:
        """Return the last exchanges of a tenant, newest first (see `ports.PartnerJournal`)."""
        found = [one for (owner, _), page in self._pages.items() if owner == tenant for one in reversed(page)]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def page(self, tenant: str, authority: str, clock: Clock) -> "JournalPage":
        """Return where the exchanges with one partner are noted."""
        return JournalPage(self, tenant, authority, clock)


def _is_same(one: PartnerExchange, other: PartnerExchange) -> bool:
    return (one.what, one.outcome, one.is_ours) == (other.what, other.outcome, other.is_ours)


class JournalPage:
    """Notes the exchanges with one partner.

    Args:
        journal: Where.
        tenant: Whose partner.
        authority: Which partner.
        clock: When.
    """

    def __init__(self, journal: ExchangeJournal, tenant: str, authority: str, clock: Clock) -> None:
        self._journal = journal
        self._tenant = tenant
        self._authority = authority
        self._clock = clock

    def answered(self, what: str, outcome: str, *, sent: int, received: int, is_failed: bool = False) -> None:
        """Note an exchange of ours that was answered.

        Args:
            what: Message, or method and path without query.
            outcome: Name of the answer or its status.
            sent: Bytes sent.
            received: Bytes received.
            is_failed: Whether the answer says no.
        """
        self._note(what, outcome, (sent, received), is_ours=True, is_failed=is_failed)

    def unanswered(self, what: str, problem: str, *, sent: int) -> None:
        """Note an exchange of ours without a usable answer."""
        self._note(what, problem, (sent, 0), is_ours=True, is_failed=True)

    def called(self, what: str, outcome: str, *, sent: int, received: int, is_failed: bool = False) -> None:
        """Note that the partner called us and what we answered."""
        self._note(what, outcome, (sent, received), is_ours=False, is_failed=is_failed)

    def _note(self, what: str, outcome: str, sizes: tuple[int, int], *, is_ours: bool, is_failed: bool) -> None:
        self._journal.note(
            self._tenant,
            PartnerExchange(
                authority=self._authority,
                at=self._clock.now(),
                is_ours=is_ours,
                what=what[:_LONGEST_TEXT],
                outcome=outcome[:_LONGEST_TEXT],
                is_failed=is_failed,
                sent_bytes=sizes[0],
                received_bytes=sizes[1],
            ),
        )
