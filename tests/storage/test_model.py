"""Whatever happens to a store, it holds what a dictionary would hold."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.domain.errors import Conflict, RequestReused
from gateway.domain.evidence import verify_chain
from gateway.domain.sessions import Session
from gateway.ports import Batch, Put
from gateway.storage.store import SqlStore
from tests.storage.conftest import HandClock
from tests.storage.records import T0, entry, session

puts = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from([None, None, 0, 1, 2, 3]), st.integers(0, 9)), max_size=4
)
requests = st.one_of(st.none(), st.tuples(st.sampled_from("rs"), st.sampled_from("hi")))
steps = st.lists(st.tuples(st.sampled_from(["x", "y"]), puts, requests, st.integers(0, 2)), max_size=12)


@dataclass
class Model:
    """One tenant's rows, as a dictionary would keep them."""

    versions: dict[str, int] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)
    requests: dict[str, tuple[str, str]] = field(default_factory=dict)
    audit: list[str] = field(default_factory=list)

    def expect(self, batch: Batch) -> type[Exception] | None:
        if batch.request_id in self.requests:
            return Conflict if self.requests[batch.request_id][0] == batch.request_hash else RequestReused
        versions = dict(self.versions)
        for put in batch.puts:
            if put.expected_version not in {None, versions.get(put.record.id, 0)}:
                return Conflict
            versions[put.record.id] = versions.get(put.record.id, 0) + 1
        self.versions = versions
        self.energy |= {put.record.id: put.record.delivered_kwh for put in batch.puts}
        self.audit += [one.id for one in batch.audit]
        if batch.request_id:
            self.requests[batch.request_id] = (batch.request_hash, batch.response)
        return None


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def store(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    folder: Path = tmp_path_factory.mktemp("model")
    opened = SqlStore.open(f"sqlite:///{folder}/db", HandClock(T0))
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


examples = iter(range(1_000_000))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=steps, together=st.booleans())
def test_a_store_holds_what_a_dictionary_would(
    runner: asyncio.Runner,
    store: SqlStore,
    steps: list[tuple[str, list[tuple[str, int | None, int]], tuple[str, str] | None, int]],
    together: bool,
) -> None:
    example = next(examples)
    models = {f"{name}-{example}": Model() for name in "xy"}
    batches = []
    for number, (name, records, request, entries) in enumerate(steps):
        tenant = f"{name}-{example}"
        request_id, request_hash = request or ("", "")
        batches.append(
            Batch(
                tenant=tenant,
                puts=tuple(
                    Put(
                        record=session(record_id, tenant, delivered_kwh=float(kwh), arrival=T0 + timedelta(hours=kwh)),
                        expected_version=expected,
                    )
                    for record_id, expected, kwh in records
                ),
                audit=tuple(entry(f"{number}.{index}", tenant) for index in range(entries)),
                request_id=request_id,
                request_hash=request_hash,
                response=str(number),
            )
        )
    expected = [models[batch.tenant].expect(batch) for batch in batches]
    assert runner.run(_apply(store, batches, together)) == expected
    for tenant, model in models.items():
        assert runner.run(_state(store, tenant)) == model


async def _apply(store: SqlStore, batches: list[Batch], together: bool) -> list[type[Exception] | None]:
    if together:
        results = await asyncio.gather(*(store.apply(batch) for batch in batches), return_exceptions=True)
    else:
        results = [(await asyncio.gather(store.apply(batch), return_exceptions=True))[0] for batch in batches]
    return [None if result is None else type(result) for result in results]  # type: ignore[misc]


async def _state(store: SqlStore, tenant: str) -> Model:
    found = await store.find(Session, tenant)
    energies = [one.record.delivered_kwh for one in found]
    assert energies == sorted(energies)
    entries = await store.audit_entries(limit=1_000_000)
    assert verify_chain(entries) == len(entries)
    assert [one for one in entries if one.entry.tenant == tenant] == await store.audit_of(tenant, "Bid", "bid-1")
    model = Model(
        versions={one.record.id: one.version for one in found},
        energy={one.record.id: one.record.delivered_kwh for one in found},
        audit=[one.entry.id for one in entries if one.entry.tenant == tenant],
    )
    for request_id in "rs":
        for request_hash in "hi":
            try:
                response = await store.replay(tenant, request_id, request_hash)
            except RequestReused:
                continue
            if response is not None:
                model.requests[request_id] = (request_hash, response)
    return model
