"""Words of OpenADR 3 that both dialects share, and the two dialects."""

from enum import StrEnum

PAGE = 50
"""Most objects a VTN may return at once (`limit`, maximum 50)."""


class Dialect(StrEnum):
    """Version of the specification that a VTN speaks."""

    V301 = "3.0.1"
    V310 = "3.1.0"


class ObjectKind(StrEnum):
    """Kinds of objects behind the interface (`objectTypes`), spelled as in `HeldObject.kind`."""

    PROGRAM = "program"
    EVENT = "event"
    REPORT = "report"
    SUBSCRIPTION = "subscription"
    VEN = "ven"
    RESOURCE = "resource"


class Operation(StrEnum):
    """What can happen to an object, in the words of 3.1.0."""

    CREATE = "CREATE"
    READ = "READ"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
