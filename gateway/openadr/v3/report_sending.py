"""Reports on their way to the VTN: on disk until it has taken them, sent once, given up only when it refuses them for good.

A report whose fate is unknown, after a time-out or a restart, is looked for by its name before it is sent again. One that is there
already although we never heard so (409) is replaced by the same content.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from gateway.domain.errors import PeerUnavailable
from gateway.domain.programs import PendingReport
from gateway.json_guard import JsonPolicy, read_json
from gateway.observe import logger
from gateway.openadr.backoff import jittered_pause_after
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.reader import read_report
from gateway.openadr.v3.refusals import VtnBusy, VtnRefused, heeded_pause
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.wire import WireReport
from gateway.openadr.v3.writer import to_bytes, write_report

_MOST_REFUSALS = 5
_FAULTS_OF_THE_VTN = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
)
_SERVER_ERRORS = 500
_NOT_SENT_YET = "-"
_log = logger("openadr")


@dataclass(slots=True)
class _Fate:
    """What became of the attempts to send a report."""

    is_uncertain: bool
    """Whether the VTN may have it."""
    failures: int = 0
    refusals: int = 0
    not_before: datetime | None = None


class ReportSender:
    """Sends what is made up.

    Args:
        around: Settings and ports.
        client: Speaks to the VTN.
    """

    def __init__(self, around: Surroundings, client: VtnClient) -> None:
        self._around = around
        self._client = client
        self._pending: dict[str, PendingReport] = {}
        self._fates: dict[str, _Fate] = {}
        self._quiet_until: datetime | None = None

    @property
    def pending(self) -> Sequence[PendingReport]:
        """Reports that the VTN has not taken yet, oldest first."""
        return tuple(self._pending.values())

    async def load(self) -> None:
        """Take up what an earlier run did not get rid of."""
        settings = self._around.settings
        rows = await self._around.store.find(
            PendingReport, settings.tenant, {"authority": settings.authority}, newest_first=True
        )
        unsent = [one.record for one in reversed(rows) if one.record.sent_at is None and one.record.dropped_at is None]
        self._pending = {one.id: one for one in unsent}
        self._fates = {one.id: _Fate(is_uncertain=True) for one in unsent}

    def pend(self, report_id: str, request: str, report: WireReport) -> PendingReport:
        """Return a report as a row, in the words of the dialect; it is sent once `add` is called, when the row is on disk."""
        settings = self._around.settings
        return PendingReport(
            id=report_id,
            tenant=settings.tenant,
            authority=settings.authority,
            request=request,
            body=to_bytes(write_report(settings.dialect, report)).decode(),
            made_at=self._around.clock.now(),
        )

    def add(self, pending: PendingReport) -> None:
        """Send a report with the next round; it is on disk."""
        self._pending[pending.id] = pending
        self._fates[pending.id] = _Fate(is_uncertain=False)

    def next_due(self) -> datetime | None:
        """Return when there is something to send; None when there is nothing."""
        now = self._around.clock.now()
        dues = [self._fates[key].not_before or now for key in self._pending]
        return None if not dues else max(min(dues), self._quiet_until or min(dues))

    async def send_due(self) -> list[tuple[PendingReport, str]]:
        """Send what is due, oldest first; one that fails harms no other, unless the VTN cannot be reached.

        Returns:
            The reports that the VTN has taken, with the ids it gave them.

        Raises:
            StorageUnavailable: It could not be kept that the VTN has one; it is looked for again.
        """
        now = self._around.clock.now()
        if self._quiet_until is not None and now < self._quiet_until:
            return []
        self._quiet_until = None
        taken: list[tuple[PendingReport, str]] = []
        for key, pending in list(self._pending.items()):
            fate = self._fates[key]
            if fate.not_before is not None and now < fate.not_before:
                continue
            try:
                report_id = await self._deliver(pending, fate)
            except VtnRefused as error:
                await self._take_refusal(pending, fate, error)
                if isinstance(error, VtnBusy):
                    break
            except PeerUnavailable as error:
                fate.is_uncertain = True
                self._put_off(fate, error)
                self._quiet_until = fate.not_before
                break
            else:
                taken.append((await self._settle(replace(pending, sent_at=self._around.clock.now())), report_id))
        return taken

    async def _deliver(self, pending: PendingReport, fate: _Fate) -> str:
        """Give the VTN a report and return its id there."""
        report = self._report(pending)
        found = await self._find(report) if fate.is_uncertain else None
        if found is not None:
            return found
        try:
            created = await self._client.create_report(report)
        except VtnRefused as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            found = await self._find(report)
            if found is None:
                raise
            created = await self._client.update_report(found, report)
        return created.meta.id if created.meta is not None else ""

    async def _find(self, report: WireReport) -> str | None:
        """Return the VTN's id of a report of ours; None when it has none of this name."""
        listed = await self._client.reports((("eventID", report.event_id), ("clientName", report.client_name)))
        for one in listed.objects:
            is_ours = (one.event_id, one.client_name, one.name) == (report.event_id, report.client_name, report.name)
            if is_ours and one.meta is not None:
                return one.meta.id
        return None

    def _report(self, pending: PendingReport) -> WireReport:
        content = read_json(pending.body.encode(), JsonPolicy())
        report = read_report({**content, "id": _NOT_SENT_YET})
        return replace(report, meta=None)

    async def _take_refusal(self, pending: PendingReport, fate: _Fate, error: VtnRefused) -> None:
        """Try again later; a report that the VTN refuses again and again for what it is, is given up."""
        is_final = error.status < _SERVER_ERRORS and error.status not in _FAULTS_OF_THE_VTN
        fate.refusals += is_final
        if fate.refusals < _MOST_REFUSALS:
            self._put_off(fate, error)
            if isinstance(error, VtnBusy):
                self._quiet_until = fate.not_before
            return
        _log.error("report given up", authority=pending.authority, report=pending.id, error=str(error))
        await self._settle(replace(pending, dropped_at=self._around.clock.now()))

    def _put_off(self, fate: _Fate, error: PeerUnavailable) -> None:
        settings = self._around.settings
        fate.failures += 1
        own = jittered_pause_after(fate.failures, settings, self._around.ids)
        fate.not_before = self._around.clock.now() + heeded_pause(own, error, settings.longest_wait)
        _log.warning("report not sent", authority=settings.authority, failures=fate.failures, error=str(error))

    async def _settle(self, pending: PendingReport) -> PendingReport:
        """Note on disk that nothing is left to do about a report."""
        self._fates[pending.id].is_uncertain = True
        await self._around.keep(pending)
        del self._pending[pending.id], self._fates[pending.id]
        return pending
