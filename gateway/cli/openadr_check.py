"""`voltbridge openadr check`: hold a grid partner's objects against a profile and say rule by rule what is wrong."""

import asyncio
import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from gateway.app.profile_check import VtnAccess, read_object_file, read_vtn
from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles import CheckReport, Profile, check_bundle, load_profile, profile_names
from gateway.openadr.profiles.checking import RuleOutcome
from gateway.openadr.profiles.objects import Sent
from gateway.openadr.v3.names import Dialect

_WIDTH = 12
_NAME_WIDTH = 28
_COUNTED = {"broken": "broken", "advised": "not as advised", "holds": "hold", "not checked": "not checked"}


def check(
    what: Annotated[str, typer.Argument(help="JSON file, or address of a 3.x VTN.", metavar="FILE|URL")] = "",
    profile: Annotated[str, typer.Option(help="Name such as gac-2.2.")] = "",
    kind: Annotated[str | None, typer.Option(help="What a file's objects are, where they do not say it.")] = None,
    dialect: Annotated[str | None, typer.Option(help="3.0.1 or 3.1.0; by default the profile's.")] = None,
    credentials: Annotated[
        Path | None, typer.Option(help="TOML with client_id and client_secret, mode 0600; anonymous without.")
    ] = None,
    target: Annotated[list[str] | None, typer.Option(help="Ask with this target; repeat for several.")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM of who may vouch for the VTN.")] = None,
    *,
    allow_plain_on_loopback: Annotated[bool, typer.Option(help="Plain http to this machine.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Print the profiles and check nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Check objects against a profile; exit code 1 when a rule is broken, 2 when there is nothing to check."""
    if listing:
        for name in profile_names():
            typer.echo(f"{name:<{_NAME_WIDTH}} {load_profile(name).title}")
        return
    if not what or not profile:
        raise InvalidInput("profile", f"and a file or address are needed; profiles: {', '.join(profile_names())}")
    chosen = load_profile(profile)
    if "://" in what:
        access = VtnAccess(
            url=what,
            dialect=_dialect(dialect or chosen.dialects[0]),
            credentials=credentials,
            targets=tuple(target or ()),
            ca=ca,
            allow_plain_on_loopback=allow_plain_on_loopback,
        )
        objects = asyncio.run(read_vtn(access))
    else:
        objects = read_object_file(Path(what), kind)
    report = check_bundle(chosen, objects)
    typer.echo(_json(report) if as_json else _text(chosen, objects, report))
    if not report.is_compliant:
        raise typer.Exit(1)


def _dialect(text: str) -> Dialect:
    try:
        return Dialect(text)
    except ValueError as error:
        raise InvalidInput("dialect", f"must be {' or '.join(Dialect)}") from error


def _json(report: CheckReport) -> str:
    content = dataclasses.asdict(report) | {"is_compliant": report.is_compliant}
    for outcome, row in zip(report.outcomes, content["outcomes"], strict=True):
        row["verdict"] = outcome.verdict
    return json.dumps(content, indent=2)


def _text(profile: Profile, objects: list[Sent], report: CheckReport) -> str:
    counts = Counter(one.kind for one in objects)
    said = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(counts.items()))
    verdicts = Counter(outcome.verdict for outcome in report.outcomes)
    total = ", ".join(f"{verdicts[verdict]} {word}" for verdict, word in _COUNTED.items() if verdict in verdicts)
    lines = [f"{profile.name}: {profile.title}", f"checked: {said or 'nothing'}", ""]
    for outcome in report.outcomes:
        lines += _lines(outcome)
    return "\n".join([*lines, "", f"rules: {total}"])


def _lines(outcome: RuleOutcome) -> list[str]:
    lines = [f"{outcome.verdict:<{_WIDTH}} {outcome.rule:<{_NAME_WIDTH}} {outcome.says}"]
    for finding in outcome.findings:
        about = f"{finding.object_kind} {finding.object_id}".strip()
        lines.append(f"{'':{_WIDTH}} {about}: {finding.text}")
    if outcome.findings:
        lines.append(f"{'':{_WIDTH}} source: {outcome.source}")
    return lines
