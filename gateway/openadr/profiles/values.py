"""What one value must be, and every way in which it is not."""

import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Literal, Self, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles.ean import is_digits, is_ean, is_emi3, is_uuid
from gateway.openadr.profiles.selecting import Json, spell
from gateway.openadr.v3.literals import parse_duration, parse_start

Scalar = bool | int | float | str
_LONGEST_PATTERN = 500
_LONGEST_MATCHED = 10_000
"""A longer text is not matched against a pattern; no rule allows one."""

_FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    "ean13": (lambda text: is_ean(text, 13), "an EAN of 13 digits with its check digit"),
    "ean18": (lambda text: is_ean(text, 18), "an EAN of 18 digits with its check digit"),
    "digits18": (lambda text: is_digits(text, 18), "an EAN of 18 digits"),
    "uuid": (is_uuid, "a UUID"),
    "emi3": (is_emi3, "an eMI3 id such as NLABC"),
    "instant": (lambda text: _is_readable(parse_start, text), "an instant such as 2025-10-15T15:30:00Z"),
    "duration": (lambda text: _is_readable(parse_duration, text), "an ISO 8601 duration"),
}


class Strict(BaseModel):
    """A part of a pack: no unknown field, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class ValueRule(Strict):
    """What a value must be; everything that is given must hold."""

    format: Literal["ean13", "ean18", "digits18", "uuid", "emi3", "instant", "duration"] | None = None
    pattern: str | None = Field(default=None, max_length=_LONGEST_PATTERN)
    """Regular expression for the whole text."""
    one_of: tuple[Scalar, ...] = ()
    durations: tuple[str, ...] = ()
    """One of these durations, however it is spelled (`P1D` is `PT24H`)."""
    min_length: int | None = Field(default=None, ge=0)
    max_length: int | None = Field(default=None, ge=0)
    is_number: bool = False
    minimum: float | None = None
    maximum: float | None = None
    decimals: int | None = Field(default=None, ge=0, le=9)
    """Most digits behind the point."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}") from error
        return pattern

    @field_validator("durations")
    @classmethod
    def _are_durations(cls, durations: tuple[str, ...]) -> tuple[str, ...]:
        for text in durations:
            if not _is_readable(parse_duration, text):
                raise ValueError(f"{text} is not a duration")
        return durations

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must say what the value is to be")
        return self

    def problems(self, value: Json) -> Iterator[str]:
        """Give out what is wrong with a value, in words; nothing when it is right."""
        if self.one_of and not any(_is_same(value, allowed) for allowed in self.one_of):
            allowed = ", ".join(spell(one) for one in self.one_of)
            yield f"is {spell(value)} and must be {'one of ' if len(self.one_of) > 1 else ''}{allowed}"
        if self.is_text:
            yield from self._text_problems(value)
        if self.wants_number:
            yield from self._number_problems(value)

    @property
    def is_text(self) -> bool:
        """Whether the value must be a text."""
        given = (self.format, self.pattern, self.min_length, self.max_length)
        return bool(self.durations) or any(one is not None for one in given)

    @property
    def wants_number(self) -> bool:
        """Whether the value must be a number."""
        return self.is_number or any(one is not None for one in (self.minimum, self.maximum, self.decimals))

    def _text_problems(self, value: Json) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"is {spell(value)} and must be a text"
            return
        if self.format is not None and not _FORMATS[self.format][0](value):
            yield f"is {spell(value)} and must be {_FORMATS[self.format][1]}"
        if self.pattern is not None and not _matches(self.pattern, value):
            yield f"is {spell(value)} and must match {self.pattern}"
        if self.durations and not any(is_same_duration(value, one) for one in self.durations):
            yield f"is {spell(value)} and must be {' or '.join(self.durations)}"
        if self.min_length is not None and len(value) < self.min_length:
            yield f"has {len(value)} characters and must have at least {self.min_length}"
        if self.max_length is not None and len(value) > self.max_length:
            yield f"has {len(value)} characters and must have at most {self.max_length}"

    def _number_problems(self, value: Json) -> Iterator[str]:
        if not is_number(value):
            yield f"is {spell(value)} and must be a number"
            return
        number = float(value)
        if self.minimum is not None and number < self.minimum:
            yield f"is {spell(value)} and must be at least {self.minimum:g}"
        if self.maximum is not None and number > self.maximum:
            yield f"is {spell(value)} and must be at most {self.maximum:g}"
        if self.decimals is not None and decimals_of(value) > self.decimals:
            yield f"is {spell(value)} and must have at most {self.decimals} decimals"


def is_number(value: Json) -> TypeGuard[int | float | Decimal]:
    """Tell whether a JSON value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def decimals_of(value: float | Decimal) -> int:
    """Return how many digits a number has behind its point, as the shortest text that reads as it."""
    exponent = Decimal(str(value)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def is_same_duration(text: str, other: str) -> bool:
    """Tell whether two texts are the same duration, however they are spelled."""
    try:
        return parse_duration("duration", text) == parse_duration("duration", other)
    except InvalidInput:
        return False


def whole(value: Json) -> int | None:
    """Return a number without a fraction; None for everything else."""
    return int(value) if is_number(value) and value == int(value) else None


def _matches(pattern: str, text: str) -> bool:
    return len(text) <= _LONGEST_MATCHED and re.fullmatch(pattern, text) is not None


def _is_same(value: Json, allowed: Scalar) -> bool:
    """Compare without Python's equality of true and 1."""
    return isinstance(value, bool) == isinstance(allowed, bool) and value == allowed


def _is_readable(parse: Callable[[str, str], object], text: str) -> bool:
    try:
        parse("value", text)
    except InvalidInput:
        return False
    return True
