"""Two kinds of import rule that import-linter lacks, both by allow-list; used from pyproject.toml.

A rule may name a room that does not exist yet: it then holds for whatever is written there first.
Only direct imports count: `app` may import `storage`, which imports SQLAlchemy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from typing_extensions import override

_BROKEN = "broken"


class OnlyFor(Contract):
    """The named packages, ours or foreign, are imported by the named rooms and by nobody else.

    Options: `packages` and `rooms`, both lists of dotted names; a name includes what lies below it.
    A package of ours that is its own only room is imported by nobody else.
    """

    type_name = "only_for"

    packages = fields.ListField(subfield=fields.StringField())
    rooms = fields.ListField(subfield=fields.StringField())

    @override
    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return the imports of `packages` that come from outside `rooms`."""
        del verbose
        packages, rooms = _names(self.packages), _names(self.rooms)
        return _outcome(
            f"{importer} imports {imported} (line {line}), which only {', '.join(rooms)} may"
            for importer, imported, line in _direct_imports(graph)
            if _is_within(imported, packages) and not _is_within(importer, [*rooms, *packages])
        )

    @override
    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that should not be there."""
        _print_broken(check)


class OnlyUses(Contract):
    """The named rooms import nothing but the standard library, themselves and the named packages.

    Options: `rooms` and `packages`, both lists of dotted names; a name includes what lies below it.
    `any_foreign = true` opens all packages that are not ours.
    """

    type_name = "only_uses"

    rooms = fields.ListField(subfield=fields.StringField())
    packages = fields.ListField(subfield=fields.StringField())
    any_foreign = fields.BooleanField(required=False, default=False)

    @override
    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return the imports by `rooms` of anything that is not allowed to them."""
        del verbose
        packages, rooms = _names(self.packages), _names(self.rooms)
        any_foreign = cast("bool", self.any_foreign)
        return _outcome(
            f"{importer} imports {imported} (line {line}); it may import only {', '.join(packages)}"
            for importer, imported, line in _direct_imports(graph)
            if _is_within(importer, rooms)
            and not _is_within(imported, [*rooms, *packages])
            and imported.partition(".")[0] not in sys.stdlib_module_names
            and not (any_foreign and graph.is_module_squashed(imported))
        )

    @override
    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import that should not be there."""
        _print_broken(check)


def _names(parsed: object) -> list[str]:
    """Return a list option; import-linter replaces the declared field by the parsed value on the instance."""
    return cast("list[str]", parsed)


def _direct_imports(graph: ImportGraph) -> Iterator[tuple[str, str, int]]:
    """Yield (importer, imported, line) of every import statement in a stable order."""
    for importer in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            for detail in graph.get_import_details(importer=importer, imported=imported):
                yield importer, imported, detail["line_number"]


def _is_within(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def _outcome(broken: Iterable[str]) -> ContractCheck:
    lines = list(broken)
    return ContractCheck(kept=not lines, metadata={_BROKEN: lines})


def _print_broken(check: ContractCheck) -> None:
    for line in check.metadata[_BROKEN]:
        output.print_error(line)
    output.new_line()
