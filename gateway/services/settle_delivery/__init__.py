"""Delivery to money: settles each connection point's day exactly, and finds the residuals of limits that came too late.

`facts` reads what happened, `settler` settles, `residuals` watches limits. The arithmetic lives in `bidding.delivery.settlement`, the
attribution of deviations in `gateway.domain.settlement`.
"""

from gateway.services.settle_delivery.facts import SettleSettings
from gateway.services.settle_delivery.settler import Settler

__all__ = ["SettleSettings", "Settler"]
