"""One example of every record about doors to charging platforms, filled so that each field shows when it is lost."""

from datetime import datetime, timedelta

from gateway.domain.doors import CommandOutcome, CsmsCommand, OcpiRegistration


def door_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        CsmsCommand(
            id="csms-1/charger-1",
            tenant=tenant,
            csms="csms-1",
            charger="charger-1",
            sequence=17,
            limit_kw=7.4,
            fallback_kw=1.38,
            sent_at=t0,
            lease_until=t0 + timedelta(minutes=15),
            outcome=CommandOutcome.UNKNOWN,
            detail="no result within 30 s",
            handle="stack=2",
        ),
        OcpiRegistration(
            id="csms-1",
            tenant=tenant,
            version="2.2.1",
            inbound_sha256="0" * 64,
            outbound_sealed="gAAAA",
            country_code="NL",
            party_id="CPO",
            endpoints=(("chargingprofiles", "RECEIVER", "https://cpo.example/ocpi/2.2.1/chargingprofiles"),),
            registered_at=t0,
        ),
    ]
