"""What surrounds the events of a VTN: our standing there, the programs we take part in, and how to ask so that all is shown to us.

A VTN shows a targeted object only to a VEN that asks with a target that was granted to it, and an object without targets only to one
that asks without (3.1.0, object privacy). So everything is asked for both ways, and the answers are put together.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.observe import logger
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.dialect import Query, target_queries
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import Dialect, ObjectKind
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Registrar, Standing
from gateway.openadr.v3.wire import Program

_MOST_ASKED_ONE_BY_ONE = 10
_log = logger("openadr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What was found."""

    standing: Standing
    programs: Mapping[str, Program]
    """Programs we take part in, by id."""
    takes_all: bool
    """Whether we take part in every program that the VTN shows us."""
    queries: tuple[Query, ...]
    """How to ask for events."""

    def label(self, program_id: str, chosen: Collection[str]) -> str:
        """Return a program as the settings call it: by name where they chose it by name, else its id."""
        program = self.programs.get(program_id)
        return program.name if program is not None and program.name in chosen else program_id

    def takes(self, program_id: str) -> bool:
        """Tell whether we take part in a program."""
        return self.takes_all or program_id in self.programs


async def survey(settings: VenSettings, client: VtnClient, registrar: Registrar, holdings: Holdings) -> Survey:
    """Ask the VTN who we are and which programs there are.

    Raises:
        PeerUnavailable: It does not answer or refuses us.
        StorageUnavailable: What was found could not be kept.
    """
    standing = await registrar.ensure()
    ways: tuple[Query, ...] = ((), *_targeted(settings, standing))
    programs: dict[str, Program] = {}
    is_complete = True
    for way in ways:
        listed = await client.programs(way)
        is_complete = is_complete and listed.is_complete
        for broken in listed.broken:
            _log.warning("program not readable", authority=settings.authority, problem=broken.finding.text)
        programs |= {one.meta.id: one for one in listed.objects}
    wanted = {key: one for key, one in programs.items() if _is_wanted(one, settings)}
    for program in wanted.values():
        holdings.see(ObjectKind.PROGRAM, program.meta, program.content)
    if is_complete:
        holdings.leave_out(ObjectKind.PROGRAM, set(wanted))
    await holdings.save()
    missing = set(settings.programs) - {name for one in wanted.values() for name in (one.name, one.meta.id)}
    if missing:
        _log.warning("programs not shown", authority=settings.authority, programs=sorted(missing))
    return Survey(
        standing=standing,
        programs=wanted,
        takes_all=not settings.programs,
        queries=_event_queries(settings, wanted, ways),
    )


def _targeted(settings: VenSettings, standing: Standing) -> tuple[Query, ...]:
    """Return the ways to ask with targets; in 3.0.1 a VEN reads everything, so only those it is told to use."""
    granted = standing.targets if settings.dialect is Dialect.V310 else frozenset()
    return target_queries(settings.dialect, {*granted, *settings.targets})


def _is_wanted(program: Program, settings: VenSettings) -> bool:
    return not settings.programs or program.name in settings.programs or program.meta.id in settings.programs


def _event_queries(settings: VenSettings, wanted: Mapping[str, Program], ways: tuple[Query, ...]) -> tuple[Query, ...]:
    """Return how to ask for events: program by program where they are chosen and few, else all at once."""
    if not settings.programs or len(wanted) > _MOST_ASKED_ONE_BY_ONE:
        return ways
    return tuple((("programID", program_id), *way) for program_id in sorted(wanted) for way in ways)
