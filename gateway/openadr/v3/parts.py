"""Fields of JSON objects, read strictly: a field has the right type, is absent, or is named in an `InvalidInput`."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import TypeVar

from gateway.domain.errors import InvalidInput
from gateway.json_guard import Json
from gateway.openadr.v3.findings import Finding
from gateway.openadr.v3.literals import IsoDuration, Start, parse_duration, parse_start
from gateway.openadr.v3.wire import IntervalPeriod, Meta, Payload, Point, Target, Value

_LONGEST_NAME = 128
_LARGEST_INT32 = 2**31 - 1
BROKEN = "field-broken"
"""Rule of a finding about a part that is left out because it cannot be read."""

PartT = TypeVar("PartT")


class Fields:
    """One JSON object and where it is.

    Args:
        content: What should be an object.
        path: Where it is, for errors; empty for the object itself.

    Raises:
        InvalidInput: It is no object.
    """

    def __init__(self, content: Json, path: str = "") -> None:
        if not isinstance(content, dict):
            raise InvalidInput(path or "object", "must be an object")
        self._content = content
        self._path = path

    def path_of(self, name: str) -> str:
        """Return where a field is."""
        return f"{self._path}.{name}" if self._path else name

    def raw(self, name: str) -> Json:
        """Return a field as it is; None when absent or null."""
        return self._content.get(name)

    def text(self, name: str, *, required: bool = False, longest: int | None = None) -> str:
        """Return a text; empty when absent.

        Raises:
            InvalidInput: Not a text, empty or absent although required, or too long.
        """
        value = self.raw(name)
        if value is None and not required:
            return ""
        if not isinstance(value, str) or (required and not value):
            raise InvalidInput(self.path_of(name), "must be a text" + (" that is not empty" if required else ""))
        if longest is not None and len(value) > longest:
            raise InvalidInput(self.path_of(name), f"must have at most {longest} characters")
        return storable(self.path_of(name), value)

    def name(self, name: str) -> str:
        """Return a required name or id of 1 to 128 characters."""
        return self.text(name, required=True, longest=_LONGEST_NAME)

    def number(self, name: str) -> Decimal | None:
        """Return a number; None when absent.

        Raises:
            InvalidInput: Not a number.
        """
        value = self.raw(name)
        if value is not None and not isinstance(value, Decimal):
            raise InvalidInput(self.path_of(name), "must be a number")
        return value

    def integer(self, name: str, default: int | None = None) -> int | None:
        """Return a whole number of 32 bits.

        Raises:
            InvalidInput: Not a whole number, or too large.
        """
        value = self.number(name)
        if value is None:
            return default
        if value != value.to_integral_value() or abs(value) > _LARGEST_INT32:
            raise InvalidInput(self.path_of(name), "must be a whole number of 32 bits")
        return int(value)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean.

        Raises:
            InvalidInput: Neither true nor false.
        """
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise InvalidInput(self.path_of(name), "must be true or false")
        return value

    def items(self, name: str) -> list[Json]:
        """Return a list; empty when absent.

        Raises:
            InvalidInput: Not a list.
        """
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise InvalidInput(self.path_of(name), "must be a list")
        return value

    def duration(self, name: str) -> IsoDuration | None:
        """Return a duration; None when absent or empty.

        Raises:
            InvalidInput: Not a duration.
        """
        text = self.text(name)
        return parse_duration(self.path_of(name), text) if text else None

    def start(self, name: str) -> Start | None:
        """Return a start; None when absent or empty.

        Raises:
            InvalidInput: Not an instant.
        """
        text = self.text(name)
        return parse_start(self.path_of(name), text) if text else None

    def period(self, name: str) -> IntervalPeriod | None:
        """Return an interval period; None when absent.

        Raises:
            InvalidInput: A part of it cannot be read.
        """
        content = self.raw(name)
        if content is None:
            return None
        fields = Fields(content, self.path_of(name))
        return IntervalPeriod(
            start=fields.start("start"),
            duration=fields.duration("duration"),
            randomize=fields.duration("randomizeStart"),
        )

    def targets(self, name: str = "targets") -> tuple[Target, ...]:
        """Return targets of either dialect.

        Raises:
            InvalidInput: One cannot be read: who an object is for is never guessed.
        """
        found: list[Target] = []
        for index, item in enumerate(self.items(name)):
            path = f"{self.path_of(name)}[{index}]"
            if isinstance(item, str):
                found.append(Target("", storable(path, item)))
                continue
            fields = Fields(item, path)
            kind = fields.name("type")
            for value in fields.items("values"):
                if not isinstance(value, str):
                    raise InvalidInput(f"{path}.values", "must be texts")
                found.append(Target(kind, storable(f"{path}.values", value)))
        return tuple(found)

    def each(self, name: str, read: Callable[[Json, str], PartT], findings: list[Finding]) -> tuple[PartT, ...]:
        """Return what can be read of a list; what cannot is left out and named.

        Raises:
            InvalidInput: Not a list.
        """
        return tuple(_readable(self.items(name), self.path_of(name), read, findings))


def _readable(
    items: Iterable[Json], path: str, read: Callable[[Json, str], PartT], findings: list[Finding]
) -> Iterable[PartT]:
    for index, item in enumerate(items):
        try:
            yield read(item, f"{path}[{index}]")
        except InvalidInput as error:
            findings.append(Finding(rule=BROKEN, path=error.field, problem=error.problem))


def storable(path: str, text: str) -> str:
    """Return a text that every store and page can hold.

    Raises:
        InvalidInput: It has a half of a surrogate pair or a NUL, which JSON can spell and UTF-8 or databases cannot.
    """
    if "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)):
        raise InvalidInput(path, "has a character that no text has")
    return text


def read_meta(fields: Fields) -> Meta:
    """Return the metadata of an object.

    Raises:
        InvalidInput: It has no id.
    """
    return Meta(
        id=fields.name("id"),
        created=fields.text("createdDateTime"),
        modified=fields.text("modificationDateTime"),
    )


def read_payload(content: Json, path: str) -> Payload:
    """Return a `valuesMap`.

    Raises:
        InvalidInput: No type, or a value that is none of the allowed kinds.
    """
    fields = Fields(content, path)
    if not isinstance(fields.raw("values"), list):
        raise InvalidInput(fields.path_of("values"), "must be a list")
    values = tuple(
        _value(item, f"{fields.path_of('values')}[{index}]") for index, item in enumerate(fields.items("values"))
    )
    return Payload(type=fields.name("type"), values=values)


def _value(content: Json, path: str) -> Value:
    if isinstance(content, str):
        return storable(path, content)
    if isinstance(content, Decimal | bool):
        return content
    if isinstance(content, dict):
        fields = Fields(content, path)
        x, y = fields.number("x"), fields.number("y")
        if x is not None and y is not None:
            return Point(x, y)
    raise InvalidInput(path, "must be a number, a text, a boolean or a point")
