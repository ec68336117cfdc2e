"""What a passport test has seen, and what follows: the enforcement class and whether the charger is good for reserve."""

import math
from dataclasses import dataclass, field

from gateway.domain.topology import EnforcementClass

RESERVE_RESPONSE_S = 30.0
"""Reserve needs a charger to follow within so many seconds: the full activation time of mFRR and aFRR leaves room for no more on
top of the platform's own way (12.5 min and 5 min), FCR is out of reach."""
_VOLTAGE_MARGIN = 0.03
_W_PER_KW = 1000.0
_STEPS_PER_KW = 100.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was tried.

    Attributes:
        name: Short, stable, for tables of many chargers.
        value: Number, yes or no; None when it could not be measured.
        unit: Of a number; empty otherwise.
        note: How it was seen, or why it could not be measured.
    """

    name: str
    value: float | bool | None
    unit: str = ""
    note: str = ""


class Findings:
    """All findings of a test, by name, in the order in which they were made."""

    def __init__(self) -> None:
        """Begin with none."""
        self.all: dict[str, Finding] = {}

    def add(self, name: str, value: float | bool | None, unit: str = "", note: str = "") -> None:  # noqa: FBT001  # a value
        """Write down what was seen; a later finding of the same name replaces the earlier one."""
        self.all[name] = Finding(name=name, value=value, unit=unit, note=note)

    def number(self, name: str) -> float | None:
        """Return a number that was measured; None otherwise."""
        found = self.all.get(name)
        return None if found is None or found.value is None or isinstance(found.value, bool) else float(found.value)

    def is_proven(self, name: str) -> bool:
        """Tell whether something was seen to be so; what was not measured was not."""
        found = self.all.get(name)
        return found is not None and found.value is True


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What follows from the findings."""

    enforcement: EnforcementClass
    why: str
    is_reserve_eligible: bool
    reserve_notes: tuple[str, ...]
    """Why it is not eligible; empty when it is."""
    settings: dict[str, str] = field(default_factory=dict)
    """What to write into the settings of its station."""
    inventory: dict[str, str] = field(default_factory=dict)
    """What to write into the inventory."""


def judge(findings: Findings, phases: int = 3) -> Judgement:
    """Return what follows from findings; whatever was not measured counts as not proven.

    Args:
        findings: Of a finished test.
        phases: Phases of the charger.
    """
    follows = findings.is_proven("follows_amperes") or findings.is_proven("follows_watts")
    ends = findings.is_proven("lease_ends_by_duration") or findings.is_proven("lease_ends_by_period")
    if not follows:
        enforcement, why = EnforcementClass.C, "it was not seen to follow a limit"
    elif not ends:
        enforcement, why = EnforcementClass.B, "it follows limits, but no lease was seen to end in the fallback"
    elif not findings.is_proven("clock_usable"):
        enforcement, why = EnforcementClass.B, "its clock is more than a day off: no lease is left to it"
    elif not findings.is_proven("lease_ends_offline"):
        enforcement, why = EnforcementClass.B, "its leases end while it is connected; without contact that was not seen"
    else:
        enforcement, why = EnforcementClass.A, "its leases end in the fallback, also without contact"
    notes = _reserve_notes(findings, follows=follows)
    return Judgement(
        enforcement=enforcement,
        why=why,
        is_reserve_eligible=not notes,
        reserve_notes=notes,
        settings=_settings(findings),
        inventory=_inventory(findings, enforcement, phases),
    )


def _reserve_notes(findings: Findings, *, follows: bool) -> tuple[str, ...]:
    notes = []
    if not follows:
        notes.append("it was not seen to follow a limit")
    response_s = findings.number("response")
    if response_s is None:
        notes.append("its response time was not measured")
    elif response_s > RESERVE_RESPONSE_S:
        notes.append(f"it takes {response_s:.0f} s to follow, more than {RESERVE_RESPONSE_S:.0f} s")
    if not findings.is_proven("wakes_after_pause"):
        notes.append("it was not seen to wake after a pause; it can only be reduced to its minimum")
    if not findings.is_proven("measures_often"):
        notes.append("it does not measure often enough to prove delivery")
    return tuple(notes)


def _settings(findings: Findings) -> dict[str, str]:
    settings = {}
    if not findings.is_proven("follows_amperes") and findings.is_proven("follows_watts"):
        settings["unit"] = "W"
    elif findings.is_proven("follows_amperes"):
        settings["unit"] = "A"
    if not findings.is_proven("lease_ends_by_duration") and findings.is_proven("lease_ends_by_period"):
        settings["expiry"] = "period"
    return settings


def _inventory(findings: Findings, enforcement: EnforcementClass, phases: int) -> dict[str, str]:
    rows = {"enforcement": f'"{enforcement.value}"'}
    least_a, voltage_v = findings.number("least_current"), findings.number("voltage")
    if least_a is not None and voltage_v is not None:
        # Amperes are rounded down at the voltage that is measured: a minimum for a lower one would pause it.
        least_kw = least_a * phases * voltage_v * (1.0 + _VOLTAGE_MARGIN) / _W_PER_KW
        rows["min_import_kw"] = f"{math.ceil(least_kw * _STEPS_PER_KW) / _STEPS_PER_KW:g}"
    if findings.all.get("wakes_after_pause") is not None and findings.all["wakes_after_pause"].value is False:
        rows["wakes_after_pause"] = "false"
    return rows
