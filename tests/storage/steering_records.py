"""One example of every record about steering boxes, filled so that each field shows when it is lost."""

from datetime import datetime, timedelta

from gateway.domain.limits import Direction
from gateway.domain.random_delay import DelaySeed
from gateway.domain.steering import Limitation, SteeringState
from gateway.domain.steering_orders import ChargerStep, ExecutionProof, OrderKind, PowerSample, SteeringOrder


def steering_examples(tenant: str, t0: datetime) -> list[object]:
    """Return the examples for a tenant, their times around an instant."""
    return [
        Limitation(
            id="box-7:import",
            tenant=tenant,
            box="box-7",
            direction=Direction.IMPORT,
            state=SteeringState.FAILSAFE,
            since=t0,
            rule="LPC-912",
            failsafe_kw=7.56,
            failsafe_duration=timedelta(hours=3),
            heartbeat_at=t0 - timedelta(seconds=120),
            returned_at=t0 + timedelta(seconds=30),
            limit_kw=5.5,
            limit_until=t0 + timedelta(minutes=20),
            order="box-7/order-1",
            limit_ids=("limit-1", "limit-2"),
        ),
        SteeringOrder(
            id="box-7/order-1",
            tenant=tenant,
            box="box-7",
            node="site-1",
            direction=Direction.IMPORT,
            kind=OrderKind.LIMIT,
            request_id="order-1",
            content="0" * 64,
            received_at=t0,
            ordered_kw=2.0,
            duration=timedelta(minutes=15),
            applied_kw=4.2,
            state=SteeringState.LIMITED,
            rule="LPC-910",
            ended_at=t0 + timedelta(minutes=15),
            end_reason="its duration is over",
        ),
        ExecutionProof(
            id="box-7/order-1",
            tenant=tenant,
            box="box-7",
            received_at=t0,
            power_before_kw=21.5,
            steps=(
                ChargerStep(
                    charger="site-1-001",
                    set_kw=4.2,
                    set_at=t0 + timedelta(seconds=1),
                    state="followed",
                    state_at=t0 + timedelta(seconds=20),
                ),
            ),
            samples=(PowerSample(at=t0 + timedelta(seconds=30), power_kw=4.1),),
            reached_at=t0 + timedelta(seconds=30),
            looked_until=t0 + timedelta(minutes=16),
            is_complete=True,
        ),
        DelaySeed(id="random-delay", tenant=tenant, seed=2**62 + 1, drawn_at=t0),
    ]
