"""Plays cases, all at once, and says of each whether it held."""

import asyncio
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc

from gateway.client import Gateway, connect
from gateway.demo.folder import RunFolder
from gateway.domain.errors import VoltbridgeError
from gateway.selftest.broker import Broker, is_installed
from gateway.selftest.catalogue import CASES, Case
from gateway.selftest.identity import make_identity
from gateway.selftest.intermission import Intermission
from gateway.selftest.pace import LOST_S, keep_pace
from gateway.selftest.partner import Around, CaseFailed, Partner, expect
from gateway.selftest.partner_3 import Partner3
from gateway.selftest.partner_20b import Partner20b
from gateway.selftest.platform import MutePlatform
from gateway.selftest.repertoire import JUDGED_IN_TESTS, SCRIPTS
from gateway.selftest.script import Script, usual_table
from gateway.selftest.stage import OPENING, Doors, Stage, charger_of, gateway_with, kill_and_start, partners, refusal_of
from gateway.v1 import signals_service_pb2 as signals

LONGEST_CASE_S = 420.0
"""Real seconds after which a case has failed."""


class Verdict(enum.StrEnum):
    """What became of a case."""

    PASSED = "passed"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"
    """Judged in a unit test only; not counted as passed here."""
    NOT_PLAYED = "not played"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """A case and what became of it."""

    case: Case
    verdict: Verdict
    evidence: str


async def play_cases(cases: Sequence[Case], folder: Path) -> list[Outcome]:
    """Play cases against a gateway of their own and return what became of each, in their order.

    Args:
        cases: What to play.
        folder: Empty folder for configuration, rows and logs.

    Raises:
        PeerUnavailable: One of the programs did not come up.
    """
    try:
        return await _play_cases(cases, RunFolder(path=folder))
    except ExceptionGroup as group:
        known = group.subgroup(VoltbridgeError)
        if known is None:
            raise
        raise first_of(known) from group


def first_of(group: ExceptionGroup[VoltbridgeError]) -> VoltbridgeError:
    """Return the first error in a group, however deep it is."""
    error = group.exceptions[0]
    return first_of(error) if isinstance(error, ExceptionGroup) else error


async def _play_cases(cases: Sequence[Case], folder: RunFolder) -> list[Outcome]:
    scripts = {case.number: SCRIPTS[case.number] for case in cases if is_playable(case)}
    async with partners(folder) as doors:
        tables = await _prepare(scripts, doors, folder)
        nodes = {number.lower(): node_of(number, script) for number, script in scripts.items()}
        async with gateway_with(folder, list(tables.values()), nodes) as stage:
            played = await _play_all(scripts, tables, doors, stage)
    return [played.get(case.number) or _unplayed(case) for case in cases]


def is_playable(case: Case) -> bool:
    """Tell whether there is a script for a case, and what it needs."""
    script = SCRIPTS.get(case.number)
    return script is not None and (is_installed() or not script.needs_broker)


def _unplayed(case: Case) -> Outcome:
    test = JUDGED_IN_TESTS.get(case.number)
    if test is None:
        return Outcome(case=case, verdict=Verdict.NOT_PLAYED, evidence="no script")
    return Outcome(case=case, verdict=Verdict.ELSEWHERE, evidence=test)


async def _prepare(scripts: Mapping[str, Script], doors: Doors, folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Make the world of each case at its partner and return the gateway's settings for them by case."""
    tables: dict[str, dict[str, Any]] = {}
    async with aiohttp.ClientSession() as http:
        for number, script in scripts.items():
            name = number.lower()
            world = f"{doors.control(script.dialect)}/worlds/{name}"
            options = dict(script.world) | ({} if script.dialect == "2.0b" else {"dialect": script.dialect})
            if script.needs_broker and doors.broker is not None:
                options["broker"] = doors.broker.url
            pins: dict[str, Any] = {}
            if script.is_signed:
                identity = make_identity(OPENING)
                options["signing"] = {"certificate": identity.certificate, "key": identity.key}
                pins = {"signature": "required", "fingerprints": [identity.fingerprint]}
            async with http.put(world, json=options, raise_for_status=True) as answer:
                url = (await answer.json())["url"]
            for fault in script.faults:
                async with http.post(f"{world}/faults", json=dict(fault), raise_for_status=True):
                    pass
            tables[number] = usual_table(script, name, url, folder) | pins
    return tables


async def _play_all(
    scripts: Mapping[str, Script], tables: Mapping[str, Mapping[str, Any]], doors: Doors, stage: Stage
) -> dict[str, Outcome]:
    cases = {case.number: case for case in CASES}
    measured = [charger_of(number.lower()) for number, script in scripts.items() if script.is_measured]
    chargers = [charger_of(number.lower()) for number in scripts]
    intermission = Intermission(len(scripts), lambda: kill_and_start(stage.gateway))

    def around(number: str) -> Around:
        return Around(
            clock=stage.clock,
            http=stage.http,
            gateway=gateway,
            intermission=intermission.wait,
            restart_broker=lambda: restart(doors.broker),
            refusal=lambda changes: refusal_of(stage.folder, {**tables[number], **changes}),
        )

    async with (
        connect(stage.rpc_address, token=stage.tokens.operator) as gateway,
        connect(stage.rpc_address, token=stage.tokens.csms) as platform,
        asyncio.TaskGroup() as tasks,
    ):
        pace = tasks.create_task(keep_pace(stage.clock, stage.folder.clock, lambda: ask_something(gateway)))
        running = tasks.create_task(MutePlatform(platform, stage.clock, measured, chargers).run())
        plays = {
            number: tasks.create_task(
                _play(cases[number], script, _partner(number, script, doors, around(number)), intermission)
            )
            for number, script in scripts.items()
        }
        await asyncio.wait(plays.values())
        running.cancel()
        pace.cancel()
        for number, script in scripts.items():
            await _keep_log(_partner(number, script, doors, around(number)), stage.folder.path)
    return {number: play.result() for number, play in plays.items()}


async def restart(broker: Broker | None) -> None:
    """Kill the MQTT broker and start it again."""
    if broker is not None:
        await broker.stop()
        await broker.start()


async def ask_something(gateway: Gateway) -> None:
    """Ask the gateway something small; one that is away, or is killed meanwhile, is waited for."""
    request = signals.ListEventsRequest()
    request.page.page_size = 1
    try:
        await gateway.signals.ListEvents(request, wait_for_ready=True)
    except grpc.aio.AioRpcError:
        await asyncio.sleep(LOST_S)


async def _keep_log(partner: Partner, folder: Path) -> None:
    """Write what the partner of a case heard into the folder of the run, for whoever looks into a failure."""
    (folder / f"{partner.name}.heard.json").write_text(json.dumps(await partner.log(), indent=1), encoding="utf-8")


def node_of(number: str, script: Script) -> str:
    """Return the node of a case in the site tree."""
    return script.node or number.lower()


def _partner(number: str, script: Script, doors: Doors, around: Around) -> Partner:
    kind = Partner20b if script.dialect == "2.0b" else Partner3
    return kind(number.lower(), node_of(number, script), doors.control(script.dialect), around)


async def _play(case: Case, script: Script, partner: Partner, intermission: Intermission) -> Outcome:
    try:
        async with asyncio.timeout(LONGEST_CASE_S):
            evidence = await script.play(partner)
            await _check_validity(partner)
    except CaseFailed as failure:
        return Outcome(case=case, verdict=Verdict.FAILED, evidence=str(failure))
    except TimeoutError:
        return Outcome(case=case, verdict=Verdict.FAILED, evidence=f"not over in {LONGEST_CASE_S:.0f} s")
    except (aiohttp.ClientError, grpc.aio.AioRpcError, VoltbridgeError, LookupError, TypeError, ValueError) as error:
        return Outcome(case=case, verdict=Verdict.FAILED, evidence=f"{type(error).__name__}: {error}")
    finally:
        await intermission.leave()
    return Outcome(case=case, verdict=Verdict.PASSED, evidence=evidence)


async def _check_validity(partner: Partner) -> None:
    """Fail the case when the VEN said anything that breaks the schema of its dialect."""
    broken = [entry for entry in await partner.log() if entry["problem"]]
    expect(not broken, f"{len(broken)} invalid messages, the first: {broken[0]['problem'] if broken else ''}")
