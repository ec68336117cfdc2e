"""What a VEN refuses to be told at its start."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.guard import SignaturePolicy
from gateway.openadr.v20b.settings import ReportPoint
from tests.openadr.v20b.bench import settings


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"vtn_url": "http://vtn.example/x"}, "vtn_url"),
        ({"vtn_url": "http://vtn.example/x", "allow_plain_http": True}, "vtn_url"),
        ({"vtn_url": "http://127.0.0.1:80/x"}, "vtn_url"),
        ({"vtn_url": "http://127.0.0.1.example/x", "allow_plain_http": True}, "vtn_url"),
        ({"vtn_url": "ftp://127.0.0.1/x", "allow_plain_http": True}, "vtn_url"),
        ({"vtn_url": "https:///x"}, "vtn_url"),
        ({"vtn_url": ""}, "vtn_url"),
        ({"authority": ""}, "authority"),
        ({"tenant": ""}, "tenant"),
        ({"market_contexts": ()}, "market_contexts"),
        ({"own_nodes": ()}, "own_nodes"),
        ({"poll_interval": timedelta(0)}, "poll_interval"),
        ({"lost_after": timedelta(seconds=-1)}, "lost_after"),
        ({"first_backoff": timedelta(minutes=6)}, "longest_backoff"),
        ({"longest_drain": 0}, "longest_drain"),
        ({"report_points": (ReportPoint(r_id="a", node="x", resource_id="x"),) * 2}, "report_points"),
        ({"signature": SignaturePolicy.REQUIRED}, "fingerprints"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings(**changes)
    assert caught.value.field.endswith(field)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.8.9.1"])
def test_plain_http_is_for_this_machine_in_the_demo(host: str) -> None:
    assert settings(vtn_url=f"http://{host}:8080/x", allow_plain_http=True).vtn_url.startswith("http:")


def test_a_pin_demands_signatures_unless_told_otherwise() -> None:
    plain = settings()
    assert plain.guard_policy().signature is SignaturePolicy.OFF
    pinned = replace(plain, fingerprints=frozenset({"AA"}))
    assert pinned.guard_policy().signature is SignaturePolicy.REQUIRED
    assert replace(pinned, signature=SignaturePolicy.OPTIONAL).guard_policy().signature is SignaturePolicy.OPTIONAL
