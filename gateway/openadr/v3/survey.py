"""What surrounds the events of a VTN: our standing there, the programs we take part in, and how to ask so that all is shown to us.

A VTN shows a targeted object only to a VEN that asks with a target that was granted to it, and an object without targets only to one
that asks without (3.1.0, object privacy). So everything is asked for both ways, and the answers are put together.

A program that we take part in and that is not listed any more, or cannot be read, stays as it was last known, across restarts, too:
its limits must not open because it is out of sight. Only one that GET by its id answers with 404, and that would not be
hidden from us (`shown.may_see`), is deleted and releases its events.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import NonCompliance
from gateway.observe import logger
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.deletion import Deletions
from gateway.openadr.v3.dialect import Query, target_queries
from gateway.openadr.v3.holdings import Holdings
from gateway.openadr.v3.names import Dialect, ObjectKind
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.shown import may_see
from gateway.openadr.v3.standing import Registrar, Standing
from gateway.openadr.v3.surroundings import Surroundings
from gateway.openadr.v3.wire import Program

_MOST_ASKED_ONE_BY_ONE = 10
_MOST_SOUGHT = 5
"""Programs that one survey asks for by their id."""
_NOT_SHOWN = "program-not-shown"
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
    """How to ask for events; at least one, so that a poll without a word from the VTN cannot pass for contact."""
    doubtful: frozenset[str] = frozenset()
    """Ids of programs we take part in that are not shown and not surely deleted: a list proves nothing about their events."""

    def __post_init__(self) -> None:
        """Reject a survey that leaves nothing to ask."""
        if not self.queries:
            raise InvalidInput("queries", "must not be empty")

    def label(self, program_id: str, chosen: Collection[str]) -> str:
        """Return a program as the settings call it: by name where they chose it by name, else its id."""
        program = self.programs.get(program_id)
        return program.name if program is not None and program.name in chosen else program_id

    def takes(self, program_id: str) -> bool:
        """Tell whether we take part in a program."""
        return self.takes_all or program_id in self.programs


class Surveyor:
    """Asks the VTN who we are and which programs there are.

    Args:
        around: Settings and ports.
        client: Asks the VTN.
        registrar: Finds or makes our ven.
        holdings: Keeps programs as last seen.
        deletions: Asks for single programs.
    """

    def __init__(
        self, around: Surroundings, client: VtnClient, registrar: Registrar, holdings: Holdings, deletions: Deletions
    ) -> None:
        self._around = around
        self._settings = around.settings
        self._client = client
        self._registrar = registrar
        self._holdings = holdings
        self._deletions = deletions
        self._told: frozenset[str] = frozenset()

    async def look(self) -> Survey:
        """Return what surrounds the events now.

        Raises:
            PeerUnavailable: The VTN does not answer or refuses us.
            StorageUnavailable: What was found could not be kept.
        """
        standing = await self._registrar.ensure()
        ways: tuple[Query, ...] = ((), *_targeted(self._settings, standing))
        shown = {key: one for key, one in (await self._listed(ways)).items() if _is_wanted(one, self._settings)}
        for program in shown.values():
            self._holdings.see(ObjectKind.PROGRAM, program.meta, program.content)
        hidden = await self._hidden(shown, standing)
        programs = {**shown, **hidden}
        self._holdings.leave_out(ObjectKind.PROGRAM, set(programs))
        await self._holdings.save()
        await self._note_missing(shown.values(), hidden.values())
        return Survey(
            standing=standing,
            programs=programs,
            takes_all=not self._settings.programs,
            queries=_event_queries(self._settings, programs, ways),
            doubtful=frozenset(hidden),
        )

    async def _listed(self, ways: Iterable[Query]) -> dict[str, Program]:
        programs: dict[str, Program] = {}
        for way in ways:
            listed = await self._client.programs(way)
            for broken in listed.broken:
                _log.warning(
                    "program not readable",
                    authority=self._settings.authority,
                    program=broken.object_id,
                    problem=broken.finding.text,
                )
            programs |= {one.meta.id: one for one in listed.objects}
        return programs

    async def _hidden(self, shown: Collection[str], standing: Standing) -> dict[str, Program]:
        """Return the programs we take part in that are not shown, or not so that we would know them, as last known."""
        lost = self._holdings.present(ObjectKind.PROGRAM) - set(shown)
        known = {key: one for key in lost if (one := self._holdings.program(key)) is not None}
        wanted = {key: one for key, one in known.items() if _is_wanted(one, self._settings)}
        visible = {key for key, one in wanted.items() if may_see(one.targets, self._settings, standing)}
        deleted = await self._deletions.among(ObjectKind.PROGRAM, visible, most=_MOST_SOUGHT)
        return {key: one for key, one in wanted.items() if key not in deleted}

    async def _note_missing(self, shown: Iterable[Program], hidden: Iterable[Program]) -> None:
        """Say once which chosen programs are not shown."""
        kept = {name: one.meta.id for one in hidden for name in (one.name, one.meta.id)}
        named = {name for one in shown for name in (one.name, one.meta.id)}
        missing = frozenset(self._settings.programs) - named
        if missing:
            _log.warning("programs not shown", authority=self._settings.authority, programs=sorted(missing))
        await self._around.keep(*(self._finding(name, kept.get(name)) for name in sorted(missing - self._told)))
        self._told = missing

    def _finding(self, name: str, program_id: str | None) -> NonCompliance:
        what = "was deleted or never seen" if program_id is None else "stays in force as last known, with its events"
        return NonCompliance(
            id=f"{self._settings.authority}:program:{name}:{_NOT_SHOWN}",
            tenant=self._settings.tenant,
            authority=self._settings.authority,
            profile=self._settings.protocol,
            rule=_NOT_SHOWN,
            object_kind=ObjectKind.PROGRAM.value,
            object_id=program_id or name,
            problem=f"the chosen program {name} is not listed or cannot be read; it {what}",
            is_applied=program_id is not None,
            raw_signal="",
            at=self._around.clock.now(),
        )


def _targeted(settings: VenSettings, standing: Standing) -> tuple[Query, ...]:
    """Return the ways to ask with targets; in 3.0.1 a VEN reads everything, so only those it is told to use."""
    granted = standing.targets if settings.dialect is Dialect.V310 else frozenset()
    return target_queries(settings.dialect, {*granted, *settings.targets})


def _is_wanted(program: Program, settings: VenSettings) -> bool:
    return not settings.programs or program.name in settings.programs or program.meta.id in settings.programs


def _event_queries(settings: VenSettings, wanted: Mapping[str, Program], ways: tuple[Query, ...]) -> tuple[Query, ...]:
    """Return how to ask for events: program by program where they are chosen, known and few, else all at once."""
    if not settings.programs or not wanted or len(wanted) > _MOST_ASKED_ONE_BY_ONE:
        return ways
    return tuple((("programID", program_id), *way) for program_id in sorted(wanted) for way in ways)
