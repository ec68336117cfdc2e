"""Why a message was not even read: one typed reason per rule of the guard."""

from enum import StrEnum

from typing_extensions import override

from gateway.domain.errors import InvalidInput
from gateway.observe import OPENADR_REJECTED


class Reason(StrEnum):
    """Rule of the guard that a message broke; stable, for logs and counters."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    NOT_UTF8 = "not-utf-8"
    FORBIDDEN_MARKUP = "forbidden-markup"
    MALFORMED = "malformed"
    TOO_DEEP = "too-deep"
    TOO_MANY_ELEMENTS = "too-many-elements"
    TOO_MANY_EVENTS = "too-many-events"
    TOO_MANY_INTERVALS = "too-many-intervals"
    NOT_ONE_OBJECT = "not-one-signed-object"
    NOT_VALID = "not-schema-valid"
    UNSIGNED = "unsigned"
    SEVERAL_SIGNATURES = "several-signatures"
    WRONG_SIGNER = "wrong-signer"
    CERTIFICATE_EXPIRED = "certificate-not-valid-now"
    WEAK_ALGORITHM = "algorithm-not-allowed"
    BAD_SIGNATURE = "bad-signature"
    WRAPPED = "signature-over-another-element"
    NO_REPLAY_PROTECTION = "no-replay-protection"
    OUTSIDE_CLOCK_WINDOW = "outside-clock-window"
    REPLAYED = "replayed"
    NOT_UNDERSTOOD = "not-understood"
    """Let in, but no message for a VEN, or a value outside an event has no exact meaning."""


TOO_MUCH = frozenset({Reason.TOO_LARGE, Reason.TOO_MANY_ELEMENTS, Reason.TOO_MANY_EVENTS, Reason.TOO_MANY_INTERVALS})
"""Reasons that say nothing against the message but that it is more than we take."""


class MessageRejected(InvalidInput):
    """A message was thrown away before anybody read it.

    Attributes:
        why: The rule it broke.
    """

    reason = "MESSAGE_REJECTED"

    def __init__(self, why: Reason, problem: str) -> None:
        super().__init__("openadr.message", problem)
        self.why = why

    @override
    def __reduce__(self) -> tuple[type, tuple[Reason, str]]:
        """Survive the pipe of a worker process, which pickles exceptions."""
        return (type(self), (self.why, self.problem))


def count_rejection(why: Reason) -> None:
    """Count a message that was thrown away, by reason and nothing else."""
    OPENADR_REJECTED.labels(reason=why.value).inc()
