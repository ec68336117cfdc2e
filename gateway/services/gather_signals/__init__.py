"""What grid partners and people order, made durable and turned into limits, wishes, prices and alerts.

Here live the rules of events within one authority, enrolments and switches of programs, and the ledger of limits; what binds
across authorities is decided by `domain.limits`, how it is split over chargers elsewhere.
"""

from gateway.services.gather_signals.desk import SignalGatherer
from gateway.services.gather_signals.outbox import ANSWER_TOPIC, OPT_TOPIC
from gateway.services.gather_signals.program_desk import ProgramDesk, ProgramView
from gateway.services.gather_signals.rules import ProgramRules
from gateway.services.gather_signals.settings import SignalSettings, SignalSources

__all__ = [
    "ANSWER_TOPIC",
    "OPT_TOPIC",
    "ProgramDesk",
    "ProgramRules",
    "ProgramView",
    "SignalGatherer",
    "SignalSettings",
    "SignalSources",
]
