"""Lets pyoscp (MIT) be a capacity provider: it answers Register, Handshake and Heartbeat with its own code, and states forecasts.

`SCRIPT ORDER.json`; the order says the port, the one-time tokens, where to register by itself, and the file to answer into. The
program prints nothing and runs until it is killed. `POST /say {"token": ..., "forecast": {...}}` lets it send a forecast, written by
its own models, to the partner that shows it the token; `GET /seen` tells what it knows of its partners and what they sent.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import requests  # type: ignore[import-untyped]  # only in the peer's own environment
from flask import Flask, request  # type: ignore[import-not-found]  # only in the peer's own environment
from flask_restx import marshal  # type: ignore[import-not-found]
from oscp import createBlueprint  # type: ignore[import-not-found]
from oscp.json_models import GroupCapacityForecast  # type: ignore[import-not-found]
from oscp.RegistrationManager import (  # type: ignore[import-not-found]
    RegistrationDictMan,
    RegistrationMan,
    createOscpHeader,
    lock,
)

PATIENCE_S = 10.0
LOOK_S = 1
"""Seconds between two looks of pyoscp at what is due; 5 by default."""


class Manager(RegistrationDictMan):  # type: ignore[misc]  # pyoscp has no types
    """pyoscp's own, looking more often."""

    def __init__(self, version_urls: list[dict[str, str]], filename: str) -> None:
        self.filename = filename
        self.writeJson({})
        RegistrationMan.__init__(self, version_urls, background_interval=LOOK_S)


class Seen:
    """What the provider's handlers are given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def handleAdjustGroupCapacityForecast(self, payload: Any, token: str) -> None:  # noqa: N802, ANN401  # pyoscp's name
        """Note a wish for more capacity."""
        self._note("adjust_group_capacity_forecast", payload, token)

    def handleGroupCapacityComplianceError(self, payload: Any, token: str) -> None:  # noqa: N802, ANN401  # pyoscp's name
        """Note that a limit cannot be kept."""
        self._note("group_capacity_compliance_error", payload, token)

    def handleUpdateGroupMeasurements(self, payload: Any, token: str) -> None:  # noqa: N802, ANN401  # pyoscp's name
        """Note measurements."""
        self._note("update_group_measurements", payload, token)

    def _note(self, name: str, payload: Any, token: str) -> None:  # noqa: ANN401  # JSON
        self.messages.append({"message": name, "body": payload, "token": token})


def forecast_body(script: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
    """Return a forecast as pyoscp's own model writes it."""
    blocks = [
        {
            **block,
            "start_time": datetime.fromisoformat(block["start_time"]),
            "end_time": datetime.fromisoformat(block["end_time"]),
        }
        for block in script["forecasted_blocks"]
    ]
    return marshal({**script, "forecasted_blocks": blocks}, GroupCapacityForecast)


def main(order_file: str) -> None:
    """Serve until killed."""
    order = json.loads(Path(order_file).read_text())
    base_url = f"http://127.0.0.1:{order['port']}/oscp/cp/2.0"
    manager = Manager([{"version": "2.0", "base_url": base_url}], order["endpoints"])
    for token in order["tokens"]:
        manager._updateService(token)
    endpoints = manager.readJson()
    for begun in order["begins"]:
        endpoints[begun["own_token"]] = {
            "register": {"token": begun["token"], "base_url": begun["base_url"]},
            "should_register": True,
        }
    manager.writeJson(endpoints)
    seen = Seen()
    app = Flask("pyoscp-peer")
    app.register_blueprint(createBlueprint({"registrationmanager": manager, "capacityprovider": seen}, "cp"))

    def say() -> Any:  # noqa: ANN401  # Flask's answers
        script = request.get_json()
        url, token = manager.getURL(script["token"])
        answer = requests.post(
            f"{url}/update_group_capacity_forecast",
            headers=createOscpHeader(token),
            json=forecast_body(script["forecast"]),
            timeout=PATIENCE_S,
        )
        return {"status": answer.status_code}

    def tell() -> Any:  # noqa: ANN401  # Flask's answers
        with lock:  # pyoscp rewrites the file in place
            endpoints = manager.readJson()
        return {"endpoints": endpoints, "messages": seen.messages}

    def version() -> Any:  # noqa: ANN401  # Flask's answers
        return {"pyoscp": importlib.metadata.version("pyoscp")}

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    app.add_url_rule("/say", view_func=say, methods=["POST"])
    app.add_url_rule("/seen", view_func=tell)
    app.add_url_rule("/version", view_func=version)
    manager.start()
    app.run(host="127.0.0.1", port=order["port"], threaded=True)


if __name__ == "__main__":
    main(sys.argv[1])
