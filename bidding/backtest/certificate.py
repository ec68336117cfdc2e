"""The deliverability certificate of a bid: in which scenarios it can be delivered exactly, and anybody can recompute it.

For every scenario of prices and sessions the bid is cleared at the prices and its award is delivered by the sessions as well
as they can (`flow`, exact). A certificate is plain data: SHA-256 of all inputs, the scenarios, the share of them in which no
period misses or exceeds its award, and the worst period of all.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np

from bidding.backtest.certificate_case import (
    BidScenario,
    CertificateCase,
    bid_document,
    case_document,
    scenario_document,
)
from bidding.backtest.flow import deliver
from bidding.backtest.market_outcome import clear_bid
from gateway.domain.errors import InvalidInput
from gateway.domain.evidence import content_hash

METHOD = "exact maximum flow over sessions, version 1"
EXACT_SHARE = 1e-3
"""Deviations up to this share of the award in sum count as exactly delivered: flows count whole watt-hours."""
MISMATCH = 1e-6
"""Recomputed numbers may differ by so much, in their unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenarioFinding:
    """What one scenario came to."""

    name: str
    sha256: str
    """Of the scenario."""
    award_kwh: float
    missing_kwh: float
    """Bought and not deliverable."""
    excess_kwh: float
    """Not bought and not avoidable."""
    worst_period: int
    """Delivery period with the largest deviation."""
    worst_deviation_kwh: float
    """There: drawn minus bought."""
    is_deliverable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Certificate:
    """What a bid promises and how often the promise can be kept."""

    method: str
    bid_sha256: str
    case_sha256: str
    """Of everything the certificate depends on."""
    seed: int
    scenario_count: int
    deliverable_share: float
    """Share of scenarios in which the award can be delivered exactly."""
    energy_share: float
    """Share of the awarded energy that can be delivered, over all scenarios."""
    worst_scenario: str
    worst_period: int
    worst_period_start: str
    """ISO 8601, UTC."""
    worst_deviation_kwh: float
    findings: tuple[ScenarioFinding, ...]


def certify(case: CertificateCase) -> Certificate:
    """Return the certificate of a bid.

    Raises:
        InvalidInput: There is no scenario, or one does not fit the horizon.
    """
    if not case.scenarios:
        raise InvalidInput("scenarios", "must not be empty")
    findings = tuple(_finding(case, scenario) for scenario in case.scenarios)
    worst = max(findings, key=lambda one: abs(one.worst_deviation_kwh))
    bought = sum(one.award_kwh for one in findings)
    missing = sum(one.missing_kwh for one in findings)
    return Certificate(
        method=METHOD,
        bid_sha256=content_hash(bid_document(case.bid)),
        case_sha256=content_hash(case_document(case)),
        seed=case.seed,
        scenario_count=len(findings),
        deliverable_share=sum(one.is_deliverable for one in findings) / len(findings),
        energy_share=1.0 - missing / bought if bought > 0.0 else 1.0,
        worst_scenario=worst.name,
        worst_period=worst.worst_period,
        worst_period_start=case.periods.slot_start(worst.worst_period).isoformat(),
        worst_deviation_kwh=worst.worst_deviation_kwh,
        findings=findings,
    )


def verify_certificate(certificate: Certificate, case: CertificateCase) -> tuple[str, ...]:
    """Recompute a certificate and return every difference in words; empty when it holds."""
    if certificate.method != METHOD:
        return (f"method: {certificate.method!r} is not {METHOD!r}",)
    again = certify(case)
    found = [
        f"{one.name}: {getattr(certificate, one.name)!r} was stated, {getattr(again, one.name)!r} was recomputed"
        for one in fields(Certificate)
        if one.name != "findings" and _differ(getattr(certificate, one.name), getattr(again, one.name))
    ]
    for stated, recomputed in zip(certificate.findings, again.findings, strict=False):
        values = (
            (one.name, getattr(stated, one.name), getattr(recomputed, one.name)) for one in fields(ScenarioFinding)
        )
        found += [
            f"{stated.name}.{name}: {a!r} was stated, {b!r} was recomputed" for name, a, b in values if _differ(a, b)
        ]
    if len(certificate.findings) != len(again.findings):
        found.append(f"findings: {len(certificate.findings)} were stated, {len(again.findings)} were recomputed")
    return tuple(found)


def _differ(stated: object, recomputed: object) -> bool:
    if isinstance(stated, float) and isinstance(recomputed, float):
        return not abs(stated - recomputed) <= MISMATCH
    return stated != recomputed


def _finding(case: CertificateCase, scenario: BidScenario) -> ScenarioFinding:
    award = clear_bid(case.bid, scenario.price_eur_per_mwh, case.periods.step_hours)
    price = np.repeat(scenario.price_eur_per_mwh, case.slots_per_period)
    found = deliver(scenario.sessions, case.slot_count, award, case.slots_per_period, price)
    off = found.excess_kwh - found.missing_kwh
    worst = int(np.argmax(np.abs(off)))
    return ScenarioFinding(
        name=scenario.name,
        sha256=content_hash(scenario_document(scenario)),
        award_kwh=float(award.sum()),
        missing_kwh=float(found.missing_kwh.sum()),
        excess_kwh=float(found.excess_kwh.sum()),
        worst_period=worst,
        worst_deviation_kwh=float(off[worst]),
        is_deliverable=found.deviation_kwh <= EXACT_SHARE * max(float(award.sum()), 1.0),
    )


# ---------------------------------------------------------------- as plain data


def certificate_document(certificate: Certificate) -> dict[str, object]:
    """Return a certificate as plain data for JSON."""
    return {**asdict(certificate), "findings": [asdict(one) for one in certificate.findings]}


def parse_certificate(document: Mapping[str, object]) -> Certificate:
    """Return the certificate of plain data.

    Raises:
        InvalidInput: A field is missing or unknown.
    """
    try:
        rows = document["findings"]
        if not isinstance(rows, list):
            raise InvalidInput("certificate.findings", "must be a list")
        rest = {name: value for name, value in document.items() if name != "findings"}
        return Certificate(**rest, findings=tuple(ScenarioFinding(**row) for row in rows))  # type: ignore[arg-type]  # checked by recomputing
    except (KeyError, TypeError) as error:
        raise InvalidInput("certificate", f"is not one: {error}") from error
