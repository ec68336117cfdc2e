"""What chargers were told and what became of it, read once for all orders that are looked at."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from gateway.domain.dispatch import CommandRoster, DispatchBatch, DispatchOutcome
from gateway.domain.steering_orders import ChargerStep, ExecutionProof, state_name
from gateway.ports import Store

_MOST_ROWS = 5_000
_MOST_STEPS = 20_000
"""Set points kept of one order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Commands and states of some chargers, in the order of their time."""

    commands: Sequence[tuple[datetime, str, float]]
    """When it was on disk, the charger and its limit in kW."""
    states: Sequence[tuple[datetime, str, int]]
    """When it was told, the charger and the state of its command."""

    def steps_of(self, proof: ExecutionProof, below: frozenset[str], end: datetime) -> tuple[ChargerStep, ...]:
        """Return the changes of set points since an order, those that are known first.

        Args:
            proof: What is known of it.
            below: Its chargers.
            end: Commands from here on are none of it.
        """
        steps = list(proof.steps)
        last = {step.charger: step.set_kw for step in steps}
        seen = {(step.charger, step.set_at) for step in steps}
        for at, charger, kw in self.commands:
            is_its = charger in below and proof.looked_until <= at < end
            if is_its and last.get(charger) != kw and (charger, at) not in seen and len(steps) < _MOST_STEPS:
                steps.append(ChargerStep(charger=charger, set_kw=kw, set_at=at))
                last[charger] = kw
        return tuple(steps)

    def told_of(self, steps: tuple[ChargerStep, ...]) -> tuple[ChargerStep, ...]:
        """Return steps with the newest state that was told of each."""
        places: dict[str, list[int]] = {}
        for i, step in enumerate(steps):
            places.setdefault(step.charger, []).append(i)
        told = list(steps)
        for at, charger, state in self.states:
            # It is about the newest set point of that time: those before it were superseded.
            for i in [i for i in places.get(charger, ()) if told[i].set_at <= at][-1:]:
                told[i] = replace(told[i], state=state_name(state), state_at=at)
        return tuple(told)


class WordReader:
    """Reads the words about some chargers of a tenant; a large fleet's rows are sifted in arrays, and the event loop turns between."""

    def __init__(self, store: Store, tenant: str, chargers: frozenset[str]) -> None:
        """Remember whose words."""
        self._store = store
        self._tenant = tenant
        self._chargers = chargers
        self._rosters: dict[str, CommandRoster] = {}
        self._is_wanted: dict[str, npt.NDArray[np.bool_]] = {}

    async def read(self, since: datetime) -> Words:
        """Return the words since an instant."""
        commands: list[tuple[datetime, str, float]] = []
        for row in await self._store.find(DispatchBatch, self._tenant, since=since, limit=_MOST_ROWS):
            batch = row.record
            await self._know(batch.roster)
            wanted = self._wanted(batch.roster, batch.charger_ids, batch.places)
            limits_kw = batch.limits_kw
            commands += [(batch.issued_at, charger, float(limits_kw[i])) for i, charger in wanted]
        states: list[tuple[datetime, str, int]] = []
        for told in await self._store.find(DispatchOutcome, self._tenant, since=since, limit=_MOST_ROWS):
            outcome = told.record
            await self._know(outcome.roster)
            wanted = self._wanted(outcome.roster, outcome.charger_ids, outcome.places)
            found = outcome.all_states
            states += [(outcome.at, charger, int(found[i])) for i, charger in wanted]
        return Words(commands=commands, states=states)

    async def _know(self, name: str) -> None:
        """Read a roster once; between rows the event loop turns."""
        await asyncio.sleep(0)
        if not name or name in self._rosters:
            return
        row = await self._store.get(CommandRoster, self._tenant, name)
        if row is not None:
            self._rosters[name] = row.record
            self._is_wanted[name] = np.array([one in self._chargers for one in row.record.charger_ids], dtype=bool)

    def _wanted(self, roster: str, named: tuple[str, ...], places: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """Yield the wanted chargers of a row with their place in its columns: those that are named come first."""
        for i, charger in enumerate(named):
            if charger in self._chargers:
                yield i, charger
        if roster in self._rosters:
            names = self._rosters[roster].charger_ids
            for j in np.flatnonzero(self._is_wanted[roster][places]).tolist():
                yield len(named) + j, names[places[j]]
