"""What goes to the gateway beside refusals: what chargers show, where any of them shows something."""

import math

from gateway.ocpp.dispatch_uplink import _shown_kw
from gateway.ocpp.words import Answer, Verdict


def test_a_column_is_sent_only_where_a_charger_shows_something() -> None:
    mute = Answer(verdict=Verdict.REJECTED, reason="Faulted")
    assert _shown_kw([]) == []
    assert _shown_kw([mute, mute]) == []
    first, second = _shown_kw([mute, Answer(verdict=Verdict.REJECTED, shown_kw=11.0)])
    assert math.isnan(first)
    assert second == 11.0
