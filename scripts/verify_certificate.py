"""Recomputes a deliverability certificate from its file. Usage: python -m scripts.verify_certificate FILE.

The file is JSON, compressed when it ends in `.gz`, with `certificate` and `case`, as `scripts/bench bids` saves it.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

from bidding.backtest.certificate import parse_certificate, verify_certificate
from bidding.backtest.certificate_case import parse_case
from gateway.domain.errors import InvalidInput


def main(arguments: list[str]) -> int:
    """Print what the certificate says and whether it holds; return 0 when it does, 1 when not, 2 when it is none."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    try:
        content = Path(arguments[0]).read_bytes()
        text = gzip.decompress(content) if arguments[0].endswith(".gz") else content
        document = json.loads(text)
        certificate, case = parse_certificate(document["certificate"]), parse_case(document["case"])
        differences = verify_certificate(certificate, case)
    except (OSError, ValueError, KeyError, TypeError, InvalidInput) as error:
        print(f"not a certificate file: {error}")
        return 2
    print(f"bid {certificate.bid_sha256[:16]}, {certificate.scenario_count} scenarios, seed {certificate.seed}")
    print(
        f"deliverable exactly in {certificate.deliverable_share:.0%} of them, {certificate.energy_share:.1%} of the energy"
    )
    worst = f"{certificate.worst_deviation_kwh:+.1f} kWh in {certificate.worst_scenario}"
    print(f"worst period {certificate.worst_period_start}: {worst}")
    print("\n".join(differences) if differences else "holds: every number was recomputed")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
