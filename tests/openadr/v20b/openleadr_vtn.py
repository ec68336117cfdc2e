"""openleadr's VTN as a program: it asks one VEN for reports of every kind and writes what it understood of them, a JSON line each.

Started with the file that gets its port once it listens. Its first poll answer asks for everything that the VEN has offered.
"""

import asyncio
import json
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from openleadr import OpenADRServer

VEN_ID, REGISTRATION_ID = "ven-reports", "reg-reports"
MINUTE = timedelta(minutes=1)
NOTHING = timedelta(0)
START = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)


class Vtn:
    """Remembers what was offered and asks for it once."""

    def __init__(self) -> None:
        self.server = OpenADRServer(vtn_id="VTN-REPORTS", requested_poll_freq=timedelta(seconds=10))
        self.server.add_handler("on_create_party_registration", self._register)
        self.server.add_handler("on_register_report", self._offered)
        self.server.add_handler("on_update_report", self._take)
        self.server.add_handler("on_poll", self._next)
        self._offers: list[dict[str, Any]] = []
        self._has_asked = False

    async def _register(self, registration: dict[str, Any]) -> tuple[str, str]:
        return VEN_ID, REGISTRATION_ID

    async def _offered(self, report: dict[str, Any]) -> None:
        self._offers.append(report)
        points = {one["r_id"]: one["reading_type"] for one in report["report_descriptions"]}
        tell({"offered": report["report_name"], "points": points})

    async def _next(self, ven_id: str) -> tuple[str, dict[str, Any]] | None:
        if self._has_asked or not self._offers:
            return None
        self._has_asked = True
        requests = [
            request("usage", "telemetry-usage", MINUTE, 2 * MINUTE, ("depot-power", "depot-energy")),
            request("status", "telemetry-status", NOTHING, NOTHING, ("depot-status",)),
            request("statuses", "telemetry-status", MINUTE, MINUTE, ("depot-status",)),
            request("history", "history-usage", NOTHING, NOTHING, ("depot-power",), START - 30 * MINUTE),
            request("unknown", "telemetry-usage", MINUTE, MINUTE, ("nothing",)),
        ]
        return "oadrCreateReport", {"request_id": "create-1", "report_requests": requests, "ven_id": ven_id}

    async def _take(self, report: dict[str, Any]) -> None:
        tell({"report": report["report_request_id"], "name": report["report_name"], "intervals": report["intervals"]})


def request(  # what a request says
    request_id: str,
    specifier: str,
    granularity: timedelta,
    report_back: timedelta,
    r_ids: tuple[str, ...],
    start: datetime | None = None,
) -> dict[str, Any]:
    return {
        "report_request_id": request_id,
        "report_specifier": {
            "report_specifier_id": specifier,
            "granularity": granularity,
            "report_back_duration": report_back,
            "report_interval": None if start is None else {"dtstart": start, "duration": 30 * MINUTE},
            "specifier_payloads": [{"r_id": r_id, "reading_type": "Mean"} for r_id in r_ids],
        },
    }


def tell(what: dict[str, Any]) -> None:
    print(json.dumps(what, default=str), flush=True)


async def main(ready: Path) -> None:
    vtn = Vtn()
    runner = web.AppRunner(vtn.server.app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    draft = ready.with_suffix(".draft")
    draft.write_text(str(runner.addresses[0][1]), encoding="utf-8")
    draft.rename(ready)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
