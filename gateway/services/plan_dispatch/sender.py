"""From set points to commands: numbered, written, then laid into the mailboxes of the platforms."""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.domain.commands import Sent
from gateway.domain.dispatch import DispatchBatch, DispatchState
from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.observe import logger
from gateway.ports import Batch, Put
from gateway.services.plan_dispatch.link import DispatchLink
from gateway.services.plan_dispatch.picture import ControlPorts, Picture
from gateway.services.plan_dispatch.settings import DispatchSettings

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

_log = logger("dispatch")
_SAME_KW = 1e-6
_MOST_UNSAVED = 1_000
_MOST_CAUSES = 50


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Outgoing:
    """A command as it is written and where its chargers are in the tree."""

    row: DispatchBatch
    index: IndexArray
    limit_kw: FloatArray
    fallback_kw: FloatArray


class Sender:
    """Writes and sends the commands of one tenant."""

    def __init__(self, *, tenant: str, ports: ControlPorts, settings: DispatchSettings) -> None:
        """Begin with sequence numbers unknown; `load` reads them.

        Args:
            tenant: Whose chargers.
            ports: The world.
            settings: Leases and patience.
        """
        self._tenant = tenant
        self._ports = ports
        self._settings = settings
        self._sequences: dict[str, int] = {}
        self._unsaved: deque[DispatchBatch] = deque(maxlen=_MOST_UNSAVED)

    async def load(self) -> None:
        """Go on from the newest sequence number of every platform."""
        for csms in self._ports.sources.fleet(self._tenant).csms_ids:
            where = {"csms": csms}
            newest = await self._ports.store.find(DispatchBatch, self._tenant, where, newest_first=True, limit=1)
            if newest:
                # Several commands may have been issued at one instant: the largest number among them counts.
                since = newest[0].record.issued_at
                rows = await self._ports.store.find(DispatchBatch, self._tenant, where, since=since)
                self.know_sequence(csms, max(row.record.sequence for row in rows))

    def sequence_of(self, csms: str) -> int:
        """Return the newest sequence of a platform."""
        return self._sequences.get(csms, 0)

    def know_sequence(self, csms: str, sequence: int) -> None:
        """Never give out this sequence or a smaller one again."""
        self._sequences[csms] = max(self.sequence_of(csms), sequence)

    async def issue(self, picture: Picture, setpoints_kw: FloatArray, links: Mapping[str, DispatchLink]) -> None:
        """Write what changed or must be renewed, then lay it into the mailboxes.

        When the store fails, increases are left out and the rest goes out from memory; it is written once the store is back.

        Args:
            picture: What is the case.
            setpoints_kw: Where the set points shall be, shape (C,).
            links: Open streams by platform.
        """
        outgoing = self._outgoing(picture, setpoints_kw, links)
        if not outgoing and not self._unsaved:
            return
        try:
            await self._write(picture, outgoing)
        except StorageUnavailable as error:
            _log.warning("commands go out from memory", tenant=self._tenant, reason=str(error))
            outgoing = self._outgoing(picture, np.minimum(setpoints_kw, picture.in_force_kw), links)
            self._unsaved.extend(out.row for out in outgoing)
        if self._ports.sources.fleet(self._tenant).tree is not picture.view.tree:
            return  # the tree changed meanwhile: the next look starts from it
        for out in outgoing:
            self._send(picture, out, links)

    def _outgoing(
        self, picture: Picture, setpoints_kw: FloatArray, links: Mapping[str, DispatchLink]
    ) -> list[_Outgoing]:
        view = picture.view
        must_go = self._must_go(picture, setpoints_kw)
        outgoing = []
        for k, csms in enumerate(view.csms_ids):
            index = np.flatnonzero(must_go & (view.csms_index == k)) if csms in links else np.zeros(0, dtype=np.int64)
            if index.size:
                outgoing.append(self._next(picture, csms, index, setpoints_kw[index]))
        return outgoing

    def _must_go(self, picture: Picture, setpoints_kw: FloatArray) -> BoolArray:
        """Return the chargers whose command changed, was lost, refused long enough ago or must be renewed."""
        book, lease_s = picture.book, self._settings.lease.total_seconds()
        age = picture.now - book.issued_at
        is_changed = (np.abs(setpoints_kw - book.limit_kw) > _SAME_KW) | (book.state == DispatchState.NONE)
        is_refused = np.isin(book.state, (DispatchState.REJECTED, DispatchState.TIMED_OUT))
        is_retry = is_refused & (age >= self._settings.retry_after.total_seconds())
        is_due = picture.is_connected & (book.state != DispatchState.NONE) & (age >= lease_s / 3.0)
        # Who is renewed takes the others of the platform along that would be due soon: fewer, larger messages.
        due_platforms = np.unique(picture.view.csms_index[is_due])
        is_soon = np.isin(picture.view.csms_index, due_platforms) & (age >= lease_s / 6.0)
        return np.asarray(picture.is_connected & (is_changed | book.must_resend | is_retry | is_due | is_soon))

    def _next(self, picture: Picture, csms: str, index: IndexArray, limit_kw: FloatArray) -> _Outgoing:
        self._sequences[csms] = self.sequence_of(csms) + 1
        view = picture.view
        fallback_kw = view.fallback_kw[index]
        row = DispatchBatch(
            id=self._ports.ids.new("dispatch"),
            tenant=self._tenant,
            csms=csms,
            sequence=self._sequences[csms],
            issued_at=picture.at,
            lease_until=picture.at + self._settings.lease,
            charger_ids=tuple(view.tree.charger_ids[i] for i in index.tolist()),
            limit_kw=tuple(limit_kw.tolist()),
            fallback_kw=tuple(fallback_kw.tolist()),
            cause=_causes(picture, index)[0],
        )
        return _Outgoing(row=row, index=index, limit_kw=limit_kw, fallback_kw=fallback_kw)

    async def _write(self, picture: Picture, outgoing: list[_Outgoing]) -> None:
        rows = [*self._unsaved, *(out.row for out in outgoing)]
        audit = tuple(entry for out in outgoing for entry in self._entries(picture, out))
        try:
            async with asyncio.timeout(self._settings.store_patience_s):
                await self._ports.store.apply(
                    Batch(tenant=self._tenant, puts=tuple(Put(record=row) for row in rows), audit=audit)
                )
        except TimeoutError as error:
            raise StorageUnavailable("the store does not answer") from error
        self._unsaved.clear()

    def _entries(self, picture: Picture, out: _Outgoing) -> list[AuditEntry]:
        """Return the audit of a command; renewing what is in force decides nothing and leaves no entry."""
        changed = np.abs(out.limit_kw - picture.book.limit_kw[out.index]) > _SAME_KW
        if not changed.any():
            return []
        entry = AuditEntry(
            id=self._ports.ids.new("audit"),
            tenant=self._tenant,
            at=picture.at,
            actor="system:plan-dispatch",
            action="dispatch.send",
            object_kind="dispatch",
            object_id=out.row.id,
            causes=tuple(_causes(picture, out.index[changed])),
            detail={
                "csms": out.row.csms,
                "sequence": str(out.row.sequence),
                "changed": str(int(changed.sum())),
                "total_kw": f"{out.limit_kw.sum():.2f}",
            },
        )
        return [entry]

    def _send(self, picture: Picture, out: _Outgoing, links: Mapping[str, DispatchLink]) -> None:
        link = links.get(out.row.csms)
        if link is None:
            return
        sent = Sent(
            batch=out.row.id,
            sequence=out.row.sequence,
            at=picture.now,
            lease_until=out.row.lease_until.timestamp(),
            index=out.index,
            limit_kw=out.limit_kw,
            fallback_kw=out.fallback_kw,
        )
        self._ports.desk.sent(self._tenant, sent)
        link.put(sent, out.row.cause)


def _causes(picture: Picture, index: IndexArray) -> list[str]:
    """Return what commands follow from: limits that bind above the chargers, then schedules, then a car."""
    levels = picture.view.levels
    above = {int(n) for node in levels.node for n in np.unique(node[index])}
    causes = [
        f"limit:{r.binding.id}"
        for n, r in sorted(picture.caps.resolutions.items())
        if n in above and r.binding is not None
    ]
    causes += [f"schedule:{s.id}" for n, s in sorted(picture.caps.schedules.items()) if n in above]
    cars = (picture.view.session_ids[i] for i in index.tolist())
    car = next((session for session in cars if session is not None), None)
    if car is not None:
        causes.append(f"session:{car}")
    if not causes:
        causes.append(f"dispatch:{picture.book.batch[int(index[0])] or 'first'}")
    return causes[:_MOST_CAUSES]
