"""One example of every record about OSCP links, filled so that each field shows when it is lost."""

from datetime import datetime, timedelta

from gateway.domain.oscp import LinkState, OscpLink, OscpMessage, OscpRegister, OscpRequest, OscpSegment


def oscp_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        OscpLink(
            id="oscp:dso-1",
            tenant=tenant,
            state=LinkState.ONLINE,
            changed_at=t0,
            base_url="https://dso.example/oscp/cp/2.0",
            token_sha256="a1" * 32,
            offered_sha256="b2" * 32,
            spent_sha256="c3" * 32,
            sealed_token="c2VhbGVk",
            register_id="r1",
            beat_every_s=60.0,
            measurements=("CONTINUOUS",),
            offline_at=t0 + timedelta(seconds=180),
            ack_path="handshake_acknowledgment",
        ),
        OscpRequest(id="oscp:dso-1:r1", tenant=tenant, authority="oscp:dso-1", at=t0, sha256="d4" * 32),
        OscpSegment(
            id="oscp:dso-1:r2:2",
            tenant=tenant,
            authority="oscp:dso-1",
            chain="r2",
            index=2,
            count=3,
            at=t0,
            body=b"\x00{}",
        ),
        OscpMessage(
            id="oscp:dso-1:ack:r3",
            tenant=tenant,
            authority="oscp:dso-1",
            method="POST",
            path="register",
            body="{}",
            request_id="oscp-1",
            created_at=t0,
            due_at=t0 + timedelta(seconds=5),
            expires_at=t0 + timedelta(hours=1),
            correlation_id="r3",
            sealed_token="c2VhbGVk",
            sealed_key="a2V5",
            url="https://dso.example/oscp/cp/2.0",
            attempts=1,
            is_open=False,
            outcome="HTTP 204",
        ),
        OscpRegister(
            id="oscp:dso-1:trafo-17",
            tenant=tenant,
            authority="oscp:dso-1",
            since=t0,
            until=t0 + timedelta(minutes=15),
            energy_kwh=0.0,
            told_at=t0,
        ),
    ]
