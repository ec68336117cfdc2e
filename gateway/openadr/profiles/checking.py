"""Holding objects against a profile: pure functions, every breach and not only the first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.openadr.profiles.objects import Sent
from gateway.openadr.profiles.pack import Profile, Rule
from gateway.openadr.profiles.rules import Breach, CompanionRule, KindRule, ObjectKind
from gateway.openadr.profiles.selecting import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One breach of one rule."""

    rule: str
    says: str
    """The rule in a sentence."""
    source: str
    """Where the rule comes from."""
    is_advice: bool
    object_kind: ObjectKind
    object_id: str
    path: str
    """Where in the object; empty for the whole of it."""
    problem: str

    @property
    def text(self) -> str:
        """The finding in one line, naming the field."""
        return f"{self.path or self.object_kind} {self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleOutcome:
    """What became of one rule over all objects."""

    rule: str
    says: str
    source: str
    is_advice: bool
    checked: int
    """Objects it was held against; 0 where there was none that it is about."""
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        """`holds`, `broken`, `advised` (a breach of a "should") or `not checked`."""
        if self.findings:
            return "advised" if self.is_advice else "broken"
        return "holds" if self.checked > 0 else "not checked"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """All rules of a profile over a set of objects."""

    profile: str
    outcomes: tuple[RuleOutcome, ...]
    object_count: int

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every breach, rule by rule."""
        return tuple(finding for outcome in self.outcomes for finding in outcome.findings)

    @property
    def is_compliant(self) -> bool:
        """Whether nothing is broken; advice may be."""
        return all(finding.is_advice for finding in self.findings)


def check_object(profile: Profile, kind: ObjectKind, content: Json, object_id: str = "") -> tuple[Finding, ...]:
    """Return what one object breaks, as far as it alone shows it.

    Args:
        profile: What to hold it against.
        kind: What it is.
        content: The object as JSON.
        object_id: What findings call it.
    """
    shape = profile.kind_of(kind, content)
    rules = [rule for rule in profile.rules if applies(rule, kind, shape)]
    return tuple(
        _finding(profile, rule, (kind, object_id), breach)
        for rule in rules
        for breach in _breaches(profile, rule, kind, shape, content)
    )


def check_bundle(profile: Profile, objects: Sequence[Sent]) -> CheckReport:
    """Return what becomes of every rule over the objects of a partner, those that need a whole program included.

    A program's companions are looked for only where events are among the objects, or the program itself came in a bundle.
    """
    shapes = [profile.kind_of(one.kind, one.content) for one in objects]
    outcomes = []
    for rule in profile.rules:
        if isinstance(rule, CompanionRule):
            outcomes.append(_companions(profile, rule, objects, shapes))
            continue
        concerned = [(one, shape) for one, shape in zip(objects, shapes, strict=True) if applies(rule, one.kind, shape)]
        findings = [
            _finding(profile, rule, (one.kind, one.id), replace_path(one, breach))
            for one, shape in concerned
            for breach in _breaches(profile, rule, one.kind, shape, one.content)
        ]
        outcomes.append(_outcome(profile, rule, len(concerned), findings))
    return CheckReport(profile=profile.name, outcomes=tuple(outcomes), object_count=len(objects))


def applies(rule: Rule, kind: ObjectKind, shape: str) -> bool:
    """Tell whether a rule is about objects of a kind and shape."""
    return rule.object == kind and (not rule.kinds or shape in rule.kinds)


def replace_path(one: Sent, breach: Breach) -> Breach:
    """Return a breach with its place in the whole text."""
    joint = "." if one.path and breach.path else ""
    return replace(breach, path=f"{one.path}{joint}{breach.path}")


def _breaches(profile: Profile, rule: Rule, kind: ObjectKind, shape: str, content: Json) -> Iterator[Breach]:
    if isinstance(rule, KindRule):
        if not shape:
            known = ", ".join(one.id for one in profile.kinds if one.object == kind)
            yield Breach("", f"is none of the kinds of the profile: {known}")
        return
    yield from rule.check(content)


def _companions(profile: Profile, rule: CompanionRule, objects: Sequence[Sent], shapes: Sequence[str]) -> RuleOutcome:
    held = [one for one, shape in zip(objects, shapes, strict=True) if shape == rule.companion]
    is_known = any(one.kind != "program" for one in objects) or any(one.path for one in objects)
    programs = [one for one in objects if one.kind == "program"] if is_known else []
    findings = []
    for program in programs:
        is_only = len(programs) == 1
        count = sum(1 for one in held if one.program == program.id or (is_only and not program.content.get("id")))
        if count < rule.minimum or (rule.maximum is not None and count > rule.maximum):
            wanted = f"at least {rule.minimum}" if rule.maximum is None else f"{rule.minimum} to {rule.maximum}"
            breach = Breach("", f"has {count} events of kind {rule.companion} and must have {wanted}")
            findings.append(_finding(profile, rule, ("program", program.id), replace_path(program, breach)))
    return _outcome(profile, rule, len(programs), findings)


def _outcome(profile: Profile, rule: Rule, checked: int, findings: Sequence[Finding]) -> RuleOutcome:
    return RuleOutcome(
        rule=rule.id,
        says=rule.says,
        source=profile.sources[rule.source].title,
        is_advice=rule.is_advice,
        checked=checked,
        findings=tuple(findings),
    )


def _finding(profile: Profile, rule: Rule, about: tuple[ObjectKind, str], breach: Breach) -> Finding:
    kind, object_id = about
    return Finding(
        rule=rule.id,
        says=rule.says,
        source=profile.sources[rule.source].title,
        is_advice=rule.is_advice,
        object_kind=kind,
        object_id=object_id,
        path=breach.path,
        problem=breach.problem,
    )
