"""Words of OSCP 2.0: who a partner is, what messages are called, and who may send what."""

from enum import StrEnum

VERSION = "2.0"
"""The only version that is spoken."""


class PeerRole(StrEnum):
    """What a partner is to us."""

    CAPACITY_PROVIDER = "capacity-provider"
    """It owns the constraint; we are its flexibility provider."""
    CAPACITY_OPTIMIZER = "capacity-optimizer"
    """It tells us, its flexibility provider, the best use of the capacity."""
    FLEXIBILITY_PROVIDER = "flexibility-provider"
    """It asks us, its capacity optimiser, for the best use of the capacity."""


class ForecastType(StrEnum):
    """What a capacity forecast is about."""

    CONSUMPTION = "CONSUMPTION"
    GENERATION = "GENERATION"
    FALLBACK_CONSUMPTION = "FALLBACK_CONSUMPTION"
    FALLBACK_GENERATION = "FALLBACK_GENERATION"
    OPTIMUM = "OPTIMUM"


class Phase(StrEnum):
    """Which phase a value is of."""

    UNKNOWN = "UNKNOWN"
    ONE = "ONE"
    TWO = "TWO"
    THREE = "THREE"
    ALL = "ALL"


class CapacityUnit(StrEnum):
    """Unit of a capacity: current per phase, power, or energy in the block."""

    A = "A"
    W = "W"
    KW = "KW"
    WH = "WH"
    KWH = "KWH"


class EnergyUnit(StrEnum):
    """Unit of an energy register."""

    WH = "WH"
    KWH = "KWH"


class EnergyFlow(StrEnum):
    """Which way an energy register counts."""

    NET = "NET"
    IMPORT = "IMPORT"
    EXPORT = "EXPORT"


class EnergyType(StrEnum):
    """Which part of the energy a register counts; TOTAL when it is not said."""

    FLEXIBLE = "FLEXIBLE"
    NONFLEXIBLE = "NONFLEXIBLE"
    TOTAL = "TOTAL"


class AssetCategory(StrEnum):
    """What an asset is."""

    CHARGING = "CHARGING"
    CONSUMPTION = "CONSUMPTION"
    GENERATION = "GENERATION"
    STORAGE = "STORAGE"


class MeasurementConfiguration(StrEnum):
    """What kind of register a partner wants."""

    CONTINUOUS = "CONTINUOUS"
    """Never starts again."""
    INTERMITTENT = "INTERMITTENT"
    """Starts again; each value says since when it counts."""


REGISTER = "register"
HANDSHAKE = "handshake"
HANDSHAKE_ACKNOWLEDGE = "handshake_acknowledge"
HANDSHAKE_ACKNOWLEDGMENT = "handshake_acknowledgment"
"""How pyoscp spells it; the standard's spelling is answered 404 there."""
HEARTBEAT = "heartbeat"
UPDATE_FORECAST = "update_group_capacity_forecast"
ADJUST_FORECAST = "adjust_group_capacity_forecast"
COMPLIANCE_ERROR = "group_capacity_compliance_error"
GROUP_MEASUREMENTS = "update_group_measurements"
ASSET_MEASUREMENTS = "update_asset_measurements"

_COMMON = frozenset({REGISTER, HANDSHAKE, HANDSHAKE_ACKNOWLEDGE, HANDSHAKE_ACKNOWLEDGMENT, HEARTBEAT, UPDATE_FORECAST})
MESSAGES: dict[PeerRole, frozenset[str]] = {
    PeerRole.CAPACITY_PROVIDER: _COMMON | {ADJUST_FORECAST},
    PeerRole.CAPACITY_OPTIMIZER: _COMMON,
    PeerRole.FLEXIBILITY_PROVIDER: _COMMON | {ASSET_MEASUREMENTS},
}
"""Messages that a partner may send us, by what it is."""

TYPES: dict[PeerRole, frozenset[ForecastType]] = {
    PeerRole.CAPACITY_PROVIDER: frozenset(ForecastType),
    PeerRole.CAPACITY_OPTIMIZER: frozenset({ForecastType.OPTIMUM}),
    PeerRole.FLEXIBILITY_PROVIDER: frozenset(ForecastType) - {ForecastType.OPTIMUM},
}
"""Forecasts that a partner may state: an optimiser never sets a limit."""

OWN_ROLE: dict[PeerRole, str] = {
    PeerRole.CAPACITY_PROVIDER: "fp",
    PeerRole.CAPACITY_OPTIMIZER: "fp",
    PeerRole.FLEXIBILITY_PROVIDER: "co",
}
"""What we are to a partner: the part of our address that says so."""
