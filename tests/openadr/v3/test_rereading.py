"""Stored listings of a 3.x VTN read again: with what was known of the program, and without any effect."""

from gateway.domain.signals import Instruction, RawSignal
from gateway.openadr.v3.rereading import Rereader
from tests.openadr.v3.bench import Bench, virtually
from tests.openadr.v3.memory_vtn import limit_event
from tests.openadr.virtual_life import START, TENANT


def test_a_stored_listing_means_what_it_meant() -> None:
    async def scenario(bench: Bench) -> None:
        descriptor = {"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "W"}
        bench.vtn.program(payloadDescriptors=[descriptor])
        bench.vtn.event("by-program", **limit_event(START, 9_000.0) | {"payloadDescriptors": None})
        bench.vtn.event("broken", **limit_event("soon", 1.0))
        bench.vtn.event("taken-back", **limit_event("0001-01-01", 1.0, duration="PT0S"))
        await bench.run(seconds=15)
        [raw] = bench.store.all(RawSignal, TENANT)
        received, effects = len(bench.desk.received), list(bench.desk.effects)
        found = await Rereader(bench.settings, bench.store, lambda _program: None).read_again(raw)
        again = {one.event_id: one for one in found}
        event = again["by-program"].event
        assert event is not None
        assert [(one.instruction, one.value) for one in event.intervals] == [(Instruction.IMPORT_LIMIT_KW, 9.0)]
        assert event.intervals == bench.events()["by-program"].intervals
        assert "intervalPeriod.start" in again["broken"].problem
        assert "taken back" in again["taken-back"].problem
        assert (len(bench.desk.received), bench.desk.effects) == (received, effects)

    virtually(scenario)
