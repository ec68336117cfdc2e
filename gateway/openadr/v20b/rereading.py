"""A stored message of OpenADR 2.0b read again: what its events would mean now, without any effect."""

from dataclasses import replace

from gateway.domain.errors import InvalidInput
from gateway.domain.signals import GridEvent, RawSignal, VenRegistration
from gateway.openadr.profiles import ProfileGate
from gateway.openadr.v20b.guard import GuardPolicy, SignaturePolicy
from gateway.openadr.v20b.profile_view import admission_of, as_agreed, require_admitted
from gateway.openadr.v20b.reader import read
from gateway.openadr.v20b.refusal import EventRefused
from gateway.openadr.v20b.settings import VenSettings
from gateway.openadr.v20b.translate import Programme, Receipt, record_id, translate
from gateway.openadr.v20b.wire_events import DistributeEvent
from gateway.ports import RereadEvent, Store


class Rereader:
    """Reads stored messages of one VTN again.

    The signature is not looked at again: it was when the message came, and its time has passed since. A start that would be drawn
    at random is the one that was drawn, or the earliest.

    Args:
        settings: As the VEN has them.
        store: Events and registrations as known now.
        gate: Profile that the VTN's events must keep; None for none. What breaks it is told and not kept.
    """

    def __init__(self, settings: VenSettings, store: Store, gate: ProfileGate | None = None) -> None:
        self._settings = settings
        self._store = store
        self._gate = gate

    async def read_again(self, raw: RawSignal) -> list[RereadEvent]:
        """Return what the events of a message would mean now.

        Raises:
            InvalidInput: It cannot be read or distributes no events.
        """
        policy = replace(self._settings.guard_policy(), signature=SignaturePolicy.OFF, fingerprints=frozenset())
        message = _message(raw, policy)
        row = await self._store.get(VenRegistration, self._settings.tenant, self._settings.authority)
        programme = Programme(
            authority=self._settings.authority,
            tenant=self._settings.tenant,
            ven_id="" if row is None else row.record.ven_id,
            market_contexts=frozenset(self._settings.market_contexts),
            own_nodes=self._settings.own_nodes,
            nodes=self._settings.nodes,
            device_classes=self._settings.device_classes,
        )
        receipt = Receipt(raw_signal=raw.id, received_at=raw.received_at)
        found = []
        for event in message.events:
            stored = await self._store.get(
                GridEvent, self._settings.tenant, record_id(self._settings.authority, event.event_id)
            )
            known = None if stored is None else stored.record
            problem, understood = "", None
            try:
                admission = admission_of(self._gate, event, receipt)
                if admission is not None:
                    require_admitted(admission)
                understood = as_agreed(translate(event, programme, receipt, known, _earliest), self._gate)
            except EventRefused as error:
                problem = f"{error.code}: {error.problem}"
            found.append(
                RereadEvent(event_id=event.event_id, modification=event.modification, problem=problem, event=understood)
            )
        return found


def _message(raw: RawSignal, policy: GuardPolicy) -> DistributeEvent:
    message = read(raw.body, policy, raw.received_at).message
    if not isinstance(message, DistributeEvent):
        raise InvalidInput("signal", f"{type(message).__name__} distributes no events")
    return message


def _earliest(low: float, _high: float) -> float:
    return low
