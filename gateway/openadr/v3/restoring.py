"""Events that repeat without end, taken up again after a restart from what is on disk, so that they go on without the VTN."""

from collections.abc import Iterator

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import GridEvent, RawSignal
from gateway.json_guard import Json, read_json
from gateway.observe import logger
from gateway.openadr.v3.chance import draws
from gateway.openadr.v3.companion import KnownEvent
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.reader import id_of, read_event
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.timing import plan
from gateway.openadr.v3.understanding import GateOf, Understood

_MOST = 10_000
_log = logger("openadr")


async def restored(around: Surroundings, holdings: Holdings, seed: str, gate_of: GateOf) -> dict[str, Understood]:
    """Return the events that must be unrolled further although nobody has listed them yet, by id.

    An event whose version on disk is not the one that was last seen is left out: the desk was not told all of it.

    Args:
        around: Settings and ports.
        holdings: What was seen last.
        seed: What randomised starts are drawn from.
        gate_of: Profiles of programs.

    Raises:
        StorageUnavailable: Try again.
    """
    settings = around.settings
    rows = await around.store.find(
        GridEvent, settings.tenant, {"authority": settings.authority}, newest_first=True, limit=_MOST
    )
    found: dict[str, Understood] = {}
    for event in (row.record for row in rows):
        if event.unrolled_until is None or event.cancelled:
            continue
        raw = await around.store.get(RawSignal, settings.tenant, event.raw_signal)
        try:
            known = None if raw is None else _known(around, holdings, (event, raw.record), seed, gate_of)
        except InvalidInput as error:
            _log.warning("event not taken up again", authority=settings.authority, problem=str(error))
            continue
        if known is not None:
            found[event.event_id] = Understood(version=known.version, known=known, event=event)
    return found


def _known(
    around: Surroundings, holdings: Holdings, kept: tuple[GridEvent, RawSignal], seed: str, gate_of: GateOf
) -> KnownEvent | None:
    event, raw = kept
    seen = holdings.held_event(event.event_id)
    contents = list(_objects(read_json(raw.body, around.settings.json)))
    own = [one for one in contents if id_of(one) == event.event_id]
    if seen is None or seen.version != event.modification or not own:
        return None
    said = read_event(own[-1])
    program = holdings.program(said.program_id)
    gate = gate_of(program)
    if gate is not None:
        others = [one for one in contents if isinstance(one, dict) and id_of(one) != event.event_id]
        admitted = gate.admit("event", own[-1], now=raw.received_at, others=others).content
        if admitted is None:
            return None
        said = read_event(dict(admitted))
    schedule = plan(
        said,
        seen.first_seen,
        draws(seed, event.event_id),
        period_repeats=around.settings.dialect is Dialect.V301,
    )
    return KnownEvent(
        event=said,
        version=seen.version,
        first_seen=seen.first_seen,
        program=program,
        schedule=schedule,
        nodes=event.nodes,
        label=event.market_context,
    )


def _objects(content: Json) -> Iterator[Json]:
    """Give out the objects of a stored listing: a list of pages."""
    for page in content if isinstance(content, list) else ():
        yield from page if isinstance(page, list) else ()
