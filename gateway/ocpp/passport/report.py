"""A passport on paper: JSON for programs, Markdown for people, one CSV row for tables of many chargers."""

import csv
import io
import json
from dataclasses import dataclass
from datetime import datetime

from gateway.ocpp.passport.findings import Finding, Findings, Judgement

COLUMNS = (
    "car",
    "takes_station_profile",
    "takes_default_profile",
    "takes_transaction_profile",
    "takes_two_layers",
    "lets_overwrite",
    "says_what_binds",
    "follows_amperes",
    "follows_watts",
    "response",
    "measurement_spacing",
    "least_current",
    "pauses",
    "wakes_after_pause",
    "wake_up",
    "lease_ends_by_duration",
    "lease_ends_by_period",
    "lease_ends_offline",
    "opens_after_lease",
    "clock_behind",
    "clock_usable",
)
"""Findings in a table of many chargers, whether or not one has them all."""
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True, slots=True)
class Passport:
    """One finished test."""

    charger: str
    ocpp: str
    """Version that it spoke."""
    started_at: datetime
    ended_at: datetime
    is_simulated_time: bool
    """Whether the clock was not the machine's: durations are those of a simulation."""
    findings: Findings
    judgement: Judgement


def as_json(passport: Passport) -> str:
    """Return everything, findings in the order of the test."""
    judgement = passport.judgement
    document = {
        "charger": passport.charger,
        "ocpp": passport.ocpp,
        "started_at": passport.started_at.isoformat(),
        "ended_at": passport.ended_at.isoformat(),
        "is_simulated_time": passport.is_simulated_time,
        "enforcement": judgement.enforcement.value,
        "why": judgement.why,
        "is_reserve_eligible": judgement.is_reserve_eligible,
        "reserve_notes": list(judgement.reserve_notes),
        "settings": judgement.settings,
        "inventory": judgement.inventory,
        "findings": [
            {"name": found.name, "value": found.value, "unit": found.unit, "note": found.note}
            for found in passport.findings.all.values()
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def as_markdown(passport: Passport) -> str:
    """Return a page for people: the judgement, the findings, what to configure."""
    judgement = passport.judgement
    reserve = "yes" if judgement.is_reserve_eligible else f"no: {'; '.join(judgement.reserve_notes)}"
    minutes = (passport.ended_at - passport.started_at).total_seconds() / 60.0
    kind = " of simulated time" if passport.is_simulated_time else ""
    lines = [
        f"# Charger passport of {passport.charger}",
        "",
        f"OCPP {passport.ocpp}, {passport.started_at:%Y-%m-%d %H:%M}Z, {minutes:.0f} min{kind}.",
        "",
        f"- Enforcement class **{judgement.enforcement.value}**: {judgement.why}.",
        f"- Good for reserve: {reserve}.",
        "",
        "| finding | value | how |",
        "| --- | --- | --- |",
        *(f"| {found.name} | {text_of(found)} | {_cell(found.note)} |" for found in passport.findings.all.values()),
        "",
    ]
    for title, entries in (("Settings of the station", judgement.settings), ("Inventory", judgement.inventory)):
        if entries:
            lines += [f"{title}: {', '.join(f'`{key} = {value}`' for key, value in entries.items())}.", ""]
    return "\n".join(lines)


def as_csv(passport: Passport) -> str:
    """Return a header and one row; rows of many passports make one table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("charger", "ocpp", "started_at", "enforcement", "is_reserve_eligible", *COLUMNS))
    known = passport.findings.all
    values = [text_of(known[name]) if name in known else NOT_MEASURED for name in COLUMNS]
    judgement = passport.judgement
    reserve = "yes" if judgement.is_reserve_eligible else "no"
    started = passport.started_at.isoformat()
    writer.writerow((passport.charger, passport.ocpp, started, judgement.enforcement.value, reserve, *values))
    return out.getvalue()


def text_of(found: Finding) -> str:
    """Return a finding's value for people."""
    if found.value is None:
        return NOT_MEASURED
    if isinstance(found.value, bool):
        return "yes" if found.value else "no"
    return f"{found.value:g} {found.unit}".rstrip()


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
