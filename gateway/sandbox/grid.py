"""The sandbox utility: an OpenADR 2.0b VTN that calls demand-response events by the market's clock and asks for usage reports.

```
python -m gateway.sandbox.grid --clock FILE --ready FILE --day 2025-10-15 --target vpp-be --event-kw 1500
```

Without `--events` it calls one event: the evening peak of the day, 17:30 to 18:45 local, told at 14:00. `--event-kw` limits to so
many kW, `--event-fraction` to a share of the rating, `--event-level` is a SIMPLE level; `--no-event` calls none. `--events FILE`
is a JSON list of events with the fields of the control door and `publish_at`. Everything is on loopback.
"""

import argparse
import asyncio
import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.sandbox.clock import SandboxClock
from gateway.sandbox.grid_control import ControlDoor
from gateway.sandbox.grid_events import DrEvent, default_event, parse_event
from gateway.sandbox.grid_vtn import PATH, UtilityVtn, VtnOptions, check_unique
from gateway.sandbox.program import log_to_stderr, serve_until_stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class GridOptions:
    """What the utility is and what it will call."""

    vtn: VtnOptions
    events: tuple[DrEvent, ...]
    market_context: str


def read_events(path: Path) -> tuple[DrEvent, ...]:
    """Return the events of a script file.

    Raises:
        InvalidInput: Not a JSON list, or an event in it is wrong; its field is named.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("events", f"{path.name} cannot be read as JSON") from error
    if not isinstance(document, list):
        raise InvalidInput("events", "must be a JSON list")
    events = tuple(parse_event(each) for each in document)
    check_unique(events)
    return events


def ready_document(options: GridOptions, root: str) -> dict[str, object]:
    """Return what the ready file says: where the VTN and its control door are and who may register."""
    return {
        "url": root,
        "vtn_url": f"{root}{PATH}",
        "control_url": f"{root}/control",
        "vtn_id": options.vtn.vtn_id,
        "ven_names": list(options.vtn.ven_names),
        "market_context": options.market_context,
    }


async def serve(options: GridOptions, *, clock_path: Path | None, ready_path: Path | None, port: int) -> None:
    """Serve until the process is told to stop."""
    clock = SandboxClock(clock_path)
    vtn = UtilityVtn(options.vtn, clock)
    vtn.server.app.add_routes(ControlDoor(vtn, clock).routes())
    for event in options.events:
        vtn.publish(event)
    ready = functools.partial(ready_document, options)
    await serve_until_stopped(vtn.server.app, "grid", port=port, ready_path=ready_path, ready_document=ready)


def _events_of(options: argparse.Namespace) -> tuple[DrEvent, ...]:
    if options.events is not None:
        return read_events(options.events)
    if options.no_event:
        return ()
    signal, value = "LOAD_DISPATCH/setpoint", options.event_kw
    if options.event_fraction is not None:
        signal, value = "LOAD_CONTROL/x-loadControlCapacity", options.event_fraction
    if options.event_level is not None:
        signal, value = "SIMPLE/level", options.event_level
    event = default_event(
        options.day,
        options.zone,
        target=options.target,
        value=float(value),
        signal=signal,
        market_context=options.market_context,
    )
    return (event,)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox.grid", description="The sandbox utility.")
    parser.add_argument("--clock", type=Path, help="clock file; real time without one")
    parser.add_argument("--ready", type=Path, help="file to write when it listens")
    parser.add_argument(
        "--seed", type=int, default=1, help="accepted like by every sandbox program; nothing here is drawn"
    )
    parser.add_argument("--port", type=int, default=0, help="port on loopback; any free one by default")
    parser.add_argument("--day", type=date.fromisoformat, default=date(2025, 10, 15), help="delivery day of the event")
    parser.add_argument("--zone", default="Europe/Brussels", help="time zone of the delivery day")
    parser.add_argument("--target", default="vpp-be", help="resource id that the event names")
    parser.add_argument("--event-kw", type=float, default=1500.0, help="import limit of the event in kW")
    parser.add_argument("--event-fraction", type=float, help="instead: share of the rating, 0 to 1")
    parser.add_argument("--event-level", type=int, help="instead: SIMPLE level, 0 to 3")
    parser.add_argument("--no-event", action="store_true", help="call no event but those of the control door")
    parser.add_argument("--events", type=Path, help="JSON list of events to call instead of the one above")
    parser.add_argument("--vtn-id", default=VtnOptions().vtn_id)
    parser.add_argument("--ven-name", action="append", help="VEN that may register; may be given several times")
    parser.add_argument("--market-context", default="http://grid-demo.example/dr")
    parser.add_argument(
        "--poll-seconds", type=float, default=VtnOptions().poll_seconds, help="real seconds between polls"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program with its command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    log_to_stderr()
    logging.getLogger("openleadr").setLevel(logging.WARNING)
    names = tuple(options.ven_name) if options.ven_name else VtnOptions().ven_names
    try:
        grid = GridOptions(
            vtn=VtnOptions(vtn_id=options.vtn_id, ven_names=names, poll_seconds=options.poll_seconds),
            events=_events_of(options),
            market_context=options.market_context,
        )
    except InvalidInput as error:
        parser.error(str(error))
    asyncio.run(serve(grid, clock_path=options.clock, ready_path=options.ready, port=options.port))


if __name__ == "__main__":
    main()
