"""The strict 3.x VTN: tokens and scopes, pages, hidden objects, notifications, strict bodies, faults on order."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.vtn3 import StrictVtn
from gateway.sandbox.vtn3_world import WorldOptions

CONTROL = "/control/worlds"
INTERVALS = [{"id": 0, "payloads": [{"type": "PRICE", "values": [0.1]}]}]


class Driver:
    """Speaks to one world as VEN, as business logic and as script."""

    def __init__(self, client: "TestClient[Any, Any]", world: str) -> None:
        self.client = client
        self.world = world
        self.tokens: dict[str, str] = {}

    async def script(self, verb: str, path: str, document: object = None) -> Any:
        answer = await self.client.request(verb, f"{CONTROL}/{self.world}{path}", json=document)
        assert answer.status < 300, await answer.text()
        return await answer.json()

    async def token(self, who: str, scope: str = "", *, path: str = "oauth/token", secret: str = "") -> tuple[int, Any]:
        form = {
            "grant_type": "client_credentials",
            "client_id": who,
            "client_secret": secret or ("bl-secret" if who == "bl" else "ven-secret"),
            "scope": scope,
        }
        answer = await self.client.post(f"/{self.world}/{path}", data=form)
        return answer.status, await answer.json()

    async def ask(self, who: str, verb: str, path: str, body: object = None) -> tuple[int, Any]:
        if who not in self.tokens:
            self.tokens[who] = (await self.token(who))[1].get("access_token", "")
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        answer = await self.client.request(verb, f"/{self.world}/{path}", json=body, headers=headers)
        return answer.status, await answer.json()

    async def program(self, **fields: object) -> str:
        status, made = await self.ask("bl", "POST", "programs", {"programName": "p", **fields})
        assert status == 201, made
        return str(made["id"])


@pytest.fixture
async def client() -> AsyncIterator["TestClient[Any, Any]"]:
    async with asyncio.TaskGroup() as tasks:
        vtn = StrictVtn(SandboxClock(None), tasks, WorldOptions())
        async with TestClient(TestServer(vtn.app)) as made:
            yield made
        vtn.stop()


@pytest.fixture
async def new(client: "TestClient[Any, Any]") -> Driver:
    driver = Driver(client, "new")
    await driver.script("PUT", "", {})
    return driver


@pytest.fixture
async def old(client: "TestClient[Any, Any]") -> Driver:
    driver = Driver(client, "old")
    await driver.script("PUT", "", {"dialect": "3.0.1"})
    driver.tokens = {who: (await driver.token(who, path="auth/token"))[1]["access_token"] for who in ("ven", "bl")}
    return driver


async def test_the_token_endpoint_is_discovered(new: Driver) -> None:
    answer = await new.client.get("/new/auth/server")
    assert (await answer.json())["tokenURL"].endswith("/new/oauth/token")
    assert (await new.token("ven", path="auth/token"))[0] == 404


@pytest.mark.parametrize(
    ("who", "scope", "secret", "status", "error"),
    [
        ("ven", "", "wrong", 401, "invalid_client"),
        ("nobody", "", "", 401, "invalid_client"),
        ("ven", "read_all", "", 400, "invalid_scope"),
        ("ven", "read_targets", "", 200, None),
    ],
)
async def test_tokens_are_given_by_the_rules(
    new: Driver, who: str, scope: str, secret: str, status: int, error: str | None
) -> None:
    got, answer = await new.token(who, scope, secret=secret)
    assert (got, answer.get("error")) == (status, error)


async def test_a_client_may_tell_its_secret_by_http_basic(new: Driver) -> None:
    form = {"grant_type": "client_credentials"}
    for secret, status in (("ven-secret", 200), ("wrong", 401)):
        word = base64.b64encode(f"ven:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {word}"}
        answer = await new.client.post("/new/oauth/token", data=form, headers=headers)
        assert answer.status == status


async def test_nulls_are_overlooked_where_the_world_says_so(client: "TestClient[Any, Any]") -> None:
    driver = Driver(client, "nulls")
    await driver.script("PUT", "", {"takes_nulls": True})
    assert (await driver.ask("bl", "POST", "programs", {"programName": "p", "intervalPeriod": None}))[0] == 201


async def test_a_token_holds_until_it_is_revoked(new: Driver) -> None:
    assert (await new.ask("ven", "GET", "programs"))[0] == 200
    await new.script("POST", "/revoke")
    assert (await new.ask("ven", "GET", "programs"))[0] == 401


async def test_a_token_ends(client: "TestClient[Any, Any]") -> None:
    driver = Driver(client, "short")
    await driver.script("PUT", "", {"token_s": 0})
    assert (await driver.ask("ven", "GET", "programs"))[0] == 401


async def test_a_ven_writes_no_programs_and_reads_no_reports_of_others(new: Driver) -> None:
    assert (await new.ask("ven", "POST", "programs", {"programName": "p"}))[0] == 403
    event = (await new.ask("bl", "POST", "events", {"programID": await new.program(), "intervals": INTERVALS}))[1]
    report = {"eventID": event["id"], "clientName": "v", "resources": []}
    assert (await new.ask("bl", "POST", "reports", report))[0] == 403
    status, made = await new.ask("ven", "POST", "reports", report)
    assert (status, made["clientID"]) == (201, "ven")
    assert (await new.ask("stranger", "GET", "reports"))[1] == []
    assert (await new.ask("stranger", "PUT", f"reports/{made['id']}", report))[0] == 403
    assert len((await new.ask("bl", "GET", "reports"))[1]) == 1


async def test_pages_are_of_fifty_at_most(new: Driver) -> None:
    program = await new.program()
    for _ in range(61):
        await new.script("POST", "/objects/events", {"programID": program, "intervals": INTERVALS})
    assert len((await new.ask("ven", "GET", "events"))[1]) == 50
    assert len((await new.ask("ven", "GET", "events?skip=50&limit=50"))[1]) == 11
    status, problem = await new.ask("ven", "GET", "events?limit=51")
    assert (status, problem["status"], problem["detail"]) == (400, 400, "query.limit must be a number up to 50")
    await new.script("POST", "/faults", {"on": "GET /events", "do": "ignore-skip"})
    assert len((await new.ask("ven", "GET", "events?skip=50"))[1]) == 50


async def test_a_targeted_object_is_shown_to_who_was_granted_its_target_and_asks_with_it(new: Driver) -> None:
    program = await new.program()
    for targets in (["a"], ["b"], None):
        await new.script("POST", "/objects/events", {"programID": program, "intervals": INTERVALS, "targets": targets})

    async def seen(query: str) -> list[Any]:
        return [each["targets"] for each in (await new.ask("ven", "GET", f"events{query}"))[1]]

    assert await seen("?targets=a&targets=b") == []
    ven = {"objectType": "VEN_VEN_REQUEST", "venName": "v"}
    assert (await new.ask("ven", "POST", "vens", ven))[0] == 201
    assert await new.script("POST", "/grant", {"targets": ["a"]}) == {"vens": 1}
    assert await seen("?targets=a&targets=b") == [["a"]]
    assert await seen("") == [None]
    assert (await new.ask("ven", "GET", "events/event-3"))[0] == 404
    assert len((await new.ask("bl", "GET", "events"))[1]) == 3


async def test_a_ven_cannot_grant_itself_targets(new: Driver) -> None:
    ven = {"objectType": "VEN_VEN_REQUEST", "venName": "v"}
    assert (await new.ask("ven", "POST", "vens", {**ven, "targets": ["a"]}))[0] == 400
    made = (await new.ask("ven", "POST", "vens", ven))[1]
    assert (made["objectType"], made["clientID"]) == ("VEN", "ven")
    await new.script("POST", "/grant", {"targets": ["a"]})
    changed = (await new.ask("ven", "PUT", f"vens/{made['id']}", {**ven, "attributes": []}))[1]
    assert changed["targets"] == ["a"]
    assert (await new.ask("stranger", "POST", "vens", ven))[0] == 409


async def test_the_old_dialect_keeps_resources_below_vens_and_filters_by_typed_targets(old: Driver) -> None:
    ven = (await old.ask("ven", "POST", "vens", {"venName": "v"}))[1]
    status, made = await old.ask("ven", "POST", f"vens/{ven['id']}/resources", {"resourceName": "r"})
    assert (status, made["venID"]) == (201, ven["id"])
    assert len((await old.ask("ven", "GET", f"vens/{ven['id']}/resources"))[1]) == 1
    assert (await old.ask("ven", "GET", "resources"))[0] == 404
    program = await old.program(targets=[{"type": "GROUP", "values": ["a"]}])
    found = (await old.ask("ven", "GET", "programs?targetType=GROUP&targetValues=a"))[1]
    assert [each["id"] for each in found] == [program]
    assert (await old.ask("ven", "GET", "programs?targetType=GROUP&targetValues=b"))[1] == []
    assert (await old.ask("ven", "GET", "programs?targets=a"))[0] == 400
    assert (await old.ask("ven", "GET", "notifiers"))[0] == 404


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"programName": "p", "targets": None}, None),
        ({"programName": "p", "intervalPeriod": None}, "body.intervalPeriod must not be null"),
        ({"programName": "p", "colour": 1}, "body.colour is unknown"),
        ([], "body must be an object"),
    ],
)
async def test_bodies_are_strict(new: Driver, body: object, detail: str | None) -> None:
    status, answer = await new.ask("bl", "POST", "programs", body)
    assert (status, answer.get("detail")) == ((201, None) if detail is None else (400, detail))
    entries = (await new.script("GET", "/log"))["entries"]
    assert entries[-1]["problem"] == (detail or "")


async def test_names_and_references_conflict(new: Driver) -> None:
    program = await new.program()
    assert (await new.ask("bl", "POST", "programs", {"programName": "p"}))[0] == 409
    assert (await new.ask("bl", "PUT", f"programs/{program}", {"programName": "p"}))[0] == 200
    assert (await new.ask("bl", "POST", "events", {"programID": "nothing"}))[0] == 409
    event = (await new.ask("bl", "POST", "events", {"programID": program, "intervals": INTERVALS}))[1]
    report = {"eventID": event["id"], "clientName": "v", "reportName": "r", "resources": []}
    assert (await new.ask("ven", "POST", "reports", report))[0] == 201
    assert (await new.ask("ven", "POST", "reports", report))[0] == 409


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        ({"do": "status", "status": 503, "headers": {"Retry-After": 2}}, 503, '"status": 503'),
        ({"do": "raw", "body": "<html>"}, 200, "<html>"),
        ({"do": "cut"}, 200, "["),
    ],
)
async def test_it_goes_wrong_once(new: Driver, fault: dict[str, Any], status: int, text: str) -> None:
    await new.ask("ven", "GET", "programs")
    await new.script("POST", "/faults", {"on": "GET /programs", **fault})
    headers = {"Authorization": f"Bearer {new.tokens['ven']}"}
    answer = await new.client.get("/new/programs", headers=headers)
    assert answer.status == status
    assert text in await answer.text()
    assert answer.headers.get("Retry-After") == ("2" if status == 503 else None)
    assert (await new.ask("ven", "GET", "programs"))[0] == 200


async def test_unknown_faults_and_options_are_refused(new: Driver) -> None:
    for verb, path, document in (
        ("POST", "/new/faults", {"on": "*", "do": "explode"}),
        ("POST", "/new/faults", {"on": "*", "do": "drop", "x": 1}),
        ("PUT", "/other", {"dialect": "2.0b"}),
        ("PUT", "/new/manners", {"x": 1}),
    ):
        assert (await new.client.request(verb, f"{CONTROL}{path}", json=document)).status == 400


class Receiver:
    """A subscriber's callback."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.is_deaf = False

    async def challenge(self, request: web.Request) -> web.Response:
        return web.Response(text="no" if self.is_deaf else request.query["echo"])

    async def take(self, request: web.Request) -> web.Response:
        self.heard.append((request.headers.get("Authorization", ""), await request.json()))
        return web.Response(status=204)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    made = Receiver()
    app = web.Application()
    app.add_routes([web.get("/hook", made.challenge), web.post("/hook", made.take)])
    async with TestServer(app) as server:
        yield made, str(server.make_url("/hook"))


def subscription(url: str, **fields: object) -> dict[str, Any]:
    place = {"objects": ["EVENT"], "operations": ["CREATE", "DELETE"], "callbackUrl": url, "bearerToken": "word"}
    return {"clientName": "v", "objectOperations": [place], **fields}


async def settled(driver: Driver, count: int) -> list[dict[str, Any]]:
    while True:
        sent: list[dict[str, Any]] = (await driver.script("GET", "/log"))["notifications"]
        if len(sent) >= count and all(each["status"] or "lost" in each for each in sent[:count]):
            return sent
        await asyncio.sleep(0.01)


async def test_a_subscriber_is_challenged_and_told_with_its_bearer(new: Driver, receiver: tuple[Receiver, str]) -> None:
    hook, url = receiver
    hook.is_deaf = True
    assert (await new.ask("ven", "POST", "subscriptions", subscription(url)))[0] == 400
    hook.is_deaf = False
    assert (await new.ask("ven", "POST", "subscriptions", subscription(url)))[0] == 201
    program = await new.program()
    event = (await new.ask("bl", "POST", "events", {"programID": program, "intervals": INTERVALS}))[1]
    await new.ask("bl", "PUT", f"events/{event['id']}", {"programID": program})
    await new.ask("bl", "DELETE", f"events/{event['id']}")
    assert [each["status"] for each in await settled(new, 2)] == [204, 204]
    assert [(bearer, said["operation"], said["object"]["id"]) for bearer, said in hook.heard] == [
        ("Bearer word", "CREATE", event["id"]),
        ("Bearer word", "DELETE", event["id"]),
    ]


async def test_notifications_are_lost_repeated_and_forged_on_order(new: Driver, receiver: tuple[Receiver, str]) -> None:
    hook, url = receiver
    await new.ask("ven", "POST", "subscriptions", subscription(url))
    program = await new.program()
    for manners in ({"times": 2}, {"bearer": "wrong"}):
        await new.script("PUT", "/manners", manners)
        await new.script("POST", "/objects/events", {"programID": program, "intervals": INTERVALS})
    await settled(new, 3)
    await new.script("PUT", "/manners", {"lose": True})
    await new.script("POST", "/objects/events", {"programID": program, "intervals": INTERVALS})
    assert [bearer for bearer, _ in hook.heard] == ["Bearer word", "Bearer word", "Bearer wrong"]


async def test_a_targeted_event_is_told_only_to_who_may_see_it(new: Driver, receiver: tuple[Receiver, str]) -> None:
    hook, url = receiver
    await new.ask("ven", "POST", "vens", {"objectType": "VEN_VEN_REQUEST", "venName": "v"})
    await new.script("POST", "/grant", {"targets": ["a"]})
    await new.ask("ven", "POST", "subscriptions", subscription(url, targets=["a"]))
    program = await new.program()
    for targets in (["b"], ["a"]):
        await new.script("POST", "/objects/events", {"programID": program, "intervals": INTERVALS, "targets": targets})
    await settled(new, 1)
    assert [said["targets"] for _, said in hook.heard] == [["a"]]


async def test_the_old_dialect_tells_operations_in_its_own_words(old: Driver, receiver: tuple[Receiver, str]) -> None:
    hook, url = receiver
    program = await old.program()
    assert (await old.ask("ven", "POST", "subscriptions", subscription(url, programID=program)))[0] == 201
    await old.ask("bl", "POST", "events", {"programID": program, "intervals": INTERVALS})
    await settled(old, 1)
    assert [said["operation"] for _, said in hook.heard] == ["POST"]


async def test_mqtt_is_offered_where_there_is_a_broker(client: "TestClient[Any, Any]") -> None:
    driver = Driver(client, "mqtt")
    await driver.script("PUT", "", {"broker": "mqtt://127.0.0.1:9"})
    _, offer = await driver.ask("ven", "GET", "notifiers")
    assert offer["MQTT"]["URIS"] == ["mqtt://127.0.0.1:9"]
    _, topics = await driver.ask("ven", "GET", "notifiers/mqtt/topics/programs/p-1/events")
    assert topics["topics"]["CREATE"] == "mqtt/programs/p-1/events/create"
    _, single = await driver.ask("ven", "GET", "notifiers/mqtt/topics/vens/v-1")
    assert set(single["topics"]) == {"UPDATE", "DELETE", "ALL"}
