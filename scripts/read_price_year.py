"""Reads an A44 document of a year with the gateway's strict reader, in a process of its own; see `scripts.benches.prices`.

`python -m scripts.read_price_year DOCUMENT ANSWER REPEATS AREA`: CPU seconds, values and largest memory go into ANSWER as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

from gateway.market_data.entsoe_document import PriceDocument, read_publication

YEAR = timedelta(days=367)
"""Longest document that is read."""


def largest_mb() -> float:
    """Return the most memory this process has held; what `getrusage` says would include the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def main(document: Path, answer: Path, repeats: int, area: str) -> None:
    """Read a document several times and write what came of it."""
    body, spent = document.read_bytes(), []
    read: PriceDocument | None = None
    for _ in range(repeats):
        started = time.process_time()
        read = read_publication(body, area=area, max_span=YEAR)
        spent.append(time.process_time() - started)
    series = () if read is None else read.series
    prices = [price for one in series for period in one.periods for price in period.prices_per_mwh if price is not None]
    content = {
        "cpu_s": statistics.median(spent),
        "count": len(prices),
        "sum": float(sum(prices)),
        "peak_mb": largest_mb(),
    }
    answer.write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
