"""Lets entsoe-py (MIT) read an A44 document with its pandas parser: CPU seconds, values and memory, in its own environment."""

from __future__ import annotations

import importlib.metadata
import json
import statistics
import sys
import time
from pathlib import Path

from entsoe.parsers import parse_prices  # type: ignore[import-not-found]  # only in the peer's own environment

QUARTER_HOURS = "15min"


def largest_mb() -> float:
    """Return the most memory this process has held; what `getrusage` says would include the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024.0


def main() -> None:
    """Read the file named first `repeats` times and write what came of it into the file named second."""
    document, answer, repeats = Path(sys.argv[1]).read_text(), Path(sys.argv[2]), int(sys.argv[3])
    spent, prices = [], parse_prices(document)[QUARTER_HOURS]
    for _ in range(repeats):
        started = time.process_time()
        prices = parse_prices(document)[QUARTER_HOURS]
        spent.append(time.process_time() - started)
    content = {
        "cpu_s": statistics.median(spent),
        "count": len(prices),
        "sum": round(float(prices.sum()), 2),
        "peak_mb": largest_mb(),
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("entsoe-py", "pandas")),
    }
    answer.write_text(json.dumps(content))


main()
