"""Steering boxes of grid operators: their state machines, their limits, and the proof that their orders were carried out.

Here live who may speak for which box, what is on disk before a box is answered, and what time brings when it says nothing. The rules
of EEBUS LPC and of paragraph 14a are in `domain`; what binds beside other authorities is decided by `gather_signals`; how a box is
spoken to is the business of the rooms that have doors.
"""

from gateway.services.steer_power.desk import SteeringDesk
from gateway.services.steer_power.proof import ProofKeeper
from gateway.services.steer_power.settings import SteeringBox, SteeringSettings
from gateway.services.steer_power.views import BoxView, LimitationView

__all__ = ["BoxView", "LimitationView", "ProofKeeper", "SteeringBox", "SteeringDesk", "SteeringSettings"]
