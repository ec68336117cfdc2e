"""The process's own numbers: for this machine only, and without anything of a tenant."""

import pytest

from gateway.observe import OPENADR_REJECTED
from gateway.web import metrics
from tests.web.conftest import Browser


async def test_this_machine_reads_the_metrics_without_a_login(browser: Browser) -> None:
    OPENADR_REJECTED.labels(reason="too-large").inc()
    page = await browser.get("/metrics")
    assert page.status == 200
    assert page.headers["Content-Type"].startswith("text/plain")
    assert 'gateway_openadr_rejected_messages_total{reason="too-large"}' in page.text
    assert "gateway_chargers_not_following" in page.text


async def test_what_a_proxy_passes_on_finds_no_such_page(browser: Browser) -> None:
    assert (await browser.get("/metrics", **{"X-Forwarded-For": "203.0.113.9"})).status == 404


@pytest.mark.parametrize(
    ("host", "told"), [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("testclient", False), ("", False)]
)
def test_only_loopback_is_this_machine(host: str, *, told: bool) -> None:
    assert metrics._is_loopback(host) is told
