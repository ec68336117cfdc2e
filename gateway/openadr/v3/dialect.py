"""Where OpenADR 3.0.1 and 3.1.0 differ on the wire; everything else is the same for both."""

from collections.abc import Iterable, Sequence

from gateway.json_guard import Json
from gateway.openadr.v3.names import Dialect, Operation
from gateway.openadr.v3.wire import Target

Query = tuple[tuple[str, str], ...]
"""Parameters of an address, in order; a name may come several times."""
MOST_TARGETS = 50
"""Targets that one request asks with; more would make an address that servers refuse."""
VEN_NAME = "VEN_NAME"
"""Target type of 3.0.1 that names vens."""

_OPERATIONS_301 = {
    Operation.READ: "GET",
    Operation.CREATE: "POST",
    Operation.UPDATE: "PUT",
    Operation.DELETE: "DELETE",
}


def target_queries(dialect: Dialect, targets: Iterable[Target]) -> tuple[Query, ...]:
    """Return the parameters that ask for objects with any of these targets: one set per request that is needed.

    3.1.0 takes all at once (`targets=a&targets=b`), 3.0.1 one type at a time (`targetType=GROUP&targetValues=a`).
    """
    ordered = sorted(set(targets), key=lambda target: (target.kind, target.value))
    if not ordered:
        return ()
    if dialect is Dialect.V310:
        values = sorted({target.value for target in ordered})
        return tuple(tuple(("targets", value) for value in some) for some in _some(values))
    kinds = sorted({target.kind for target in ordered if target.kind})
    return tuple(
        (("targetType", kind), *(("targetValues", value) for value in some))
        for kind in kinds
        for some in _some([target.value for target in ordered if target.kind == kind])
    )


def _some(values: Sequence[str]) -> list[Sequence[str]]:
    return [values[begin : begin + MOST_TARGETS] for begin in range(0, len(values), MOST_TARGETS)]


def write_targets(dialect: Dialect, targets: Sequence[Target]) -> list[Json]:
    """Return targets as JSON: flat texts in 3.1.0, `{type, values}` in 3.0.1."""
    if dialect is Dialect.V310:
        return [target.value for target in targets]
    kinds = dict.fromkeys(target.kind for target in targets)
    return [{"type": kind, "values": [target.value for target in targets if target.kind == kind]} for kind in kinds]


def resources_path(dialect: Dialect, ven_id: str) -> tuple[str, Query]:
    """Return where the resources of a ven are listed and created, and the parameters that ask for this ven's."""
    if dialect is Dialect.V310:
        return "/resources", (("venID", ven_id),)
    return f"/vens/{ven_id}/resources", ()


def operation_word(operation: Operation, *, in_http_words: bool) -> str:
    """Return an operation as subscriptions spell it: `READ`, or `GET` as some VTNs of 3.0.1 want it.

    The official text of 3.0.1 has the first in subscriptions and the second in notifications.
    """
    return _OPERATIONS_301[operation] if in_http_words else operation.value


def operation_of(word: str) -> Operation | None:
    """Return the operation behind a word of either dialect; None when it is none."""
    if word in Operation.__members__:
        return Operation(word)
    return next((operation for operation, spelled in _OPERATIONS_301.items() if spelled == word), None)
