"""Events: listed, compared with what is held, understood one by one, and made durable by the signal desk.

The order of writing is what survives a kill at any step: first what was seen with its version, then the events with their limits. A
run that starts anew tells the desk everything once more; the desk knows versions and does nothing twice.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from gateway.domain.signals import GridEvent, RawSignal
from gateway.observe import logger
from gateway.openadr.v3.absence import Absences
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.listing import EventListing, list_events
from gateway.openadr.v3.names import ObjectKind
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.survey import Survey
from gateway.openadr.v3.translate import Receipt, record_id
from gateway.openadr.v3.understanding import Understanding, Understood
from gateway.ports import ReceivedEvents

_BREATHE_EVERY = 100
"""After so many intervals the event loop gets its turn."""
_LARGE_EVENT = 300
"""An event of more intervals is understood in a thread, so that the event loop gets its turn in between."""
_log = logger("openadr")

_State = dict[str, tuple[int, bool]]


class EventExchange:
    """Takes what the VTN has.

    Args:
        around: Settings and ports.
        client: Asks the VTN.
        holdings: Tells what changed.
        understanding: Tells what it means.
        absences: Decides about what is not listed any more.
    """

    def __init__(
        self,
        around: Surroundings,
        client: VtnClient,
        holdings: Holdings,
        understanding: Understanding,
        absences: Absences,
    ) -> None:
        self._around = around
        self._settings = around.settings
        self._client = client
        self._holdings = holdings
        self._understanding = understanding
        self._absences = absences
        self._understood: dict[str, Understood] = {}
        self._told: _State | None = None
        self._listed: tuple[str, Survey] | None = None

    @property
    def known(self) -> tuple[KnownEvent, ...]:
        """All events that the VTN has now, or may have, and that can be used."""
        return tuple(one.known for one in self._understood.values() if one.known is not None)

    def take_up(self, understood: Mapping[str, Understood]) -> None:
        """Take up events of an earlier run, so that they are unrolled further before anybody has listed them."""
        self._understood = dict(understood)

    async def poll(self, survey: Survey) -> bool:
        """List the events and make durable what changed; tell whether something did.

        Raises:
            PeerUnavailable: The VTN does not answer or refuses us.
            StorageUnavailable: Not all was kept; everything is told again.
        """
        listing = await list_events(self._client, survey, self._holdings)
        kept = await self._absences.kept(listing, survey)
        survey = kept.survey
        digest = "\n".join((listing.digest, *sorted(kept.events)))
        if self._listed is not None and self._listed[0] == digest and self._listed[1] is survey:
            return False
        self._listed = None
        if listing.nameless > 0:
            _log.warning("no events with an id", authority=self._settings.authority, count=listing.nameless)
        receipt = Receipt(raw_signal=self._around.ids.new("signal"), received_at=self._around.clock.now())
        understood = await self._understand(listing, survey, receipt)
        strayed = await self._absences.strayed(listing, understood, survey)
        understood |= {key: self._still(key, event) for key, event in {**kept.events, **strayed}.items()}
        await self._save(listing, kept.events)
        state = {key: (one.version, one.refused is None) for key, one in understood.items()}
        is_changed = state != self._told
        if is_changed:
            self._told = None
            await self._tell(understood, receipt, listing)
        self._understood, self._told, self._listed = understood, state, (digest, survey)
        return is_changed

    def next_roll(self) -> datetime | None:
        """Return when an event that repeats must be unrolled further: half way through what is unrolled."""
        due = [
            _roll_at(one.event) for one in self._understood.values() if one.event is not None and one.known is not None
        ]
        return min((when for when in due if when is not None), default=None)

    async def roll(self) -> None:
        """Unroll repeating events further, whether the VTN can be reached or not.

        Raises:
            StorageUnavailable: Not kept; call again.
        """
        now = self._around.clock.now()
        due = [
            one
            for one in self._understood.values()
            if one.event is not None
            and one.known is not None
            and (when := _roll_at(one.event)) is not None
            and when <= now
        ]
        if not due:
            return
        receipt = Receipt(raw_signal=self._around.ids.new("signal"), received_at=now)
        rolled = [self._understanding.roll(one, receipt) for one in due]
        contents = [one.known.event.content for one in rolled if one.known is not None]
        body = json.dumps([contents], default=float).encode()
        events = tuple(one.event for one in rolled if one.event is not None)
        await self._around.signal_desk.receive(
            self._around.principal,
            ReceivedEvents(raw=self._raw(receipt, body), events=events, rejected=(), complete=False),
        )
        self._understood |= {event.event_id: one for event, one in zip(events, rolled, strict=True)}

    # ---------------------------------------------------------------- inside

    async def _understand(self, listing: EventListing, survey: Survey, receipt: Receipt) -> dict[str, Understood]:
        contents = [event.content for event in listing.events.values()]
        understood: dict[str, Understood] = {}
        waiting = 0
        for event in listing.events.values():
            waiting += 1 + len(event.intervals)
            if waiting >= _BREATHE_EVERY:
                waiting = 0
                await asyncio.sleep(0)
            if len(event.intervals) > _LARGE_EVENT:
                found = await asyncio.to_thread(self._understanding.of_event, event, survey, contents, receipt)
            else:
                found = self._understanding.of_event(event, survey, contents, receipt)
            if found is not None:
                understood[event.meta.id] = found
        if listing.is_complete:
            self._understanding.of_programs(survey.programs.values(), contents, receipt)
        for key, broken in listing.broken.items():
            understood[key] = self._understanding.of_unreadable(broken, receipt)
        return understood

    def _still(self, event_id: str, stored: GridEvent) -> Understood:
        """Return an event that stays in force without being listed: as last understood, after a restart as it was kept."""
        last = self._understood.get(event_id)
        if last is not None and (last.event is not None or last.refused is not None):
            return last
        return Understood(version=stored.modification, event=stored)

    async def _save(self, listing: EventListing, kept: Iterable[str]) -> None:
        """Make durable what was seen and what was broken, before anything of it acts."""
        if listing.is_complete:
            present = {*listing.events, *listing.broken, *kept}
            self._holdings.leave_out(ObjectKind.EVENT, present)
            self._understanding.forget(present)
        broken = {one.id: one for one in self._understanding.broken}
        await self._holdings.save()
        await self._around.keep(*broken.values())
        self._understanding.broken.clear()
        for one in broken.values():
            _log.warning(
                "object breaks a rule",
                authority=one.authority,
                object=one.object_id,
                rule=one.rule,
                problem=one.problem,
                is_applied=one.is_applied,
            )

    async def _tell(self, understood: Mapping[str, Understood], receipt: Receipt, listing: EventListing) -> None:
        now = receipt.received_at
        events = [one.event for one in understood.values() if one.event is not None and not _is_over(one.event, now)]
        events += await self._taken_back(understood, receipt)
        answers = await self._around.signal_desk.receive(
            self._around.principal,
            ReceivedEvents(
                raw=self._raw(receipt, listing.body),
                events=tuple(events),
                rejected=tuple(one.refused for one in understood.values() if one.refused is not None),
                complete=listing.is_complete,
            ),
        )
        told = {(answer.code, answer.opt.value) for answer in answers}
        _log.info("events taken", authority=self._settings.authority, events=len(events), answers=sorted(told))

    async def _taken_back(self, understood: Mapping[str, Understood], receipt: Receipt) -> Iterable[GridEvent]:
        """Return the events that the VTN took back and that are still in force here, as cancelled."""
        found = []
        for key, one in understood.items():
            if one.is_cancelled:
                stored = await self._around.store.get(
                    GridEvent, self._settings.tenant, record_id(self._settings.authority, key)
                )
                if stored is not None and not stored.record.cancelled:
                    found.append(
                        replace(
                            stored.record,
                            modification=max(one.version, stored.record.modification + 1),
                            cancelled=True,
                            cancelled_at=receipt.received_at,
                            raw_signal=receipt.raw_signal,
                        )
                    )
        return found

    def _raw(self, receipt: Receipt, body: bytes) -> RawSignal:
        return RawSignal(
            id=receipt.raw_signal,
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            protocol=self._settings.protocol,
            received_at=receipt.received_at,
            sha256=hashlib.sha256(body).hexdigest(),
            body=body,
        )


def _is_over(event: GridEvent, now: datetime) -> bool:
    return event.active.end is not None and event.active.end <= now


def _roll_at(event: GridEvent) -> datetime | None:
    if event.unrolled_until is None:
        return None
    since = max(event.received_at, event.active.start)
    return since + (event.unrolled_until - since) / 2
