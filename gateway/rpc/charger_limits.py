"""What chargers announce that somebody else limits them to, as limits of an authority of their own.

A charger that hears its limit elsewhere (a local energy manager, the grid operator over another line) says so over OCPP. What
it says binds beside every other limit, under the authority `charger:{charger}:{source}`: two sources never replace each other.
What a source says of the station as a whole is another word than what it says of one charger (OCPP 2.0.1 K12, K13: with and
without `evseId`), under `station:{charger}:{source}`.
"""

import hashlib
from collections.abc import Iterator

from gateway.domain.errors import InvalidInput, NotFound
from gateway.domain.identity import Permission, Principal, system_principal
from gateway.domain.limits import Binding, Direction, Limit, LimitKind
from gateway.domain.timegrid import Interval
from gateway.domain.topology import Charger
from gateway.ports import LimitDesk, StatedLimits, Store
from gateway.rpc import convert
from gateway.v1 import fleet_service_pb2 as pb

MOST_BLOCKS = 1_000
LONGEST_SOURCE = 32
_ID_DIGITS = 24


async def state_charger_limits(
    principal: Principal, request: pb.ReportChargerLimitsRequest, store: Store, desk: LimitDesk
) -> int:
    """Replace what one source says of one charger, alone or as a share of its station, and return how many limits it has now.

    Args:
        principal: A charging platform, or somebody who may write the fleet.
        request: What the charger announced.
        store: Where chargers are.
        desk: Where limits go.

    Raises:
        InvalidInput: A field is missing or wrong, or blocks are there although the limit is cleared.
        NotFound: The caller's platform has no such charger.
        StorageUnavailable: Nothing was kept.
    """
    principal.require(Permission.FLEET_WRITE)
    request_id = convert.required_text("request_id", request.request_id)
    charger_id = convert.required_text("charger_id", request.charger_id)
    source = convert.required_text("source", request.source, LONGEST_SOURCE)
    if request.is_cleared == bool(request.blocks) or len(request.blocks) > MOST_BLOCKS:
        raise InvalidInput("blocks", f"must be 1 to {MOST_BLOCKS}, and none when the limit is cleared")
    row = await store.get(Charger, principal.tenant, charger_id)
    if row is None or (principal.csms is not None and row.record.csms != principal.csms):
        raise NotFound("charger", charger_id)
    authority = f"{'station' if request.is_of_station else 'charger'}:{charger_id}:{source}"
    limits = tuple(_limits(principal.tenant, authority, charger_id, request, request_id))
    ids = {limit.id for limit in limits}
    old = tuple(limit.id for limit in desk.stated_by(principal.tenant, authority) if limit.id not in ids)
    stated = StatedLimits(authority=authority, raw=None, limits=limits, withdrawn=old)
    await desk.state_limits(system_principal(principal.tenant, "charger-limits"), stated)
    return len(limits)


def _limits(
    tenant: str, authority: str, charger_id: str, request: pb.ReportChargerLimitsRequest, request_id: str
) -> Iterator[Limit]:
    digest = hashlib.sha256(f"{authority}|{request_id}".encode()).hexdigest()[:_ID_DIGITS]
    reason = f"the charger says that {request.source} limits {'its station' if request.is_of_station else 'it'}"
    for place, block in enumerate(request.blocks):
        field = f"blocks[{place}]"
        start = convert.required_instant(f"{field}.start_time", block, "start_time")
        has_end = block.HasField("expire_time")
        end = convert.instant(f"{field}.expire_time", block.expire_time) if has_end else None
        if end is not None and end <= start:
            raise InvalidInput(f"{field}.expire_time", "must be after start_time")
        yield Limit(
            id=f"limit-{digest}-{place}",
            tenant=tenant,
            authority=authority,
            node=charger_id,
            direction=Direction.IMPORT,
            kind=LimitKind.LIMIT,
            binding=Binding.MANDATORY,
            max_kw=block.max_power_kw,
            interval=Interval(start=start, end=end),
            cause=request_id,
            known_at=start,
            reason=f"{reason}, critical for the grid" if request.is_grid_critical else reason,
        )
