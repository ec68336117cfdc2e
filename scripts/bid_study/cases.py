"""One bid with its certificate and everything it depends on, as an auditor gets it."""

from __future__ import annotations

from datetime import date

from bidding.backtest.certificate import certificate_document, certify
from bidding.backtest.certificate_case import case_document
from bidding.backtest.gate import Gate, GateSettings
from bidding.backtest.recording import Recording
from bidding.backtest.strategies import Strategy
from gateway.domain.errors import InvalidInput
from gateway.domain.timegrid import DeliveryDay


def first_case(recording: Recording, day: date, strategy: Strategy, settings: GateSettings) -> dict[str, object]:
    """Return the certificate of the first bid of a walk, before which nothing was bought, and its case.

    Raises:
        InvalidInput: The settings ask for no scenarios.
    """
    gate = Gate(recording, DeliveryDay(day=day, zone=recording.zone), settings)
    cars = gate.fleet(strategy).cars
    evening = gate.free_evening(strategy, cars)
    case = gate.certificate_case(strategy, strategy.bid(gate.view(strategy, cars, evening)), cars, evening)
    if case is None:
        raise InvalidInput("certificate_scenarios", "must be at least 1")
    return {"certificate": certificate_document(certify(case)), "case": case_document(case)}
