"""What grid partners and people order, made durable and turned into limits.

Here live the rules of events within one authority and the ledger of limits; what binds across authorities is decided by
`domain.limits`, how it is split over chargers elsewhere.
"""

from gateway.services.gather_signals.desk import SignalGatherer
from gateway.services.gather_signals.programs import ProgramRules
from gateway.services.gather_signals.settings import SignalSettings, SignalSources

__all__ = ["ProgramRules", "SignalGatherer", "SignalSettings", "SignalSources"]
