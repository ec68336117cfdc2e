"""A small HTTP door on loopback to look into the fleet and to make chargers misbehave; for the demo and for tests.

`GET /state` says what the fleet does now. `POST /fault` takes `{"mode": "not-following" | "rejecting" | "obeying"}` with either
`"charger_ids": [...]` or `"count": n` (the n that draw most) and answers with the ids that were set.
"""

from collections.abc import Callable

import numpy as np
from aiohttp import web

from gateway.domain.errors import InvalidInput
from gateway.sandbox.fleet_bank import Obedience
from gateway.sandbox.fleet_link import DispatchLink
from gateway.sandbox.fleet_reports import SessionReporter, TelemetryReporter
from gateway.sandbox.fleet_simulation import FleetSimulation
from gateway.sandbox.fleet_statistics import Ints
from gateway.sandbox.fleet_wire import iso

MODES = {
    "not-following": Obedience.NOT_FOLLOWING,
    "rejecting": Obedience.REJECTING,
    "obeying": Obedience.OBEYS,
}


def inspection_app(
    simulation: FleetSimulation, link: DispatchLink, sessions: SessionReporter, telemetry: TelemetryReporter
) -> web.Application:
    """Return the door to a running fleet."""

    async def get_state(_request: web.Request) -> web.Response:
        return web.json_response(_state(simulation) | _connection(link, sessions, telemetry))

    async def post_fault(request: web.Request) -> web.Response:
        try:
            index, obedience = _parse_fault(await request.json(), simulation)
        except InvalidInput as error:
            return web.json_response({"field": error.field, "problem": error.problem}, status=400)
        except ValueError:
            return web.json_response({"field": "body", "problem": "must be JSON"}, status=400)
        simulation.set_obedience(index, obedience)
        return web.json_response({"charger_ids": _ids(simulation, index)})

    app = web.Application(client_max_size=1_000_000)
    app.add_routes([web.get("/state", get_state), web.post("/fault", post_fault)])
    return app


def _state(simulation: FleetSimulation) -> dict[str, object]:
    bank, score = simulation.bank, simulation.score
    site_kw = simulation.site_power_kw()
    return {
        "market_time": iso(simulation.time_s),
        "charger_count": len(simulation.chargers),
        "plugged_in_count": int(bank.occupied.sum()),
        "charging_count": int((bank.power_kw > 0.0).sum()),
        "power_kw": round(sum(site_kw.values()), 3),
        "site_power_kw": site_kw,
        "ended_count": score.ended_count,
        "dropped_count": simulation.dropped_count,
        "delivered_kwh": round(score.delivered_kwh + float(bank.delivered_kwh[bank.occupied].sum()), 3),
        "missed_departure_count": score.missed_count,
        "missed_early_count": score.missed_early_count,
        "missed_kwh": round(score.missed_kwh, 3),
        "missed_session_ids": list(simulation.missed_ids),
        "not_following": _ids(simulation, _who(bank.obedience, Obedience.NOT_FOLLOWING)),
        "rejecting": _ids(simulation, _who(bank.obedience, Obedience.REJECTING)),
    }


def _connection(link: DispatchLink, sessions: SessionReporter, telemetry: TelemetryReporter) -> dict[str, object]:
    return {
        "is_connected": link.is_connected,
        "last_sequence": link.last_sequence,
        "history_count": sessions.history_count,
        "waiting_session_count": sessions.waiting_count,
        "waiting_telemetry_count": telemetry.waiting_count,
    }


def _parse_fault(body: object, simulation: FleetSimulation) -> tuple[Ints, Obedience]:
    """Return which chargers are meant and what they shall do.

    Raises:
        InvalidInput: A field is wrong; it is named and nothing is set.
    """
    if not isinstance(body, dict):
        raise InvalidInput("body", "must be a JSON object")
    mode = body.get("mode")
    if not isinstance(mode, str) or mode not in MODES:
        raise InvalidInput("mode", f"must be one of {', '.join(MODES)}")
    if ("charger_ids" in body) == ("count" in body):
        raise InvalidInput("charger_ids", "needs either charger_ids or count")
    choose: Callable[[object, FleetSimulation], Ints] = _named if "charger_ids" in body else _drawing_most
    return choose(body["charger_ids"] if "charger_ids" in body else body["count"], simulation), MODES[mode]


def _named(ids: object, simulation: FleetSimulation) -> Ints:
    place = {charger.id: index for index, charger in enumerate(simulation.chargers)}
    if not isinstance(ids, list) or not ids:
        raise InvalidInput("charger_ids", "must be a list of ids")
    for number, charger_id in enumerate(ids):
        if not isinstance(charger_id, str) or charger_id not in place:
            raise InvalidInput(f"charger_ids[{number}]", "is not a charger of this platform")
    return np.array([place[charger_id] for charger_id in ids], dtype=np.int64)


def _drawing_most(count: object, simulation: FleetSimulation) -> Ints:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(simulation.chargers):
        raise InvalidInput("count", f"must be a whole number from 1 to {len(simulation.chargers)}")
    return np.asarray(np.argsort(-simulation.bank.power_kw, kind="stable")[:count], dtype=np.int64)


def _who(obedience: np.ndarray[tuple[int], np.dtype[np.int8]], wanted: Obedience) -> Ints:
    return np.asarray(np.flatnonzero(obedience == wanted), dtype=np.int64)


def _ids(simulation: FleetSimulation, index: Ints) -> list[str]:
    return [simulation.chargers[place].id for place in index.tolist()]
