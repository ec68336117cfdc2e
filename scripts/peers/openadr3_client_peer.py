"""Lets ElaadNL's openadr3-client (Apache-2.0) publish a Grid Aware Charging programme as business logic, and judge a VEN's objects.

`SCRIPT publish ORDER.json ANSWER.json` creates the programme and an event of 96 limits; `SCRIPT judge ORDER.json ANSWER.json` reads
what the VEN made known and reported with the client's own models and the rules of its GAC 2.2 plug-in. Errors are answers, too.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the VTN is on loopback without TLS

import pydantic
from openadr3_client.bl.http_factory import (  # type: ignore[import-not-found]  # only in the peer's own environment
    BusinessLogicHttpClientFactory,
)
from openadr3_client.oadr310.models.event.event import NewEvent  # type: ignore[import-not-found]
from openadr3_client.oadr310.models.program.program import NewProgram  # type: ignore[import-not-found]
from openadr3_client.plugin import ValidatorPluginRegistry  # type: ignore[import-not-found]
from openadr3_client.version import OADRVersion  # type: ignore[import-not-found]
from openadr3_client_gac_compliance.gac22.plugin import Gac22ValidatorPlugin  # type: ignore[import-not-found]

PACKAGES = ("openadr3-client", "openadr3-client-gac-compliance")
STEP = timedelta(minutes=15)
LIMIT = "IMPORT_CAPACITY_LIMIT"


def business_logic(order: dict[str, Any]) -> Any:  # noqa: ANN401  # the client has no types outside its own environment
    """Return the client as business logic of the VTN; it finds the token endpoint itself."""
    return BusinessLogicHttpClientFactory.create_http_bl_client(
        vtn_base_url=order["vtn_url"],
        client_id="bl",
        client_secret=order["secret"],
        scopes=["read_all", "write_programs", "write_events"],
        allow_insecure_http=True,
        version=OADRVersion.OADR_310,
    )


def publish(order: dict[str, Any]) -> dict[str, Any]:
    """Create the programme and its event."""
    client = business_logic(order)
    attributes = [
        {"type": "PROGRAM_TYPE", "values": ["DSO_CPO_INTERFACE-2.2.0"]},
        {"type": "RETAILER_NAME", "values": ["Peer DSO"]},
        {"type": "BINDING_EVENTS", "values": [True]},
    ]
    program = client.programs.create_program(
        NewProgram.model_validate({"programName": "peer-gac", "attributes": attributes})
    )
    intervals = [
        {"id": number, "payloads": [{"type": LIMIT, "values": [float(value)]}]}
        for number, value in enumerate(order["limits_kw"])
    ]
    event = client.events.create_event(
        NewEvent.model_validate(
            {
                "programID": program.id,
                "targets": order["targets"],
                "payloadDescriptors": [{"payloadType": LIMIT, "units": "KW"}],
                "intervalPeriod": {"start": datetime.fromisoformat(order["start"]), "duration": STEP},
                "intervals": intervals,
            }
        )
    )
    return {"program": program.id, "event": event.id}


def judge(order: dict[str, Any]) -> dict[str, Any]:
    """Read the VEN's objects; a model or rule that they break is a problem."""
    client = business_logic(order)
    problems: list[str] = []
    names: list[str] = []
    reads: dict[str, Any] = {
        "vens": lambda: client.vens.get_vens(ven_name=None, target=None, pagination=None),
        "events": lambda: client.events.get_events(target=None, pagination=None, program_id=None),
        "programs": lambda: client.programs.get_programs(target=None, pagination=None),
    }
    for kind, read in reads.items():
        try:
            names += [f"{kind}:{each.name or each.id}" for each in read()]
        except (pydantic.ValidationError, ValueError) as error:
            problems.append(f"{kind}: {error}")
    return {"objects": names, "problems": problems}


def main(what: str, order_file: Path, answer_file: Path) -> None:
    """Do what the order says and write the answer."""
    ValidatorPluginRegistry.register_plugin(Gac22ValidatorPlugin().setup())
    answer = {"publish": publish, "judge": judge}[what](json.loads(order_file.read_text()))
    answer["versions"] = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    answer_file.write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
