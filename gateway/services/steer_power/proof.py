"""What became of each order: the commands that followed it and the power that was measured, kept beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from gateway.domain.errors import Conflict, NotFound, Unavailable
from gateway.domain.evidence import AuditEntry, canonical_json
from gateway.domain.identity import system_principal
from gateway.domain.steering_orders import ExecutionProof, PowerSample, SteeringOrder, reached
from gateway.observe import logger
from gateway.ports import Batch, Clock, Ids, Put, Store
from gateway.services.steer_power.change import entry_of
from gateway.services.steer_power.settings import SteeringSettings
from gateway.services.steer_power.words import WordReader, Words

_LOG = logger("steer_power")
FloatArray = npt.NDArray[np.float64]
NodePower = Callable[[str, str, datetime], tuple[Sequence[datetime], FloatArray]]
"""Instants and mean power in kW of a tenant's node since an instant; NaN is unknown."""
ChargersBelow = Callable[[str, str], frozenset[str]]
"""Ids of the chargers below a tenant's node."""

PROVED = "steering.proof"
"""Action of the audit entry that a complete proof leaves."""
_BEFORE = timedelta(minutes=15)
"""How old the measurement before an order may be."""
_FINE = timedelta(minutes=15)
"""Every measurement of so long after an order is kept, then one per `_COARSE`."""
_COARSE = timedelta(minutes=15)


class ProofKeeper:
    """Looks at the orders of all boxes again and again until each is proved."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        node_power: NodePower,
        chargers_below: ChargersBelow,
        settings: SteeringSettings,
    ) -> None:
        """Remember the ports.

        Args:
            store: Orders, commands and proofs.
            clock: Market time.
            ids: Ids of audit entries.
            node_power: What was measured.
            chargers_below: Whose commands count.
            settings: The boxes.
        """
        self._store = store
        self._clock = clock
        self._ids = ids
        self._node_power = node_power
        self._chargers_below = chargers_below
        self._settings = settings

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            for tenant in sorted({box.tenant for box in self._settings.boxes}):
                try:
                    await self.keep_up(tenant)
                except (Conflict, Unavailable) as error:
                    _LOG.warning("proofs_wait", tenant=tenant, reason=str(error))
            await self._clock.sleep(self._settings.proof_every)

    async def keep_up(self, tenant: str) -> None:
        """Look at every order of a tenant that is not proved yet.

        Raises:
            StorageUnavailable: What could not be written is looked at again.
        """
        now = self._clock.now()
        unproved = await self._unproved(tenant)
        if not unproved:
            return
        below = {order.node: self._chargers_below(tenant, order.node) for order, _ in unproved}
        since = min(order.received_at if known is None else known.looked_until for order, known in unproved)
        reader = WordReader(self._store, tenant, frozenset().union(*below.values()))
        words = await reader.read(since - self._settings.proof_lingers)
        for order, known in unproved:
            proof = self._look(order, known, words, below[order.node], now)
            if proof != known:
                await self._keep(order, proof)

    async def _unproved(self, tenant: str) -> list[tuple[SteeringOrder, ExecutionProof | None]]:
        """Return open orders and those that ended since the last look, with what is known of each."""
        open_orders = await self._store.find(SteeringOrder, tenant, {"is_open": True})
        unproved = await self._store.find(ExecutionProof, tenant, {"is_complete": False})
        proofs = {row.record.id: row.record for row in unproved}
        orders = {row.record.id: row.record for row in open_orders}
        for name in proofs.keys() - orders.keys():
            row = await self._store.get(SteeringOrder, tenant, name)
            if row is not None:
                orders[name] = row.record
        recent = await self._store.find(
            SteeringOrder, tenant, {"is_open": False}, since=self._clock.now() - timedelta(days=1)
        )
        for row in recent:
            is_new = row.record.id not in orders and row.record.applied_kw is not None
            if is_new and await self._store.get(ExecutionProof, tenant, row.record.id) is None:
                orders[row.record.id] = row.record
        return [(order, proofs.get(order.id)) for order in sorted(orders.values(), key=lambda one: one.received_at)]

    def _look(
        self, order: SteeringOrder, known: ExecutionProof | None, words: Words, below: frozenset[str], now: datetime
    ) -> ExecutionProof:
        start = order.received_at
        end = now if order.ended_at is None else order.ended_at
        times, power_kw = self._measured(order, start - _BEFORE)
        proof = known
        if proof is None:
            before = [kw for at, kw in zip(times, power_kw.tolist(), strict=True) if at <= start and not np.isnan(kw)]
            proof = ExecutionProof(
                id=order.id,
                tenant=order.tenant,
                box=order.box,
                received_at=start,
                power_before_kw=before[-1] if before else None,
                looked_until=start,
            )
        steps = words.told_of(words.steps_of(proof, below, end))
        samples = _thinned(proof.samples, times, power_kw, start, end)
        is_over = order.ended_at is not None and now >= order.ended_at + self._settings.proof_lingers
        looked_until = max(proof.looked_until, min(now, end))
        found = replace(proof, steps=steps, samples=samples, reached_at=reached(samples, order), is_complete=is_over)
        return found if found == proof and known is not None else replace(found, looked_until=looked_until)

    def _measured(self, order: SteeringOrder, since: datetime) -> tuple[Sequence[datetime], FloatArray]:
        try:
            return self._node_power(order.tenant, order.node, since)
        except NotFound:
            return (), np.zeros(0)

    async def _keep(self, order: SteeringOrder, proof: ExecutionProof) -> None:
        audit: tuple[AuditEntry, ...] = ()
        if proof.is_complete:
            principal = system_principal(order.tenant, "steering")
            detail = {"box": order.box, "proof": canonical_json(proof)}
            thing = ("steering-order", order.id)
            audit = (entry_of(self._ids, principal, self._clock.now(), PROVED, thing, detail),)
        await self._store.apply(Batch(tenant=order.tenant, puts=(Put(record=proof),), audit=audit))


def _thinned(
    known: tuple[PowerSample, ...], times: Sequence[datetime], power_kw: FloatArray, start: datetime, end: datetime
) -> tuple[PowerSample, ...]:
    """Return what was measured during an order: everything at first, later one sample per quarter of an hour."""
    samples = list(known)
    for at, kw in zip(times, power_kw.tolist(), strict=True):
        last = samples[-1].at if samples else start
        wait = timedelta(0) if at <= start + _FINE else _COARSE
        if start < at <= end and at > last and at - last >= wait and not np.isnan(kw):
            samples.append(PowerSample(at=at, power_kw=kw))
    return tuple(samples)
