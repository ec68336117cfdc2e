"""The REST door of steering boxes: JSON with a bearer token, the same words and rules as `SteeringService`.

```
POST /api/steering/boxes/{box}/heartbeat
PUT  /api/steering/boxes/{box}/limits/{consumption|production}      {"request_id", "is_active", "power_kw", "duration_s"}
PUT  /api/steering/boxes/{box}/failsafe/{consumption|production}    {"request_id", "failsafe_power_kw", "failsafe_duration_s"}
PUT  /api/steering/boxes/{box}/relays                               {"request_id", "is_dim_closed", "is_off_closed"}
GET  /api/steering/boxes   /api/steering/boxes/{box}   .../orders   .../orders.csv   /api/steering/openapi.json
```

An answer of 2xx says that it is on disk. Errors are problem+json (RFC 9457) and name the field.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, Security
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from gateway.domain.errors import InvalidInput, Unauthenticated
from gateway.domain.evidence import LONGEST_REQUEST_ID
from gateway.domain.identity import Principal
from gateway.domain.limits import Direction
from gateway.domain.section_14a import Relays
from gateway.domain.steering import LONGEST_FAILSAFE, LONGEST_LIMIT, LimitWrite, most_of, signed_kw, signed_or_none
from gateway.domain.steering_orders import ExecutionProof, SteeringOrder, proof_csv
from gateway.domain.timegrid import require_utc
from gateway.services.steer_power import BoxView, LimitationView
from gateway.web.rooms import Login, Rooms, WebRooms, rooms_of

router = APIRouter(prefix="/api/steering")
page_router = APIRouter()
_MOST_KW = 1e9
_SCHEME = Security(
    HTTPBearer(auto_error=False, description="Token of the box's account, with the role `steering-box`.")
)


class Limited(StrEnum):
    """What is limited, as addresses say it."""

    CONSUMPTION = "consumption"
    PRODUCTION = "production"

    @property
    def direction(self) -> Direction:
        """Direction of the power."""
        return Direction.IMPORT if self is Limited.CONSUMPTION else Direction.EXPORT


RequestId = Annotated[str, Field(min_length=1, max_length=LONGEST_REQUEST_ID)]
Power = Annotated[float, Field(ge=-_MOST_KW, le=_MOST_KW, allow_inf_nan=False)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    request_id: RequestId
    """Idempotency key."""


class LimitBody(_Body):
    """A limit, or that there is none."""

    is_active: StrictBool
    power_kw: Power | None = None
    """Required when active; at least 0 for consumption, at most 0 for production."""
    duration_s: float | None = Field(default=None, ge=0, le=LONGEST_LIMIT.total_seconds(), allow_inf_nan=False)
    """Left out, it holds until it is taken back."""


class FailsafeBody(_Body):
    """Failsafe values; one that is left out stays."""

    failsafe_power_kw: Power | None = None
    failsafe_duration_s: float | None = Field(
        default=None, ge=0, le=LONGEST_FAILSAFE.total_seconds(), allow_inf_nan=False
    )


class RelaysBody(_Body):
    """Two contacts, true when closed."""

    is_dim_closed: StrictBool
    is_off_closed: StrictBool


async def bearer_of(request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, _SCHEME]) -> Principal:
    """Return the program that the bearer token of a request proves.

    Raises:
        Unauthenticated: There is no token, or nobody has it.
    """
    if shown is None or not shown.credentials:
        raise Unauthenticated("send the header `Authorization: Bearer <token>`")
    return await rooms_of(request).admission.by_token(shown.credentials)


Bearer = Annotated[Principal, Depends(bearer_of)]


@router.get("/openapi.json", include_in_schema=False)
async def openapi() -> dict[str, Any]:
    """Return the description of this door."""
    return get_openapi(
        title="Voltbridge steering boxes",
        version="1",
        description="EEBUS LPC and LPP, paragraph 14a EnWG and relays over plain JSON; a 2xx says that it is on disk.",
        routes=router.routes,
    )


@router.post("/boxes/{box}/heartbeat")
async def heartbeat(rooms: Rooms, caller: Bearer, box: str) -> dict[str, Any]:
    """Take a sign of life."""
    return box_json(await rooms.steering.heartbeat(caller, box))


@router.put("/boxes/{box}/limits/{limited}")
async def write_limit(rooms: Rooms, caller: Bearer, box: str, limited: Limited, body: LimitBody) -> dict[str, Any]:
    """Take a limit, or that there is none."""
    power_kw = 0.0
    if body.is_active:
        if body.power_kw is None:
            raise InvalidInput("power_kw", "is required; say 0 if you mean zero")
        power_kw = most_of("power_kw", body.power_kw, limited.direction)
    duration = None if body.duration_s is None else timedelta(seconds=body.duration_s)
    order = await rooms.steering.write_limit(
        caller,
        box,
        direction=limited.direction,
        word=LimitWrite(max_kw=power_kw, is_active=body.is_active, duration=duration),
        request_id=body.request_id,
    )
    return order_json(order, None)


@router.put("/boxes/{box}/failsafe/{limited}")
async def write_failsafe(
    rooms: Rooms, caller: Bearer, box: str, limited: Limited, body: FailsafeBody
) -> dict[str, Any]:
    """Take other failsafe values."""
    given_kw, seconds = body.failsafe_power_kw, body.failsafe_duration_s
    view = await rooms.steering.write_failsafe(
        caller,
        box,
        direction=limited.direction,
        max_kw=None if given_kw is None else most_of("failsafe_power_kw", given_kw, limited.direction),
        duration=None if seconds is None else timedelta(seconds=seconds),
        request_id=body.request_id,
    )
    return box_json(view)


@router.put("/boxes/{box}/relays")
async def set_relays(rooms: Rooms, caller: Bearer, box: str, body: RelaysBody) -> dict[str, Any]:
    """Take how two contacts are, which is a sign of life too."""
    relays = Relays(dim=body.is_dim_closed, off=body.is_off_closed)
    order = await rooms.steering.set_relays(caller, box, relays=relays, request_id=body.request_id)
    return order_json(order, None)


@router.get("/boxes")
async def boxes(rooms: Rooms, caller: Bearer) -> dict[str, Any]:
    """List the boxes that the caller may see."""
    return {"boxes": [box_json(view) for view in rooms.steering.states(caller)]}


@router.get("/boxes/{box}")
async def one_box(rooms: Rooms, caller: Bearer, box: str) -> dict[str, Any]:
    """Tell how a box stands."""
    return box_json(rooms.steering.state(caller, box))


@router.get("/boxes/{box}/orders")
async def orders(
    rooms: Rooms, caller: Bearer, box: str, since: datetime | None = None, until: datetime | None = None
) -> dict[str, Any]:
    """List the orders of a box with the proof of their execution."""
    found = await rooms.steering.orders(caller, box, since=_utc("since", since), until=_utc("until", until))
    return {"orders": [order_json(order, proof) for order, proof in found]}


@router.get("/boxes/{box}/orders.csv")
async def orders_csv(
    rooms: Rooms, caller: Bearer, box: str, since: datetime | None = None, until: datetime | None = None
) -> Response:
    """Export the orders of a box with the proof of their execution."""
    return await _exported(rooms, caller, box, since, until)


@page_router.get("/utility/steering/{box}/orders.csv")
async def orders_csv_for_people(
    rooms: Rooms, session: Login, box: str, since: datetime | None = None, until: datetime | None = None
) -> Response:
    """Export the same to somebody who is logged in."""
    return await _exported(rooms, session.principal, box, since, until)


async def _exported(
    rooms: WebRooms, principal: Principal, box: str, since: datetime | None, until: datetime | None
) -> Response:
    found = await rooms.steering.orders(principal, box, since=_utc("since", since), until=_utc("until", until))
    headers = {"Content-Disposition": 'attachment; filename="steering-orders.csv"'}
    return Response(proof_csv(found), media_type="text/csv; charset=utf-8", headers=headers)


def box_json(view: BoxView) -> dict[str, Any]:
    """Return how a box stands as JSON."""
    return {
        "box": view.name,
        "authority": view.authority,
        "node_id": view.node,
        "is_section_14a": view.is_section_14a,
        "heartbeat_time": _time(view.heartbeat_at),
        "is_silent": view.is_silent,
        "limitations": [_limitation_json(one) for one in view.limitations],
    }


def _limitation_json(view: LimitationView) -> dict[str, Any]:
    limited = Limited.CONSUMPTION if view.direction is Direction.IMPORT else Limited.PRODUCTION
    return {
        "limits": limited.value,
        "state": view.state.value,
        "since_time": _time(view.since),
        "rule": view.rule,
        "power_kw": signed_or_none(view.limit_kw, view.direction),
        "until_time": _time(view.until),
        "ordered_power_kw": signed_or_none(view.ordered_kw, view.direction),
        "failsafe_power_kw": signed_kw(view.failsafe_kw, view.direction),
        "failsafe_duration_s": view.failsafe_duration.total_seconds(),
        "guaranteed_power_kw": view.guaranteed_kw,
        "order_id": view.order,
    }


def order_json(order: SteeringOrder, proof: ExecutionProof | None) -> dict[str, Any]:
    """Return an order with what became of it as JSON."""
    return {
        "id": order.id,
        "box": order.box,
        "node_id": order.node,
        "limits": (Limited.CONSUMPTION if order.direction is Direction.IMPORT else Limited.PRODUCTION).value,
        "kind": order.kind.value,
        "receive_time": _time(order.received_at),
        "ordered_power_kw": signed_or_none(order.ordered_kw, order.direction),
        "duration_s": None if order.duration is None else order.duration.total_seconds(),
        "applied_power_kw": signed_or_none(order.applied_kw, order.direction),
        "state": order.state.value,
        "rule": order.rule,
        "end_time": _time(order.ended_at),
        "end_reason": order.end_reason,
        "proof": None if proof is None else _proof_json(proof),
    }


def _proof_json(proof: ExecutionProof) -> dict[str, Any]:
    return {
        "power_before_kw": proof.power_before_kw,
        "reach_time": _time(proof.reached_at),
        "steps": [
            {
                "charger_id": step.charger,
                "power_kw": step.set_kw,
                "set_time": _time(step.set_at),
                "state": step.state,
                "state_time": _time(step.state_at),
            }
            for step in proof.steps
        ],
        "samples": [{"measure_time": _time(one.at), "power_kw": one.power_kw} for one in proof.samples],
        "is_complete": proof.is_complete,
    }


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _utc(field: str, instant: datetime | None) -> datetime | None:
    return None if instant is None else require_utc(field, instant)
