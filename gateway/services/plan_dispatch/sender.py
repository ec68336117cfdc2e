"""From set points to commands: numbered, written, then laid into the mailboxes of the platforms."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gateway.domain.commands import Sent
from gateway.domain.dispatch import CommandRoster, DispatchBatch, DispatchState, pack_places, pack_powers
from gateway.domain.errors import StorageUnavailable
from gateway.domain.evidence import AuditEntry
from gateway.domain.rosters import Rosters
from gateway.observe import logger
from gateway.ports import AtLeast, Batch, Put
from gateway.services.plan_dispatch.backlog import Backlog, Unwritten
from gateway.services.plan_dispatch.link import DispatchLink
from gateway.services.plan_dispatch.picture import ControlPorts, Picture
from gateway.services.plan_dispatch.settings import DispatchSettings

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]

_log = logger("dispatch")
_SAME_KW = 1e-6
_MOST_CAUSES = 50
_MOST_ROWS = 100_000
_PATIENCE_PER_ROW_S = 0.001
"""Real seconds that a write may take longer for each further row."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Outgoing:
    """A command as it is written and where its chargers are in the tree."""

    row: DispatchBatch
    causes: tuple[str, ...]
    """What the commands follow from."""
    roster: CommandRoster
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
        self._rosters = Rosters(tenant)
        self._left_at: float | None = None
        self.backlog = Backlog(tenant=tenant, store=ports.store, rosters=self._rosters)
        """Commands that went out from memory."""

    async def load(self) -> None:
        """Go on from the newest sequence number of every platform."""
        for csms in self._ports.sources.fleet(self._tenant).csms_ids:
            await self.load_platform(csms)

    async def load_platform(self, csms: str) -> None:
        """Go on from the newest sequence number of a platform that had no chargers in the tree when we started.

        Raises:
            StorageUnavailable: Nobody knows which numbers it was given.
        """
        if csms in self._sequences:
            return
        store, where = self._ports.store, {"csms": csms}
        newest = await store.find(DispatchBatch, self._tenant, where, newest_first=True, limit=1)
        known = max((row.record.sequence for row in newest), default=0)
        # The clock may have been set back, and several commands may have been issued at one instant: the number counts.
        later = await store.find(DispatchBatch, self._tenant, {**where, "sequence": AtLeast(known)}, limit=_MOST_ROWS)
        self.know_sequence(csms, max((row.record.sequence for row in later), default=known))

    def sequence_of(self, csms: str) -> int:
        """Return the newest sequence of a platform."""
        return self._sequences.get(csms, 0)

    def know_sequence(self, csms: str, sequence: int) -> None:
        """Never give out this sequence or a smaller one again."""
        self._sequences[csms] = max(self.sequence_of(csms), sequence)

    def take_left_at(self) -> float | None:
        """Return when the first command left since the last call, in seconds of the event loop; None when none did."""
        left_at, self._left_at = self._left_at, None
        return left_at

    async def issue(
        self,
        picture: Picture,
        setpoints_kw: FloatArray,
        links: Mapping[str, DispatchLink],
        *,
        is_tighter: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write what changed or must be renewed, then lay it into the mailboxes.

        When the store fails, increases are left out and the rest goes out from memory; the `backlog` is written by another task, so
        that no reduction waits for it.

        Args:
            picture: What is the case.
            setpoints_kw: Where the set points shall be, shape (C,).
            links: Open streams by platform.
            is_tighter: Tells whether less is allowed than in the picture by now: then no increase leaves, whatever was written.
        """
        outgoing = self._outgoing(picture, setpoints_kw, links)
        if not outgoing:
            return
        try:
            await self._write(picture, outgoing)
        except StorageUnavailable as error:
            _log.warning("commands go out from memory", tenant=self._tenant, reason=str(error))
            outgoing = self._outgoing(picture, np.minimum(setpoints_kw, picture.in_force_kw), links)
            self.backlog.keep(
                Unwritten(row=out.row, roster=out.roster, audit=tuple(self._entries(picture, out))) for out in outgoing
            )
        if self._is_of_another_tree(picture):
            return  # it changed meanwhile: the next look starts from it
        kept = [_without_rises(picture, out) for out in outgoing]
        if any(len(one.index) < len(out.index) for one, out in zip(kept, outgoing, strict=True)) and is_tighter():
            outgoing = kept
        await self._send_all(picture, outgoing, links)
        self._ports.churn.tell(self._tenant, picture.now, int(np.count_nonzero(picture.book.sequence)))

    def _outgoing(
        self, picture: Picture, setpoints_kw: FloatArray, links: Mapping[str, DispatchLink]
    ) -> list[_Outgoing]:
        view = picture.view
        self._rosters.follow(view)
        index = np.flatnonzero(self._must_go(picture, setpoints_kw))
        platform = view.csms_index[index]
        order = np.argsort(platform, kind="stable")
        counts = np.bincount(platform, minlength=len(view.csms_ids))
        ends, index = np.cumsum(counts), index[order]
        parts = [(k, index[ends[k] - counts[k] : ends[k]]) for k in np.flatnonzero(counts).tolist()]
        return [
            self._next(picture, links[view.csms_ids[k]], k, mine, setpoints_kw[mine])
            for k, mine in parts
            if view.csms_ids[k] in links
        ]

    def _must_go(self, picture: Picture, setpoints_kw: FloatArray) -> BoolArray:
        """Return the chargers whose command changed, was lost, refused long enough ago or must be renewed."""
        book, age = picture.book, picture.now - picture.book.issued_at
        has_lease = np.isfinite(book.lease_until) & np.isfinite(book.issued_at)
        lease_s = np.subtract(book.lease_until, book.issued_at, out=np.zeros(age.shape), where=has_lease)
        is_changed = (np.abs(setpoints_kw - book.limit_kw) > _SAME_KW) | (book.state == DispatchState.NONE)
        is_refused = (book.state == DispatchState.REJECTED) | (book.state == DispatchState.TIMED_OUT)
        is_retry = is_refused & (age >= self._settings.retry_after.total_seconds())
        is_due = picture.is_connected & (book.state != DispatchState.NONE) & (age >= lease_s / 3.0)
        # Who is renewed takes the others of the platform along that would be due soon: fewer, larger messages.
        has_due = np.zeros(len(picture.view.csms_ids), dtype=bool)
        has_due[picture.view.csms_index[is_due]] = True
        is_soon = has_due[picture.view.csms_index] & (age >= lease_s / 6.0)
        return np.asarray(picture.is_connected & (is_changed | book.must_resend | is_retry | is_due | is_soon))

    def _next(
        self, picture: Picture, link: DispatchLink, platform: int, index: IndexArray, limit_kw: FloatArray
    ) -> _Outgoing:
        view = picture.view
        csms, roster = view.csms_ids[platform], self._rosters.of(view, platform)
        self._sequences[csms] = self.sequence_of(csms) + 1
        causes = tuple(_causes(picture, index))
        row = DispatchBatch(
            id=self._ports.ids.new("dispatch"),
            tenant=self._tenant,
            csms=csms,
            sequence=self._sequences[csms],
            issued_at=picture.at,
            lease_until=picture.at + link.lease,
            cause=causes[0],
            roster=roster.id,
            packed_places=b"" if len(index) == len(roster.charger_ids) else pack_places(self._rosters.places[index]),
            packed_limit_kw=pack_powers(limit_kw),
        )
        return _Outgoing(
            row=row, causes=causes, roster=roster, index=index, limit_kw=limit_kw, fallback_kw=view.fallback_kw[index]
        )

    async def _write(self, picture: Picture, outgoing: list[_Outgoing]) -> None:
        rosters = self._rosters.unsaved([out.roster for out in outgoing])
        puts = (*(Put(record=roster) for roster in rosters), *(Put(record=out.row) for out in outgoing))
        audit = tuple(entry for out in outgoing for entry in self._entries(picture, out))
        try:
            # When thousands of platforms come back at once, their rows take their time: written twice they take twice as long.
            async with asyncio.timeout(self._settings.store_patience_s + _PATIENCE_PER_ROW_S * (len(puts) - 1)):
                await self._ports.store.apply(Batch(tenant=self._tenant, puts=puts, audit=audit))
        except TimeoutError as error:
            raise StorageUnavailable("the store does not answer") from error
        self._rosters.saved(rosters)

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
            causes=out.causes if changed.all() else tuple(_causes(picture, out.index[changed])),
            detail={
                "csms": out.row.csms,
                "sequence": str(out.row.sequence),
                "changed": str(int(changed.sum())),
                "total_kw": f"{out.limit_kw.sum():.2f}",
            },
        )
        return [entry]

    async def _send_all(self, picture: Picture, outgoing: list[_Outgoing], links: Mapping[str, DispatchLink]) -> None:
        """Lay commands into the mailboxes; of a large fleet in parts, so that the first leave before the last are laid there."""
        waiting = 0
        for out in outgoing:
            if waiting > self._settings.inline_charger_count:
                waiting = 0
                await asyncio.sleep(0)
                # The book changes with the chargers; asking for the whole fleet would put it together between any two parts.
                if self._ports.desk.book(self._tenant) is not picture.book:
                    return
            self._send(picture, out, links)
            waiting += len(out.index)

    def _is_of_another_tree(self, picture: Picture) -> bool:
        return self._ports.sources.fleet(self._tenant).tree is not picture.view.tree

    def _send(self, picture: Picture, out: _Outgoing, links: Mapping[str, DispatchLink]) -> None:
        link = links.get(out.row.csms)
        if link is None:
            return
        # While it was written, the platform may have come back with other chargers, or lost some.
        goes = link.commands(out.index)
        sent = Sent(
            batch=out.row.id,
            sequence=out.row.sequence,
            at=picture.now,
            lease_until=out.row.lease_until.timestamp(),
            index=out.index[goes],
            limit_kw=out.limit_kw[goes],
            fallback_kw=out.fallback_kw[goes],
        )
        if not sent.index.size:
            return
        self._ports.churn.count(picture.book.limit_kw[sent.index], sent.limit_kw, picture.now)
        self._ports.desk.sent(self._tenant, sent)
        link.put(sent, out.row.cause)
        if self._left_at is None:
            self._left_at = asyncio.get_running_loop().time()


def _without_rises(picture: Picture, out: _Outgoing) -> _Outgoing:
    """Return a command without the chargers whose set point would rise."""
    stays = out.limit_kw <= picture.in_force_kw[out.index] + _SAME_KW
    if stays.all():
        return out
    return replace(out, index=out.index[stays], limit_kw=out.limit_kw[stays], fallback_kw=out.fallback_kw[stays])


def _causes(picture: Picture, index: IndexArray) -> list[str]:
    """Return what commands follow from: limits that bind above the chargers, then schedules, then a car."""
    levels = picture.view.levels
    is_above = np.zeros(len(levels.parent) + 1, dtype=bool)
    is_leaf = np.zeros(len(levels.parent), dtype=bool)
    is_leaf[levels.leaf[index]] = True
    is_above[levels.above[:, np.flatnonzero(is_leaf)]] = True
    causes = [
        f"limit:{r.binding.id}"
        for n, r in sorted(picture.caps.resolutions.items())
        if is_above[n] and r.binding is not None
    ]
    causes += [f"schedule:{s.id}" for n, s in sorted(picture.caps.schedules.items()) if is_above[n]]
    cars = (picture.view.session_ids[i] for i in index)
    car = next((session for session in cars if session is not None), None)
    if car is not None:
        causes.append(f"session:{car}")
    if not causes:
        causes.append(f"dispatch:{picture.book.batch_of(int(index[0])) or 'first'}")
    return causes[:_MOST_CAUSES]
