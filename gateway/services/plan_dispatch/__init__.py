"""From limits, schedules and cars to commands: what every charger may draw, sent to its platform and kept alive by leases.

Here live the control loop, the mailboxes of the platforms and the wishes of the cars. What binds is decided by `domain.limits`, how
it is split by `domain.allocation`, how calmly it changes by `domain.calm`; what became of a command is kept elsewhere.
"""

from gateway.services.plan_dispatch.dispatcher import Dispatcher
from gateway.services.plan_dispatch.link import DispatchLink, LinkBatch
from gateway.services.plan_dispatch.reach import Reach
from gateway.services.plan_dispatch.settings import CommandDesk, DispatchSettings, DispatchSources, OperatorLine
from gateway.services.plan_dispatch.streams import StreamState

__all__ = [
    "CommandDesk",
    "DispatchLink",
    "DispatchSettings",
    "DispatchSources",
    "Dispatcher",
    "LinkBatch",
    "OperatorLine",
    "Reach",
    "StreamState",
]
