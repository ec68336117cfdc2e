"""What a pack may hold. Everything in it is data; what a rule means is in `rules.py` and `time_rules.py`."""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway.openadr.profiles.rules import (
    REPORT_PAYLOADS,
    AttributeRule,
    CompanionRule,
    CountRule,
    DescriptorRule,
    FieldRule,
    ForbiddenRule,
    IdsRule,
    KindRule,
    ObjectKind,
    PayloadRule,
    TogetherRule,
    path_text,
)
from gateway.openadr.profiles.selecting import Json, select
from gateway.openadr.profiles.time_rules import NoticeRule, PeriodRule, ResolutionRule, ScheduleRule
from gateway.openadr.profiles.values import Strict, ValueRule

Rule = Annotated[
    FieldRule
    | ForbiddenRule
    | CountRule
    | AttributeRule
    | DescriptorRule
    | PayloadRule
    | TogetherRule
    | IdsRule
    | PeriodRule
    | ScheduleRule
    | ResolutionRule
    | NoticeRule
    | KindRule
    | CompanionRule,
    Field(discriminator="rule"),
]
"""One of the closed set of rules."""
Dialect = Literal["2.0b", "3.0.1", "3.1.0"]


class Source(Strict):
    """Where rules come from."""

    title: str = Field(min_length=1)
    is_assumption: bool = False
    """Nobody has published it: it is our reading of how the profile is used."""


class Sign(Strict):
    """A field by which a kind is recognised."""

    path: str
    value: ValueRule

    _path = field_validator("path")(path_text)


class Kind(Strict):
    """One of the shapes of an object that a profile tells apart; the first that fits is the object's kind."""

    id: str
    object: ObjectKind
    carries: tuple[str, ...] = ()
    """It has one of these payload types, in descriptors or payloads."""
    is_empty: bool = False
    """It has no payload type at all."""
    signs: tuple[Sign, ...] = ()
    """One of these fields is as told."""

    @model_validator(mode="after")
    def _is_recognisable(self) -> Self:
        if not (self.carries or self.is_empty or self.signs):
            raise ValueError("must say how it is recognised: carries, is_empty or signs")
        return self

    def fits(self, root: Json) -> bool:
        """Tell whether an object is of this kind."""
        carried = set(carried_types(root))
        if self.carries and not carried.intersection(self.carries):
            return False
        if self.is_empty and carried:
            return False
        return not self.signs or any(_has(root, sign) for sign in self.signs)


class PayloadMapping(Strict):
    """What a payload type of the profile is in the words of OpenADR."""

    kind: str = ""
    """Kind of event it is so in; empty for every one."""
    payload: str
    becomes: str
    """Payload type of OpenADR 3."""
    minus_from: str = ""
    """The value is taken from the value of this payload type in the newest event that has it and shares a target."""
    source: str


class ReportDemand(Strict):
    """A report that the profile asks for."""

    payload: str
    content: Literal["acknowledgement", "usage", "delivery", "offer", "status", "registration", "limit"]
    """`delivery` is how far usage was below `baseline`, at least 0."""
    when: Literal["on-receipt", "after-event", "on-change", "periodic"]
    step: str | None = None
    """Length of what one value stands for; None for one value."""
    baseline: str = ""
    """Of a delivery: payload type of the baseline, in the newest event that has it and shares a target."""
    units: str = ""
    decimals: int | None = None
    source: str


class Profile(Strict):
    """A whole pack."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9.]+)*$")
    """Name as the settings say it, version included: `gac-2.2`."""
    version: str
    title: str
    dialects: tuple[Dialect, ...] = Field(min_length=1)
    is_binding: bool | None = None
    """Its events cannot be opted out of; None leaves it to the program."""
    sources: dict[str, Source] = Field(min_length=1)
    kinds: tuple[Kind, ...] = ()
    rules: tuple[Rule, ...] = Field(min_length=1)
    mappings: tuple[PayloadMapping, ...] = ()
    informs: tuple[str, ...] = ()
    """Payload types of the profile that are kept and shown and change nothing by themselves."""
    reports: tuple[ReportDemand, ...] = ()

    @model_validator(mode="after")
    def _refers_to_itself(self) -> Self:
        ids = [rule.id for rule in self.rules]
        repeated = sorted({one for one in ids if ids.count(one) > 1})
        if repeated:
            raise ValueError(f"rules must have an id each: {', '.join(repeated)}")
        kinds = {kind.id for kind in self.kinds}
        for name, known, used in self._references(kinds):
            if used not in known:
                raise ValueError(f"{name} refers to {used}, which is not there")
        return self

    def _references(self, kinds: set[str]) -> Iterator[tuple[str, set[str], str]]:
        sources = set(self.sources)
        for rule in self.rules:
            yield f"rule {rule.id}", sources, rule.source
            for kind in (*rule.kinds, *([rule.companion] if isinstance(rule, CompanionRule) else [])):
                yield f"rule {rule.id}", kinds, kind
        for mapping in self.mappings:
            yield f"mapping of {mapping.payload}", sources, mapping.source
            yield f"mapping of {mapping.payload}", kinds | {""}, mapping.kind
        for report in self.reports:
            yield f"report {report.payload}", sources, report.source

    def kind_of(self, kind: ObjectKind, root: Json) -> str:
        """Return which of the profile's kinds an object is; empty for none."""
        fitting = (one.id for one in self.kinds if one.object == kind and one.fits(root))
        return next(fitting, "")


def carried_types(root: Json) -> Iterator[str]:
    """Give out the payload types that an event or report carries or describes."""
    paths = ("payloadDescriptors[*].payloadType", "intervals[*].payloads[*].type", f"{REPORT_PAYLOADS}[*].type")
    for path in paths:
        for found in select(root, path):
            if isinstance(found.value, str):
                yield found.value


def _has(root: Json, sign: Sign) -> bool:
    return any(
        found.value is not None and not any(True for _ in sign.value.problems(found.value))
        for found in select(root, sign.path)
    )
