"""The door: sizes, types, hostile JSON, the published OpenAPI, and random requests (catalogue C4; no answer is ever a 5xx)."""

import asyncio
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.limits import Limit
from gateway.oscp.names import MESSAGES, OWN_ROLE, PeerRole
from gateway.oscp.site import create_door
from tests.oscp.scene import DSO, TENANT, TOKEN_A, Scene, T, ask, block, said

FORECAST = "update_group_capacity_forecast"
WHOLE = json.dumps(said(block(50))).encode()
DEEP = b'{"group_id":"g1","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"


@pytest.mark.parametrize(
    ("chunks", "headers", "status"),
    [
        pytest.param([b" " * 2_000_001], {}, 413, id="c4-too-long"),
        pytest.param([b" " * 60_000] * 40, {}, 413, id="c4-endless-chunks"),
        pytest.param([gzip.compress(WHOLE)], {"content-encoding": "gzip"}, 415, id="c4-gzip"),
        pytest.param([WHOLE], {"content-type": "text/plain"}, 415, id="c4-content-type"),
        pytest.param([WHOLE], {"content-type": ""}, 415, id="c4-no-content-type"),
        pytest.param([WHOLE], {"content-type": "application/json; charset=latin-1"}, 415, id="c4-charset"),
        pytest.param([WHOLE.replace(b'"type"', b'"group_id": "g2", "type"')], {}, 400, id="c4-duplicate-key"),
        pytest.param([DEEP], {}, 400, id="c4-depth"),
        pytest.param([WHOLE.replace(b"50", b"NaN")], {}, 400, id="c4-nan"),
        pytest.param([WHOLE.replace(b"50", b"-Infinity")], {}, 400, id="c4-infinity"),
        pytest.param([WHOLE.replace(b"50", b"1e400")], {}, 400, id="c4-beyond-doubles"),
        pytest.param([WHOLE.replace(b"50", b"9" * 1_000)], {}, 400, id="c4-a-thousand-digits"),
        pytest.param([b"\xff\xfe"], {}, 400, id="c4-not-utf-8"),
        pytest.param([b"[]"], {}, 400, id="no-object"),
        pytest.param([b""], {}, 400, id="empty"),
        pytest.param([WHOLE], {"x-request-id": ""}, 400, id="no-request-id"),
        pytest.param([WHOLE], {"x-request-id": "x" * 129}, 400, id="long-request-id"),
        pytest.param([WHOLE], {"x-request-id": "a\x7fb"}, 400, id="unprintable-request-id"),
    ],
)
async def test_a_hostile_request_is_refused_and_changes_nothing(
    chunks: Sequence[bytes], headers: dict[str, str], status: int
) -> None:
    scene = await Scene().online()
    reply = await scene.call(FORECAST, headers=headers, raw=chunks)
    assert reply.status == status
    assert isinstance(reply.message, str)
    assert await scene.store.find(Limit, TENANT) == []


async def test_a_json_type_with_a_charset_is_taken() -> None:
    scene = await Scene().online()
    reply = await scene.call(FORECAST, headers={"content-type": "Application/JSON; charset=UTF-8"}, raw=[WHOLE])
    assert reply.status == 204


async def test_c4_a_body_that_does_not_come_is_not_waited_for() -> None:
    scene = await Scene().online()
    door = create_door(scene.room, body_patience_s=0.01)
    headers = {
        "authorization": f"Token {scene.token_c}",
        "content-type": "application/json",
        "x-request-id": "slow",
    }
    scope_path = f"/fp/2.0/{FORECAST}"
    got: list[Any] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        got.append(message)

    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "method": "POST",
        "path": scope_path,
        "headers": sent,
        "query_string": b"",
        "root_path": "",
    }
    await door(
        {**scope, "http_version": "1.1", "scheme": "https", "server": ("h", 1), "client": ("h", 2)}, receive, send
    )
    assert got[0]["status"] == 408


async def test_a_stranger_is_not_read() -> None:
    scene = await Scene().begin()
    reply = await scene.call(FORECAST, token="x" * 40, raw=[b" " * 2_000_001])
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == "Token"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/fp/2.0/nothing", 404),
        ("POST", "/cp/2.0/update_group_measurements", 404),
        ("GET", f"/fp/2.0/{FORECAST}", 405),
        ("POST", "/fp/3.0/register", 404),
    ],
)
async def test_a_place_that_does_not_exist_says_so(method: str, path: str, status: int) -> None:
    scene = await Scene().online()
    reply = await ask(scene.door, method, path, {"authorization": f"Token {scene.token_c}"}, [b""])
    assert reply.status == status
    assert reply.message


async def test_before_its_link_is_read_a_partner_is_asked_to_come_back() -> None:
    scene = await Scene().begin()
    scene.unit.is_ready = False
    assert (await scene.register()).status == 503


async def test_the_published_openapi_has_every_message_and_its_schema() -> None:
    scene = Scene()
    reply = await ask(scene.door, "GET", "/openapi.json", {}, [b""])
    document = json.loads(reply.body)
    paths = {path for path in document["paths"] if path != "/openapi.json"}
    expected = {f"/{OWN_ROLE[role]}/2.0/{message}" for role, names in MESSAGES.items() for message in names}
    assert paths == {path for path in expected if not path.endswith("handshake_acknowledgment")}
    assert set(document["paths"]["/fp/2.0/register"]) == {"post", "put", "delete"}
    schemas = document["components"]["schemas"]
    forecast = schemas["GroupCapacityForecast"]
    assert forecast["required"] == ["group_id", "type", "forecasted_blocks"]
    assert schemas["ForecastType"]["enum"] == [
        "CONSUMPTION",
        "GENERATION",
        "FALLBACK_CONSUMPTION",
        "FALLBACK_GENERATION",
        "OPTIMUM",
    ]
    post = document["paths"][f"/fp/2.0/{FORECAST}"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/GroupCapacityForecast"
    }
    assert {"204", "400", "401", "404", "415", "503"} <= set(post["responses"])
    _no_dangling(document, document)


def _no_dangling(part: Any, document: Any) -> None:
    if isinstance(part, dict):
        reference = part.get("$ref")
        if reference is not None:
            found = document
            for name in reference.removeprefix("#/").split("/"):
                found = found[name]
        for value in part.values():
            _no_dangling(value, document)
    elif isinstance(part, list):
        for value in part:
            _no_dangling(value, document)


TEXTS = st.sampled_from(["", "g1", "2.0", "KW", "ALL", "CONSUMPTION", "2026-11-21T10:00:00Z", "NaN", "-1", "\x00", "é"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
KEYS = st.sampled_from(
    [
        "token",
        "version_url",
        "version",
        "base_url",
        "required_behaviour",
        "heartbeat_interval",
        "measurement_configuration",
        "offline_mode_at",
        "group_id",
        "type",
        "forecasted_blocks",
        "capacity",
        "phase",
        "unit",
        "start_time",
        "end_time",
        "measurements",
    ]
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=8),
    max_leaves=12,
)
BLOCKS = st.fixed_dictionaries(dict.fromkeys(("capacity", "phase", "unit", "start_time", "end_time"), SCALARS))
FORECASTS = st.fixed_dictionaries(
    {"group_id": TEXTS, "type": TEXTS, "forecasted_blocks": st.lists(BLOCKS | DOCUMENTS, max_size=3)}
)
PATHS = st.sampled_from(sorted(MESSAGES[PeerRole.CAPACITY_PROVIDER]))
METHODS = st.sampled_from(["POST", "PUT", "DELETE", "GET", "PATCH"])
HEADERS = st.dictionaries(
    st.sampled_from(["x-segment-index", "x-segment-count", "x-correlation-id", "content-type", "x-request-id"]),
    st.sampled_from(["", "1", "2", "100", "-1", "r1", "application/json", "\t"]),
    max_size=3,
)


@given(message=PATHS, method=METHODS, content=DOCUMENTS | FORECASTS, headers=HEADERS)
async def test_no_request_whatever_it_says_is_answered_with_a_5xx(
    message: str, method: str, content: Any, headers: dict[str, str]
) -> None:
    scene = await Scene().online()
    raw = json.dumps(content, allow_nan=True).encode()
    reply = await scene.call(message, method=method, headers=headers, raw=[raw])
    assert reply.status < 500 or reply.status == 501
    if reply.status not in {204, 405}:
        assert reply.message


@given(body=st.binary(max_size=200), message=PATHS)
async def test_no_bytes_are_answered_with_a_5xx(body: bytes, message: str) -> None:
    scene = await Scene().online()
    reply = await scene.call(message, raw=[body])
    assert reply.status in {204, 400}


@given(place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
async def test_one_wrong_byte_is_a_limit_or_a_refusal(place: int, byte: int) -> None:
    scene = await Scene().online()
    body = WHOLE[:place] + bytes([byte]) + WHOLE[place + 1 :]
    reply = await scene.call(FORECAST, raw=[body])
    count = len(scene.desk.stated_by(TENANT, DSO))
    assert (reply.status, count) in {(204, 1), (204, 0), (400, 0), (404, 0)}


async def test_a_token_is_never_in_an_answer() -> None:
    scene = await Scene().begin()
    body = {"token": "secret token", "version_url": [{"version": "2.0", "base_url": "https://u:secret@h.example"}]}
    for content in (body, {**body, "token": "s3cr3t" * 400}, {**body, "token": 7}):
        reply = await scene.call("register", content, token=TOKEN_A)
        assert reply.status == 400
        assert b"secret" not in reply.body
        assert b"s3cr3t" not in reply.body
    assert scene.clock.now() == T
