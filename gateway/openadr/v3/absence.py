"""Events in force that the VTN does not list any more: deleted, or only not shown to us.

A limit opens because the VTN took it back, never because we lost sight of it. An event that is not listed any more is released

- when GET by its id answers 404 although we have a target that it was shown through: the VTN deleted it. Without one, a VTN of 3.1.0
  may hide it behind a 404 just as well; 403 and any other answer prove nothing;
- when the list that omits it was asked for with at least what it was shown through: the same ven, all of its targets that were
  granted to us, and its program shown or surely deleted. Whether that still holds is asked after the list came, since a grant that
  was withdrawn a moment ago empties the list, too;
- when we do not take part in its program any more, by our own settings.

Otherwise it stays in force to its own end, as it was last understood.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass

from gateway.domain.signals import GridEvent
from gateway.observe import logger
from gateway.openadr.v3.deletion import Deletions
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.listing import EventListing
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.shown import Shown, may_see
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.translate import record_id

_MOST_ASKED = 3
"""Events that one poll asks for by their id."""
_log = logger("openadr")

Resurvey = Callable[[], Awaitable[Survey | None]]
"""Looks anew at what surrounds the events; None when the VTN does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What stays in force although it is not listed, and what was found out meanwhile."""

    events: dict[str, GridEvent]
    """By the partner's id."""
    survey: Survey
    """The newest."""


class Absences:
    """Decides about events in force that a list omits.

    Args:
        around: Settings and ports.
        holdings: Tells what was there, and through what it was shown.
        deletions: Asks for single events.
        resurvey: Looks anew at what surrounds the events.
    """

    def __init__(self, around: Surroundings, holdings: Holdings, deletions: Deletions, resurvey: Resurvey) -> None:
        self._around = around
        self._settings = around.settings
        self._holdings = holdings
        self._deletions = deletions
        self._resurvey = resurvey
        self._told: frozenset[str] = frozenset()

    async def kept(self, listing: EventListing, survey: Survey) -> Kept:
        """Return the events that stay in force although a list omits them.

        Raises:
            StorageUnavailable: Not known; try again.
        """
        missing = self._holdings.present(ObjectKind.EVENT) - set(listing.events) - set(listing.broken)
        in_force = await self._in_force(missing)
        doubtful = set(in_force)
        if listing.is_complete and doubtful:
            released = self._proven(doubtful, listing, survey)
            if released:
                confirmed = await self._resurvey()
                released = set() if confirmed is None else self._proven(released, listing, confirmed)
                survey = confirmed or survey
            doubtful -= released
            visible = {one for one in doubtful if self._would_be_visible(one, survey)}
            doubtful -= await self._deletions.among(ObjectKind.EVENT, visible, most=_MOST_ASKED)
        self._tell(doubtful)
        return Kept(events={key: in_force[key] for key in doubtful}, survey=survey)

    async def strayed(self, listing: EventListing, ours: Collection[str], survey: Survey) -> dict[str, GridEvent]:
        """Return the events that are listed and ours no longer, only because targets were taken from our ven or resources.

        Raises:
            StorageUnavailable: Not known; try again.
        """
        found = set()
        for key in (set(listing.events) - set(ours)) & self._holdings.present(ObjectKind.EVENT):
            shown = Shown.of_text(self._holdings.shown(key))
            named = () if shown is None else shown.granted & frozenset(listing.events[key].targets)
            if shown is not None and named and not shown.is_so_still(self._settings, survey.standing):
                found.add(key)
        return await self._in_force(found)

    # ---------------------------------------------------------------- inside

    def _proven(self, event_ids: Iterable[str], listing: EventListing, survey: Survey) -> set[str]:
        """Return which events are gone as far as a list and what surrounds it tell."""
        if listing.nameless > 0:
            return set()
        return {one for one in event_ids if self._is_proven(one, survey)}

    def _is_proven(self, event_id: str, survey: Survey) -> bool:
        shown = Shown.of_text(self._holdings.shown(event_id))
        if self._holdings.program_of(event_id) in survey.doubtful:
            return False
        return shown is not None and shown.is_so_still(self._settings, survey.standing)

    def _would_be_visible(self, event_id: str, survey: Survey) -> bool:
        """Tell whether GET by id would find an event that is still there."""
        shown = Shown.of_text(self._holdings.shown(event_id))
        return shown is not None and may_see(shown.granted, self._settings, survey.standing)

    async def _in_force(self, event_ids: Iterable[str]) -> dict[str, GridEvent]:
        now = self._around.clock.now()
        found: dict[str, GridEvent] = {}
        for event_id in sorted(event_ids):
            key = record_id(self._settings.authority, event_id)
            stored = await self._around.store.get(GridEvent, self._settings.tenant, key)
            if stored is None or stored.record.cancelled:
                continue
            end = stored.record.active.end
            if end is None or end > now:
                found[event_id] = stored.record
        return found

    def _tell(self, doubtful: set[str]) -> None:
        if doubtful - self._told:
            _log.warning(
                "events not shown stay in force",
                authority=self._settings.authority,
                events=sorted(doubtful - self._told),
            )
        self._told = frozenset(doubtful)
