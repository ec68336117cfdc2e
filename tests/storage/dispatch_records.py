"""One example of every record about rosters and limits that cannot be kept, filled so that each field shows when it is lost."""

from datetime import datetime, timedelta

from gateway.domain.compliance import ComplianceShortfall
from gateway.domain.dispatch import CommandRoster
from gateway.domain.timegrid import Interval


def dispatch_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        CommandRoster.of(tenant, "csms-1", ("ch-1", "ch-2", "ch-3"), (1.4, 0.0, 4.14)),
        ComplianceShortfall(
            id="shortfall-1",
            tenant=tenant,
            authority="oscp:dso",
            node="site-1",
            limit_ids=("limit-1", "limit-2"),
            blocks=(
                Interval(start=t0, end=t0 + timedelta(hours=1)),
                Interval(start=t0 + timedelta(hours=1), end=None),
            ),
            limit_kw=20.0,
            expected_kw=31.5,
            charger_ids=("ch-1",),
            reason="1 charger does not follow",
            raised_at=t0,
            settled_at=t0 + timedelta(minutes=4),
            is_open=False,
        ),
    ]
