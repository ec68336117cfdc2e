"""The REST door of steering boxes: the same rules as over gRPC, problem+json that names the field, a CSV for the grid operator."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.fakes.steering import BOX, SPEAKER, steering_box
from tests.fakes.wired import OTHER, TENANT, Wired, token_of, wired
from tests.web.conftest import HTML, browsing, serving

LIMIT = f"/api/steering/boxes/{BOX}/limits/consumption"


@dataclass
class Answer:
    status: int
    json: dict[str, Any]
    text: str
    kind: str


@dataclass
class Rest:
    url: str
    http: aiohttp.ClientSession
    token: str = token_of(TENANT, SPEAKER)

    async def send(self, method: str, path: str, body: object = None, token: str | None = None) -> Answer:
        headers = {} if token == "" else {"Authorization": f"Bearer {token or self.token}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            text, kind = await answer.text(), answer.headers.get("Content-Type", "")
            found = await answer.json(content_type=None) if "json" in kind else {}
            return Answer(answer.status, found, text, kind)

    async def beat(self) -> Answer:
        return await self.send("POST", f"/api/steering/boxes/{BOX}/heartbeat")

    async def limit(self, request_id: str = "r-1", **words: Any) -> Answer:
        return await self.send("PUT", LIMIT, {"request_id": request_id, "is_active": True, "power_kw": 8.0} | words)


@pytest.fixture
async def house() -> Wired:
    return await wired(steering_box=(steering_box(),))


@pytest.fixture
async def rest(house: Wired) -> AsyncIterator[Rest]:
    async with serving(house) as url, aiohttp.ClientSession() as http:
        yield Rest(url, http)


async def test_o27_a_box_steers_with_plain_json(house: Wired, rest: Rest) -> None:
    early = await rest.limit()
    assert (early.status, early.json["title"]) == (409, "PRECONDITION_FAILED")
    beat = await rest.beat()
    assert (beat.status, beat.json["is_silent"], beat.json["limitations"][0]["state"]) == (200, True, "init")
    order = await rest.limit(duration_s=900)
    assert (order.status, order.json["applied_power_kw"], order.json["rule"]) == (200, 8.0, "LPC-904")
    assert (await rest.limit(duration_s=900)).json["id"] == order.json["id"]
    assert (await rest.limit(duration_s=901)).json["title"] == "REQUEST_ID_REUSED"
    seen = await rest.send("GET", f"/api/steering/boxes/{BOX}")
    assert seen.json["limitations"][0]["power_kw"] == 8.0
    assert seen.json["limitations"][1]["state"] == "init"
    values = {"request_id": "f", "failsafe_power_kw": 6.0, "failsafe_duration_s": 7_200}
    kept = await rest.send("PUT", f"/api/steering/boxes/{BOX}/failsafe/consumption", values)
    assert kept.json["limitations"][0]["failsafe_power_kw"] == 6.0
    export = {"request_id": "e", "is_active": True, "power_kw": -3.0}
    fed_in = await rest.send("PUT", f"/api/steering/boxes/{BOX}/limits/production", export)
    assert fed_in.json["applied_power_kw"] == -3.0
    relays = {"request_id": "d", "is_dim_closed": True, "is_off_closed": False}
    dimmed = await rest.send("PUT", f"/api/steering/boxes/{BOX}/relays", relays)
    assert (dimmed.json["kind"], dimmed.json["applied_power_kw"]) == ("relays", 10.0)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"power_kw": -1.0}, "power_kw"),
        ({"power_kw": None}, "power_kw"),
        ({"power_kw": "much"}, "power_kw"),
        ({"is_active": "yes"}, "is_active"),
        ({"request_id": ""}, "request_id"),
        ({"duration_s": -1}, "duration_s"),
        ({"unknown": 1}, "unknown"),
    ],
    ids=["negative", "absent", "text", "no bool", "no id", "past", "unknown"],
)
async def test_what_is_wrong_is_named(rest: Rest, words: dict[str, Any], field: str) -> None:
    await rest.beat()
    answer = await rest.limit(**words)
    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert answer.json["field"] == field


@pytest.mark.parametrize("body", [b'{"request_id": "r", "is_active": true, "power_kw": NaN}', b"{", b"[]"], ids=repr)
async def test_what_is_not_json_is_refused(rest: Rest, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {rest.token}", "Content-Type": "application/json"}
    async with rest.http.put(rest.url + LIMIT, data=body, headers=headers) as answer:
        assert answer.status == 400


async def test_who_may(rest: Rest) -> None:
    path = f"/api/steering/boxes/{BOX}"
    assert (await rest.send("GET", path, token="")).status == 401
    assert (await rest.send("GET", path, token="unknown")).status == 401
    assert (await rest.send("GET", path, token=token_of(OTHER, SPEAKER))).status == 404
    assert (await rest.send("GET", path, token=token_of(TENANT, "olga"))).status == 200
    assert (await rest.send("POST", f"{path}/heartbeat", token=token_of(TENANT, "olga"))).status == 403
    assert (await rest.send("GET", path, token=token_of(TENANT, "csms"))).status == 403
    listed = await rest.send("GET", "/api/steering/boxes", token=token_of(TENANT, "aud"))
    assert [one["box"] for one in listed.json["boxes"]] == [BOX]
    assert (await rest.send("GET", "/api/steering/boxes/none")).status == 404


async def test_the_export_for_the_grid_operator(house: Wired, rest: Rest) -> None:
    await rest.beat()
    await rest.limit("first")
    house.scene.clock.move(seconds=60)
    await rest.beat()
    await rest.limit("second", is_active=False)
    await house.services.proofs.keep_up(TENANT)
    answer = await rest.send("GET", f"/api/steering/boxes/{BOX}/orders.csv")
    assert (answer.status, answer.kind) == (200, "text/csv; charset=utf-8")
    rows = [row for row in csv.DictReader(io.StringIO(answer.text)) if row["kind"] == "limit"]
    assert [(row["order_id"], row["ordered_kw"], row["end_reason"]) for row in rows] == [
        (f"{BOX}/first", "8.0", "the box took it back"),
        (f"{BOX}/second", "", "nothing is limited by it"),
    ]
    since = house.scene.clock.now().isoformat().replace("+", "%2B")
    late = await rest.send("GET", f"/api/steering/boxes/{BOX}/orders?since={since}")
    assert [one["id"] for one in late.json["orders"]] == [f"{BOX}/second"]
    naive = await rest.send("GET", f"/api/steering/boxes/{BOX}/orders?since=2026-01-01T00:00:00")
    assert (naive.status, naive.json["field"]) == (400, "since")


async def test_people_see_the_box_on_the_page_and_take_the_same_export(house: Wired, rest: Rest) -> None:
    async with browsing(rest.url) as browser:
        await browser.login("olga")
        before = await browser.get("/utility", **HTML)
        assert "silent" in before.text
        assert (
            "consumption: started, failsafe until it says its limit, 30.0 kW until further notice (LPC-901/1"
            in before.text
        )
        await rest.beat()
        await rest.limit("first", duration_s=600)
        text = (await browser.get("/utility/now", **HTML)).text
        assert "consumption: limits, 8.0 kW until" in text
        assert "heard 0 s ago" in text
        export = await browser.get(f"/utility/steering/{BOX}/orders.csv")
        assert export.status == 200
        assert f"{BOX}/first" in export.text
        assert (await browser.get("/utility/steering/none/orders.csv")).status == 404
    async with browsing(rest.url) as stranger:
        assert (await stranger.get(f"/utility/steering/{BOX}/orders.csv")).status == 401


async def test_the_door_describes_itself(rest: Rest) -> None:
    answer = await rest.send("GET", "/api/steering/openapi.json", token="")
    assert answer.status == 200
    assert set(answer.json["paths"]) == {
        "/api/steering/boxes",
        "/api/steering/boxes/{box}",
        "/api/steering/boxes/{box}/heartbeat",
        "/api/steering/boxes/{box}/limits/{limited}",
        "/api/steering/boxes/{box}/failsafe/{limited}",
        "/api/steering/boxes/{box}/relays",
        "/api/steering/boxes/{box}/orders",
        "/api/steering/boxes/{box}/orders.csv",
    }
    schemas = answer.json["components"]["schemas"]
    assert set(schemas["LimitBody"]["required"]) == {"request_id", "is_active"}
    assert answer.json["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    calls = [call for path in answer.json["paths"].values() for call in path.values()]
    assert all(call["security"] == [{"HTTPBearer": []}] for call in calls)


@pytest.mark.parametrize("header", ["Basic abc", "Bearer", "Bearer ", "bearer", "abc"], ids=repr)
async def test_another_proof_is_none(rest: Rest, header: str) -> None:
    path = f"{rest.url}/api/steering/boxes/{BOX}"
    async with rest.http.get(path, headers={"Authorization": header}) as answer:
        assert answer.status == 401
