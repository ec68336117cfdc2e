"""One example of every record about authorities that state limits, filled so that each field shows when it is lost."""

from datetime import datetime

from gateway.domain.authorities import AuthorityStanding


def authority_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        AuthorityStanding(
            id="oscp:dso-1",
            tenant=tenant,
            nodes=("site-1", "site-2"),
            export_nodes=("site-2",),
            is_lost=True,
            changed_at=t0,
            is_released=True,
        )
    ]
