"""What a VEN asks before it uses an object of its VTN: does it keep the profile, and what does it mean in plain words.

An object that breaks its profile is told to the people as `NonCompliance` and not used, unless the settings say otherwise. A
finding keeps its id while the object breaks the same rule at the same place, so that polling does not multiply it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.domain.errors import InvalidInput
from gateway.domain.programs import NonCompliance
from gateway.openadr.profiles.checking import Finding, check_bundle, check_object
from gateway.openadr.profiles.loading import load_profile
from gateway.openadr.profiles.meaning import MISSING_BASELINE, BaselineUnknown, in_plain_words
from gateway.openadr.profiles.objects import Sent
from gateway.openadr.profiles.pack import Profile
from gateway.openadr.profiles.rules import ObjectKind
from gateway.openadr.profiles.selecting import text_of

_ID_DIGITS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What a profile says about one object."""

    content: Mapping[str, Any] | None
    """The object in OpenADR's own words; None when it is not to be used."""
    broken: tuple[NonCompliance, ...]
    """What it breaks, to be kept."""


class ProfileGate:
    """Holds the objects of one VTN against a profile.

    Args:
        profile: The profile.
        tenant: Whose partner it is.
        authority: The partner, as configured.
        applies_broken: Use objects that break the profile all the same, and say so.
    """

    def __init__(self, profile: Profile, *, tenant: str, authority: str, applies_broken: bool = False) -> None:
        self.profile = profile
        self._tenant = tenant
        self._authority = authority
        self._applies_broken = applies_broken

    def admit(
        self,
        kind: ObjectKind,
        content: Mapping[str, Any],
        *,
        now: datetime,
        raw_signal: str = "",
        others: Sequence[Mapping[str, Any]] = (),
    ) -> Admission:
        """Return what becomes of one object.

        Args:
            kind: What it is.
            content: The object as JSON.
            now: When it was read.
            raw_signal: The stored message it came in; empty when there is none.
            others: The partner's other events, for values that count from a baseline.
        """
        object_id = Sent(kind, content).id
        findings = check_object(self.profile, kind, content, object_id)
        must = [finding for finding in findings if not finding.is_advice]
        is_applied = not must or self._applies_broken
        said: Mapping[str, Any] | None = content if is_applied else None
        if kind == "event" and said is not None:
            try:
                said = in_plain_words(self.profile, content, others)
            except BaselineUnknown as error:
                said, is_applied = None, False
                findings = (*findings, self._no_baseline(kind, object_id, error))
        broken = tuple(
            self._row(finding, is_applied=is_applied, now=now, raw_signal=raw_signal) for finding in findings
        )
        return Admission(content=said, broken=broken)

    def whole(
        self, programs: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]], *, now: datetime
    ) -> tuple[NonCompliance, ...]:
        """Return what programs break, by themselves and where all of their events show it, such as a missing safe-mode event.

        A program that breaks a rule is told and used: its events are judged one by one, and a limit is not lost over a name. Where
        no event is shown to us at all (object privacy), nothing is said about which are missing.
        """
        sent = [
            *(Sent("program", one, f"programs[{index}]") for index, one in enumerate(programs)),
            *(Sent("event", one, f"events[{index}]") for index, one in enumerate(events)),
        ]
        if events:
            found = [one for one in check_bundle(self.profile, sent).findings if one.object_kind == "program"]
        else:
            alone = (check_object(self.profile, one.kind, one.content, one.id) for one in sent)
            found = [finding for findings in alone for finding in findings]
        return tuple(self._row(finding, is_applied=True, now=now, raw_signal="") for finding in found)

    def _row(self, finding: Finding, *, is_applied: bool, now: datetime, raw_signal: str) -> NonCompliance:
        place = hashlib.sha256(f"{finding.path}\n{finding.problem}".encode()).hexdigest()[:_ID_DIGITS]
        return NonCompliance(
            id=f"{self._authority}:{finding.object_kind}:{finding.object_id}:{finding.rule}:{place}",
            tenant=self._tenant,
            authority=self._authority,
            profile=self.profile.name,
            rule=finding.rule,
            object_kind=finding.object_kind,
            object_id=finding.object_id,
            problem=finding.text,
            is_applied=is_applied,
            raw_signal=raw_signal,
            at=now,
        )

    def _no_baseline(self, kind: ObjectKind, object_id: str, error: BaselineUnknown) -> Finding:
        return Finding(
            rule=MISSING_BASELINE,
            says="a value that counts from a baseline needs one",
            source=self.profile.title,
            is_advice=False,
            object_kind=kind,
            object_id=object_id,
            path=error.path,
            problem=f"counts from {error.wanted}, and no event for its targets has one",
        )


def gate_of_dialect(
    name: str, dialect: str, *, tenant: str, authority: str, applies_broken: bool = False
) -> ProfileGate:
    """Return the gate of a profile that must be for a dialect.

    Raises:
        InvalidInput: There is no such profile, or it is for other dialects.
    """
    profile = load_profile(name)
    if dialect not in profile.dialects:
        raise InvalidInput("vtn.profile", f"{name} is for {' and '.join(profile.dialects)}, the VTN speaks {dialect}")
    return ProfileGate(profile, tenant=tenant, authority=authority, applies_broken=applies_broken)


def program_profile(program: Mapping[str, Any], profiles: Mapping[str, str], fallback: str = "") -> str:
    """Return the name of the profile of a program: by its name, by its id, or the VTN's; empty for none."""
    for name in ("programName", "id"):
        found = profiles.get(text_of(program.get(name)))
        if found:
            return found
    return fallback
