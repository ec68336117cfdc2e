from dataclasses import replace

import pytest

from gateway.domain.alerts import AlertSeverity, alerts_of, severity_of
from tests.services.scene import event


@pytest.mark.parametrize(
    ("kind", "severity"),
    [
        ("ALERT_BLACK_START", AlertSeverity.EMERGENCY),
        ("ALERT_POSSIBLE_OUTAGE", AlertSeverity.WARNING),
        ("ALERT_OTHER", AlertSeverity.NOTICE),
        ("ALERT_NEVER_HEARD_OF", AlertSeverity.WARNING),
    ],
)
def test_what_is_not_known_is_not_played_down(kind: str, severity: AlertSeverity) -> None:
    assert severity_of(kind) is severity


def test_an_event_that_says_the_same_in_many_intervals_is_one_alert() -> None:
    alert = event(instruction="alert", max_kw=0.0)
    twice = replace(alert, intervals=alert.intervals * 2)
    assert len(alerts_of([twice], alert.received_at)) == 1
