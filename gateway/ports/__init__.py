"""The seams of the gateway: small protocols that services speak to and edge rooms implement.

Each port has one meaning and a unit in every docstring. `app` wires the implementations; tests wire fakes with scripted faults.
"""

from gateway.ports.grid import (
    LimitDesk,
    PartnerExchange,
    PartnerHealth,
    PartnerJournal,
    PartnerStanding,
    ReceivedEvents,
    RereadEvent,
    SignalDesk,
    SignalRereader,
    StatedLimits,
    StatusDesk,
    UsageDesk,
)
from gateway.ports.market import AuctionInfo, CarbonSource, Exchange, NominationDesk, OrderReceipt, PriceSource
from gateway.ports.platforms import DoorHealth, DoorStanding
from gateway.ports.storage import AtLeast, Batch, Change, NotBefore, OutboxItem, Put, RecordT, Store, Stored
from gateway.ports.world import Clock, Ids, Worker

__all__ = [
    "AtLeast",
    "AuctionInfo",
    "Batch",
    "CarbonSource",
    "Change",
    "Clock",
    "DoorHealth",
    "DoorStanding",
    "Exchange",
    "Ids",
    "LimitDesk",
    "NominationDesk",
    "NotBefore",
    "OrderReceipt",
    "OutboxItem",
    "PartnerExchange",
    "PartnerHealth",
    "PartnerJournal",
    "PartnerStanding",
    "PriceSource",
    "Put",
    "ReceivedEvents",
    "RecordT",
    "RereadEvent",
    "SignalDesk",
    "SignalRereader",
    "StatedLimits",
    "StatusDesk",
    "Store",
    "Stored",
    "UsageDesk",
    "Worker",
]
