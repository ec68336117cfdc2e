"""`voltbridge openadr check` on files and on a VTN, as a person calls it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from gateway.app.profile_check import VtnAccess, read_credentials, read_object_file, read_vtn
from gateway.cli.commands import app
from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.openadr.profiles import check_bundle, load_profile, profile_names
from gateway.openadr.v3.names import Dialect
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn3 import StrictVtn
from gateway.sandbox.vtn3_world import WorldOptions
from tests.openadr.profiles import objects as made

EXAMPLES = Path(__file__).resolve().parents[2] / "config" / "profiles" / "examples"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["openadr", "check", *words])
    return result.exit_code, result.output


def test_the_list_names_every_profile() -> None:
    code, text = run("--list")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == profile_names()


@pytest.mark.parametrize("name", ["gac-2.2", "nl-flex-1.0", "se-conditional-1.0", "us-ca-prices-1.0"])
def test_b18_the_examples_keep_their_profile(name: str) -> None:
    code, text = run("--profile", name, str(EXAMPLES / f"{name}.json"))
    assert code == 0, text
    assert "broken" not in text
    assert "hold" in text


def test_b18_what_is_wrong_is_said_rule_by_rule_with_place_and_source() -> None:
    code, text = run("--profile", "gac-2.2", str(EXAMPLES / "gac-2.2-broken.json"))
    assert code == 1
    lines = text.splitlines()
    broken = [line.split()[1] for line in lines if line.startswith("broken")]
    assert broken == ["safe-mode", "no-priority", "one-descriptor", "one-payload", "targets"]
    assert any("event e1: events[0].payloadDescriptors[0].units is 'kW' and must be 'KW'" in line for line in lines)
    assert any(line.strip().startswith("source: openadr3-client-gac-compliance") for line in lines)
    assert lines[-1] == "rules: 5 broken, 8 hold, 2 not checked"


def test_b18_the_same_as_json() -> None:
    code, text = run("--profile", "gac-2.2", "--json", str(EXAMPLES / "gac-2.2-broken.json"))
    assert code == 1
    content = json.loads(text)
    assert content["is_compliant"] is False
    assert content["object_count"] == 2
    [targets] = [one for one in content["outcomes"] if one["rule"] == "targets"]
    assert (targets["verdict"], targets["findings"][0]["path"]) == ("broken", "events[0].targets[0]")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ([], "profile"),
        (["x.json"], "profile"),
        (["x.json", "--profile", "gac-2.2"], "file"),
        (["x.json", "--profile", "gac-7"], "profile"),
        (["http://127.0.0.1:1/x", "--profile", "gac-2.2"], "openadr.vtn_url"),
        (["https://127.0.0.1:1/x", "--profile", "gac-2.2", "--dialect", "3.2"], "dialect"),
    ],
    ids=["nothing", "no profile", "no file", "unknown profile", "plain http", "unknown dialect"],
)
def test_what_cannot_be_checked_is_said(words: list[str], field: str) -> None:
    result = CliRunner().invoke(app, ["openadr", "check", *words])
    assert isinstance(result.exception, InvalidInput)
    assert result.exception.field == field


def test_a_file_says_what_it_holds_or_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"clientName": made.EAN13}))
    with pytest.raises(InvalidInput, match="say which"):
        read_object_file(file, None)
    assert [one.kind for one in read_object_file(file, "report")] == ["report"]
    with pytest.raises(InvalidInput, match="kind"):
        read_object_file(file, "table")
    file.write_text("{")
    with pytest.raises(InvalidInput):
        read_object_file(file, None)


def test_credentials_are_never_repeated(tmp_path: Path) -> None:
    file = tmp_path / "credentials.toml"
    file.write_text('client_id = "me"\nclient_secret = "hush"\nscope = ""\n')
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="0600"):
        read_credentials(file)
    file.chmod(0o600)
    read = read_credentials(file)
    assert (read.client_id, read.scope) == ("me", "")
    assert "hush" not in repr(read)
    for text in (
        'client_id = "me"',
        'client_id = "me"\nclient_secret = 5',
        'client_id = "me"\nsecret = "hush"',
        "hush",
    ):
        file.write_text(text)
        with pytest.raises(InvalidInput) as caught:
            read_credentials(file)
        assert "hush" not in str(caught.value)


# ------------------------------------------------------------ a VTN


@asynccontextmanager
async def vtn(events: list[Any]) -> AsyncIterator[str]:
    """A VTN that shows its events only to who asks with a target, at most 50 at once, and wants a token."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        assert (form["client_id"], form["client_secret"]) == ("me", "hush")
        return web.json_response({"access_token": "t", "expires_in": 60})

    def pages(objects: list[Any]) -> Any:
        async def page(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != "Bearer t":
                return web.json_response({"status": 401}, status=401)
            shown = objects if made.EAN18 in request.query.getall("targets", []) else []
            skip, limit = int(request.query["skip"]), int(request.query["limit"])
            return web.json_response(shown[skip : skip + limit])

        return page

    site = web.Application()
    site.router.add_post("/auth/token", token)
    site.router.add_get("/programs", pages([made.gac_program()]))
    site.router.add_get("/events", pages(events))
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_b18_a_vtn_is_read_to_its_last_page(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.toml"
    credentials.touch(mode=0o600)
    credentials.write_text('client_id = "me"\nclient_secret = "hush"\n')
    events = [made.gac_event(f"e{number}") for number in range(60)] + [made.put(made.gac_event("last"), priority=0)]
    async with vtn(events) as url:
        access = VtnAccess(
            url=url,
            dialect=Dialect.V310,
            credentials=credentials,
            targets=(made.EAN18,),
            allow_plain_on_loopback=True,
        )
        objects = await read_vtn(access)
        report = check_bundle(load_profile("gac-2.2"), objects)
        assert report.object_count == 62
        assert {(one.rule, one.object_id) for one in report.findings} == {("safe-mode", "p1"), ("no-priority", "last")}
        stranger = VtnAccess(url=url, dialect=Dialect.V310, allow_plain_on_loopback=True)
        with pytest.raises(PeerUnavailable):
            await read_vtn(stranger)


async def test_b18_what_business_logic_published_is_read_from_the_strict_vtn(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.toml"
    credentials.touch(mode=0o600)
    credentials.write_text('client_id = "bl"\nclient_secret = "bl-secret"\nscope = "read_all"\n')
    example = json.loads((EXAMPLES / "gac-2.2-broken.json").read_text())
    async with asyncio.TaskGroup() as tasks:
        strict = StrictVtn(SandboxClock(None), tasks, WorldOptions())
        async with TestClient(TestServer(strict.app)) as client:
            made_world = await client.put("/control/worlds/dso", json={})
            door = "/control/worlds/dso/objects"
            program = await (
                await client.post(f"{door}/programs", json=without_metadata(example["programs"][0]))
            ).json()
            for event in (*example["events"], made.safe_mode_event()):
                body = without_metadata(event) | {"programID": program["id"]}
                assert (await client.post(f"{door}/events", json=body)).status < 300
            access = VtnAccess(
                url=(await made_world.json())["url"],
                dialect=Dialect.V310,
                credentials=credentials,
                allow_plain_on_loopback=True,
            )
            report = check_bundle(load_profile("gac-2.2"), await read_vtn(access))
        strict.stop()
    assert report.object_count == 3
    assert {one.rule for one in report.findings} == {"no-priority", "one-descriptor", "one-payload", "targets"}


def without_metadata(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in {"id", "objectType", "createdDateTime"}}
