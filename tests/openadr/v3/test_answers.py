"""A changed answer to an event of a 3.x VTN: no message exists, so its outbox item says what became of it."""

from datetime import timedelta

import pytest

from gateway.domain.programs import ReportDuty
from gateway.openadr.v3.answers import ANSWER_TOPIC
from gateway.ports import Batch, OutboxItem, Put
from gateway.services.gather_signals import ANSWER_TOPIC as TOPIC_OF_THE_DESK
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import limit_event
from tests.openadr.virtual_life import AUTHORITY, START, TENANT


def item(key: str, tenant: str = TENANT) -> OutboxItem:
    return OutboxItem(id=f"opt:{key}", tenant=tenant, topic=ANSWER_TOPIC, key=key, due_at=START)


def test_the_desk_and_the_room_mean_the_same_topic() -> None:
    assert ANSWER_TOPIC == TOPIC_OF_THE_DESK


@pytest.mark.parametrize(
    ("asks_for_reports", "note"), [(False, "not told: OpenADR 3 has no message"), (True, "told by the reports")]
)
def test_a_changed_answer_is_settled_with_what_became_of_it(*, asks_for_reports: bool, note: str) -> None:
    async def scenario(bench: Bench) -> None:
        bench.vtn.program()
        bench.vtn.event(**limit_event(START, 10.0))
        await bench.run(seconds=5)
        if asks_for_reports:
            duty = ReportDuty(
                id="duty", tenant=TENANT, authority=AUTHORITY, event_id="e1", version=0, index=0, descriptor="{}"
            )
            await bench.store.apply(Batch(tenant=TENANT, puts=(Put(record=duty),)))
        own, foreign = item(f"{AUTHORITY}:e1"), item("vtn:another:e1")
        await bench.store.apply(Batch(tenant=TENANT, outbox=(own, foreign)))
        await bench.run(seconds=25)
        due = await bench.store.due_outbox(ANSWER_TOPIC, START + timedelta(hours=1))
        assert [one.key for one in due] == ["vtn:another:e1"], "another VEN's answers are not ours to settle"
        written = [one for batch in bench.store.applied for one in batch.outbox]
        [settled] = [one for one in written if one.key == own.key and one.settled_at is not None]
        assert settled.note.startswith(note)

    virtually(scenario)
