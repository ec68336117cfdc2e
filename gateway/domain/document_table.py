"""One table of a parsed TOML or JSON document that people wrote: every value is checked when it is read, and named by its path."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar

from gateway.domain.errors import InvalidInput

EnumT = TypeVar("EnumT", bound=StrEnum)

MAX_TEXT_LENGTH = 128
"""Longest text of a value."""


class DocumentTable:
    """One table with its path; remembers which keys were read. Every reader raises `InvalidInput` with the path of the key."""

    def __init__(self, content: object, path: str) -> None:
        """Take what was parsed.

        Args:
            content: The table.
            path: Where it is, from the top of the document; empty for the document itself.

        Raises:
            InvalidInput: It is no table.
        """
        if not isinstance(content, Mapping):
            raise InvalidInput(path or "inventory", "must be a table")
        self._content = content
        self.where = path
        self._read: set[str] = set()

    def path(self, key: str) -> str:
        """Return the path of a key from the top of the document."""
        return f"{self.where}.{key}" if self.where else key

    def has(self, key: str) -> bool:
        """Tell whether the key is there."""
        return key in self._content

    def text(self, key: str) -> str:
        """Return a text of 1 to 128 printable characters."""
        value = self._value(key)
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT_LENGTH or not value.isprintable():
            raise InvalidInput(self.path(key), f"must be a text of 1 to {MAX_TEXT_LENGTH} printable characters")
        return value

    def number(self, key: str) -> float:
        """Return a finite number."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InvalidInput(self.path(key), "must be a finite number")
        return float(value)

    def whole(self, key: str, *, low: int, high: int) -> int:
        """Return a whole number of a range, both ends inside."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidInput(self.path(key), f"must be a whole number from {low} to {high}")
        return value

    def choice(self, key: str, kinds: type[EnumT]) -> EnumT:
        """Return a member of an enumeration by its value."""
        value = self.text(key)
        try:
            return kinds(value)
        except ValueError as error:
            raise InvalidInput(self.path(key), f"must be one of {', '.join(kind.value for kind in kinds)}") from error

    def instant(self, key: str) -> datetime:
        """Return a TOML date-time with its offset, in UTC."""
        value = self._value(key)
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise InvalidInput(self.path(key), "must be a date-time with an offset, such as 2025-10-01T00:00:00Z")
        return value.astimezone(UTC)

    def decimal_text(self, key: str) -> str:
        """Return the text of a finite decimal number above 0."""
        value = self.text(key)
        try:
            number = Decimal(value)
        except InvalidOperation as error:
            raise InvalidInput(self.path(key), "must be a decimal number as text") from error
        if not number.is_finite() or number <= 0:
            raise InvalidInput(self.path(key), "must be a finite decimal number above 0")
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return a truth value; an absent one is the default."""
        if not self.has(key):
            return default
        value = self._value(key)
        if not isinstance(value, bool):
            raise InvalidInput(self.path(key), "must be true or false")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of finite numbers; an absent list is empty."""
        value = self._value(key) if self.has(key) else []
        if not isinstance(value, list):
            raise InvalidInput(self.path(key), "must be a list of numbers")
        for number in value:
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise InvalidInput(self.path(key), "must be a list of finite numbers")
        return tuple(float(number) for number in value)

    def tables(self, key: str, *, at_least: int = 0) -> Sequence["DocumentTable"]:
        """Return a list of tables; an absent list is empty."""
        self._read.add(key)
        value = self._content.get(key, [])
        if not isinstance(value, list) or len(value) < at_least:
            raise InvalidInput(self.path(key), f"must be a list of at least {at_least} tables")
        return [DocumentTable(item, f"{self.path(key)}[{place}]") for place, item in enumerate(value)]

    def refuse_unknown(self) -> None:
        """Raise when the table has a key that nobody read."""
        for key in self._content:
            if key not in self._read:
                raise InvalidInput(self.path(str(key)), "is not a known field")

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Name errors of domain objects by the path of this table."""
        try:
            yield
        except InvalidInput as error:
            raise InvalidInput(self.path(error.field.rpartition(".")[2]), error.problem) from error

    def _value(self, key: str) -> object:
        self._read.add(key)
        if key not in self._content:
            raise InvalidInput(self.path(key), "is missing")
        return self._content[key]
