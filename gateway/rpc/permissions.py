"""Which permission every method of the contract needs; a method that is not listed is refused to everybody.

Services check again; this table makes the door closed by default and the same for valid and for broken requests.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.domain.errors import PermissionRefused
from gateway.domain.identity import Permission, Principal

_PACKAGE = "gateway.v1"
_OF_SERVICE: dict[str, dict[str, Permission]] = {
    "FleetService": {
        "ListNodes": Permission.FLEET_READ,
        "ListChargers": Permission.FLEET_READ,
        "ListConnectionPoints": Permission.FLEET_READ,
        "ListChargerStates": Permission.FLEET_READ,
        "ReportSessions": Permission.FLEET_WRITE,
        "ReportMeterHistory": Permission.TELEMETRY_WRITE,
        "ReportChargerLimits": Permission.FLEET_WRITE,
        "StreamTelemetry": Permission.TELEMETRY_WRITE,
    },
    "SignalsService": {
        "ListEvents": Permission.SIGNAL_READ,
        "WatchSignals": Permission.SIGNAL_READ,
        "DecideOpt": Permission.OPT_DECIDE,
        "ListLimits": Permission.SIGNAL_READ,
        "SetManualLimit": Permission.LIMIT_SET,
        "SimulateLimit": Permission.SIGNAL_READ,
        "ReleaseAuthority": Permission.LIMIT_SET,
        "SimulateRelease": Permission.LIMIT_SET,
        "WithdrawManualLimit": Permission.LIMIT_SET,
        "ResolveLimit": Permission.SIGNAL_READ,
        "ListAlerts": Permission.SIGNAL_READ,
        "ListPrograms": Permission.SIGNAL_READ,
        "SetDryRun": Permission.PROGRAM_SWITCH,
        "ListEnrolments": Permission.SIGNAL_READ,
        "WithdrawEnrolment": Permission.ENROLMENT_MANAGE,
        "DeclareAvailability": Permission.OPT_DECIDE,
        "ListAvailability": Permission.SIGNAL_READ,
        "WithdrawAvailability": Permission.OPT_DECIDE,
        "SetParticipation": Permission.PROGRAM_SWITCH,
    },
    "DispatchService": {
        "Connect": Permission.DISPATCH_CONNECT,
        "ListDispatchStates": Permission.FLEET_READ,
    },
    "MarketDataService": {
        "GetPrices": Permission.MARKET_READ,
        "GetCarbon": Permission.MARKET_READ,
        "GetSystemSeries": Permission.MARKET_READ,
        "WatchMarketData": Permission.MARKET_READ,
        "ListContradictions": Permission.MARKET_READ,
        "AcknowledgeContradiction": Permission.MARKET_ACKNOWLEDGE,
    },
    "BiddingService": {
        "PlanBid": Permission.BID_DRAFT,
        "GetBid": Permission.BID_READ,
        "ListBids": Permission.BID_READ,
        "WatchBids": Permission.BID_READ,
        "ProposeBid": Permission.BID_PROPOSE,
        "ApproveBid": Permission.BID_APPROVE,
        "RejectBid": Permission.BID_APPROVE,
        "WithdrawBid": Permission.BID_WITHDRAW,
        "GetAward": Permission.BID_READ,
        "ListNominations": Permission.BID_READ,
        "ListResiduals": Permission.BID_READ,
        "ListPositions": Permission.BID_READ,
        "GetTariffCost": Permission.BID_READ,
    },
    "SteeringService": {
        "SendHeartbeat": Permission.POWER_STEER,
        "WriteLimit": Permission.POWER_STEER,
        "WriteFailsafe": Permission.POWER_STEER,
        "SetRelays": Permission.POWER_STEER,
        "GetSteeringBox": Permission.STEERING_READ,
        "ListSteeringBoxes": Permission.STEERING_READ,
        "WatchSteeringBox": Permission.STEERING_READ,
        "ListSteeringOrders": Permission.STEERING_READ,
    },
    "EvidenceService": {
        "GetTrace": Permission.EVIDENCE_READ,
        "GetEventPerformance": Permission.EVIDENCE_READ,
        "VerifyAudit": Permission.EVIDENCE_READ,
    },
}
REQUIRED: Mapping[str, Permission] = MappingProxyType(
    {
        f"/{_PACKAGE}.{service}/{method}": permission
        for service, methods in _OF_SERVICE.items()
        for method, permission in methods.items()
    }
)
"""Permission per full method name."""


def require_allowed(principal: Principal, method: str) -> None:
    """Raise unless the caller may call the method.

    Raises:
        PermissionRefused: The caller may not, or nobody may because the method is not listed.
    """
    permission = REQUIRED.get(method)
    if permission is None:
        raise PermissionRefused(method)
    principal.require(permission)
