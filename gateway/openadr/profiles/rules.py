"""The closed set of rules a pack can be made of. Each looks at one JSON object and gives out every breach with its place.

| rule         | says                                                                                          |
|--------------|-----------------------------------------------------------------------------------------------|
| `field`      | the values at a path are there and are as told                                                |
| `forbidden`  | nothing is at a path                                                                          |
| `count`      | a list has so many elements                                                                   |
| `attribute`  | a values map (attributes, targets of 3.0.1) has exactly one entry of a type, with such values |
| `descriptor` | there is exactly one descriptor of each type, with such units and fields                      |
| `payload`    | every interval has the payloads told, with so many and such values                            |
| `together`   | where one payload is, the other is too, and the other way round                               |
| `ids`        | the ids of intervals increase strictly                                                        |
| `period`     | where the time is said: on the event, on every interval, on either, nowhere                   |
| `schedule`   | intervals do not overlap, lie inside the event, adjacent ones touch another                   |
| `resolution` | each value stands for one of these durations, and together for long enough                    |
| `notice`     | an event was made so long before it starts                                                    |
| `kind`       | the object is one of the kinds that the profile names                                         |
| `companion`  | a program holds so many objects of a kind; needs the whole program                            |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field, field_validator

from gateway.openadr.profiles.selecting import Found, Json, elements, field_of, select, spell, steps_of, text_of
from gateway.openadr.profiles.values import Strict, ValueRule, whole

ObjectKind = Literal["program", "event", "ven", "resource", "report"]
"""The objects of OpenADR 3 that a profile speaks about."""
INTERVALS: Final = "intervals"
PAYLOADS: Final = "intervals[*].payloads"
REPORT_PAYLOADS: Final = "resources[*].intervals[*].payloads"


@dataclass(frozen=True, slots=True)
class Breach:
    """One thing that is wrong with an object."""

    path: str
    """Where, for example `intervals[0].payloads`; empty for the object itself."""
    problem: str


def path_text(text: str) -> str:
    """Return a path of a pack.

    Raises:
        ValueError: It is none.
    """
    steps_of(text)
    return text


class RuleBase(Strict):
    """What every rule has."""

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    says: str = Field(min_length=1)
    """The rule in a sentence, for people."""
    source: str = Field(min_length=1)
    """Key of one of the pack's sources."""
    object: ObjectKind
    kinds: tuple[str, ...] = ()
    """Kinds of the object that it holds for; empty for all."""
    is_advice: bool = False
    """The profile says "should": a breach is told and never keeps the object from being used."""


class FieldRule(RuleBase):
    """The values at a path are there and are as told."""

    rule: Literal["field"]
    path: str
    is_required: bool = True
    value: ValueRule | None = None

    _path = field_validator("path")(path_text)

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out missing and wrong values."""
        for found in select(root, self.path):
            if found.value is None:
                if self.is_required:
                    yield Breach(found.path, "is missing")
            elif self.value is not None:
                yield from breaches_of(found, self.value)


class ForbiddenRule(RuleBase):
    """Nothing is at a path; an empty list is nothing."""

    rule: Literal["forbidden"]
    path: str

    _path = field_validator("path")(path_text)

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out what is there."""
        for found in select(root, self.path):
            if found.value is not None and found.value != []:
                yield Breach(found.path, f"is {spell(found.value)} and must not be there")


class CountRule(RuleBase):
    """A list has so many elements."""

    rule: Literal["count"]
    path: str
    minimum: int = Field(default=0, ge=0)
    maximum: int | None = Field(default=None, ge=0)

    _path = field_validator("path")(path_text)

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out lists that are too short or too long, and what is no list."""
        for found in select(root, self.path):
            if found.value is not None and not isinstance(found.value, list):
                yield Breach(found.path, "must be a list")
                continue
            length = len(elements(found))
            if length < self.minimum:
                yield Breach(found.path, f"has {length} elements and must have at least {self.minimum}")
            if self.maximum is not None and length > self.maximum:
                yield Breach(found.path, f"has {length} elements and must have at most {self.maximum}")


class AttributeRule(RuleBase):
    """A values map has exactly one entry of a type, with such values."""

    rule: Literal["attribute"]
    type: str
    path: str = "attributes"
    is_required: bool = True
    required_with: tuple[str, str] | None = None
    """Required only where the entry of this type has this value."""
    value: ValueRule | None = None
    value_count: int | None = Field(default=None, ge=1)

    _path = field_validator("path")(path_text)

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out a missing or repeated entry and wrong values."""
        for holder in select(root, self.path):
            entries = [one for one in elements(holder) if field_of(one, "type").value == self.type]
            if not entries and self._is_needed(holder):
                yield Breach(holder.path, f"has no {self.type}")
            if len(entries) > 1:
                yield Breach(holder.path, f"has {len(entries)} entries of type {self.type} and must have one")
            for entry in entries:
                yield from self._values(field_of(entry, "values"))

    def _is_needed(self, holder: Found) -> bool:
        if self.required_with is None:
            return self.is_required
        other, wanted = self.required_with
        return any(
            value.value == wanted
            for one in elements(holder)
            if field_of(one, "type").value == other
            for value in elements(field_of(one, "values"))
        )

    def _values(self, values: Found) -> Iterator[Breach]:
        found = elements(values)
        if not found:
            yield Breach(values.path, "must have at least one value")
        if self.value_count is not None and found and len(found) != self.value_count:
            yield Breach(values.path, f"has {len(found)} values and must have {self.value_count}")
        if self.value is not None:
            for one in found:
                yield from breaches_of(one, self.value)


class DescriptorRule(RuleBase):
    """There is exactly one descriptor of each type, with such units and fields."""

    rule: Literal["descriptor"]
    types: tuple[str, ...] = Field(min_length=1)
    path: Literal["payloadDescriptors", "reportDescriptors"] = "payloadDescriptors"
    is_only: bool = False
    """No descriptor of another type is allowed."""
    units: str | None = None
    fields: dict[str, bool | int | str] = Field(default_factory=dict)
    """What further fields must be; a field that is not there has its default."""
    defaults: dict[str, bool | int | str] = Field(default_factory=dict)
    """Defaults of these fields (OpenADR 3 reportDescriptor: frequency -1, repeat 1, reportIntervals INTERVALS)."""

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out missing, repeated, foreign and wrong descriptors."""
        holder = select(root, self.path)[0]
        found = elements(holder)
        for wanted in self.types:
            matching = [one for one in found if field_of(one, "payloadType").value == wanted]
            if len(matching) != 1:
                yield Breach(holder.path, f"has {len(matching)} descriptors of {wanted} and must have one")
            for one in matching:
                yield from self._fields(one)
        for one in found if self.is_only else ():
            named = field_of(one, "payloadType")
            if named.value not in self.types:
                yield Breach(named.path, f"is {spell(named.value)} and must be {' or '.join(self.types)}")

    def _fields(self, descriptor: Found) -> Iterator[Breach]:
        wanted = dict(self.fields) if self.units is None else {"units": self.units, **self.fields}
        for name, value in wanted.items():
            found = field_of(descriptor, name)
            actual = self.defaults.get(name) if found.value is None else found.value
            if actual != value or isinstance(actual, bool) != isinstance(value, bool):
                yield Breach(found.path, f"is {spell(actual)} and must be {spell(value)}")


class PayloadRule(RuleBase):
    """Every interval has the payloads told, with so many and such values."""

    rule: Literal["payload"]
    types: tuple[str, ...] = Field(min_length=1)
    path: Literal["intervals[*].payloads", "resources[*].intervals[*].payloads"] = PAYLOADS
    needs: Literal["each", "one", "any"] = "each"
    """Exactly one payload of each type, exactly one payload of one of the types, or any number of them."""
    is_only: bool = True
    """No payload of another type is allowed."""
    value_count: int | None = Field(default=None, ge=1)
    value: ValueRule | None = None

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out missing, repeated and foreign payloads and wrong values."""
        for holder in select(root, self.path):
            payloads = elements(holder)
            types = [text_of(field_of(one, "type").value) for one in payloads]
            yield from self._presence(holder, types)
            for one, name in zip(payloads, types, strict=True):
                if name in self.types:
                    yield from self._values(field_of(one, "values"))
                elif self.is_only:
                    found = field_of(one, "type")
                    yield Breach(found.path, f"is {spell(found.value)} and must be {' or '.join(self.types)}")

    def _presence(self, holder: Found, types: list[str]) -> Iterator[Breach]:
        groups: list[tuple[str, ...]] = [(one,) for one in self.types] if self.needs == "each" else [self.types]
        if self.needs == "any":
            return
        for group in groups:
            count = sum(1 for one in types if one in group)
            if count != 1:
                yield Breach(holder.path, f"has {count} payloads of {' or '.join(group)} and must have one")

    def _values(self, values: Found) -> Iterator[Breach]:
        found = elements(values)
        if self.value_count is not None and len(found) != self.value_count:
            yield Breach(values.path, f"has {len(found)} values and must have {self.value_count}")
        if not found and self.value_count is None:
            yield Breach(values.path, "must have at least one value")
        if self.value is not None:
            for one in found:
                yield from breaches_of(one, self.value)


class TogetherRule(RuleBase):
    """Where one payload is, the other is too, and the other way round."""

    rule: Literal["together"]
    pairs: tuple[tuple[str, str], ...] = Field(min_length=1)
    path: Literal["intervals[*].payloads", "resources[*].intervals[*].payloads"] = PAYLOADS
    is_any_needed: bool = False
    """At least one of the pairs must be there."""

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out payloads without their other half."""
        for holder in select(root, self.path):
            types = {text_of(field_of(one, "type").value) for one in elements(holder)}
            for first, second in self.pairs:
                for here, missing in ((first, second), (second, first)):
                    if here in types and missing not in types:
                        yield Breach(holder.path, f"has {here} without {missing}")
            if self.is_any_needed and not any(first in types for first, _ in self.pairs):
                yield Breach(holder.path, f"must have one of {', '.join(first for first, _ in self.pairs)}")


class IdsRule(RuleBase):
    """The ids of intervals increase strictly."""

    rule: Literal["ids"]
    path: Literal["intervals", "resources[*].intervals"] = INTERVALS
    starts_at: int | None = None

    def check(self, root: Json) -> Iterator[Breach]:
        """Give out ids that are no numbers, out of order or begin elsewhere."""
        for holder in select(root, self.path):
            before: int | None = None
            for index, interval in enumerate(elements(holder)):
                found = field_of(interval, "id")
                number = whole(found.value)
                if number is None:
                    yield Breach(found.path, f"is {spell(found.value)} and must be a whole number")
                    continue
                if index == 0 and self.starts_at is not None and number != self.starts_at:
                    yield Breach(found.path, f"is {number} and must be {self.starts_at}")
                if before is not None and number <= before:
                    yield Breach(found.path, f"is {number} after {before} and must be larger")
                before = number


class KindRule(RuleBase):
    """The object is one of the kinds that the profile names; checked where kinds are known."""

    rule: Literal["kind"]

    def check(self, _root: Json) -> Iterator[Breach]:
        """Give out nothing: what kind an object is, the whole profile knows."""
        yield from ()


class CompanionRule(RuleBase):
    """A program holds so many objects of a kind; checked where the whole program is known."""

    rule: Literal["companion"]
    companion: str
    """Kind of the objects counted."""
    minimum: int = Field(default=1, ge=0)
    maximum: int | None = Field(default=None, ge=0)

    def check(self, _root: Json) -> Iterator[Breach]:
        """Give out nothing: one object does not show what a program lacks."""
        yield from ()


def breaches_of(found: Found, rule: ValueRule) -> Iterator[Breach]:
    """Give out what is wrong with a value, at its place."""
    for problem in rule.problems(found.value):
        yield Breach(found.path, problem)
