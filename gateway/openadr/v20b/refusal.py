"""Why one event is answered with an error code while the others of its message go on."""

from gateway.domain.errors import VoltbridgeError


class EventRefused(VoltbridgeError):
    """An event breaks a rule of OpenADR or is not for us.

    Attributes:
        code: Response code for its `eventResponse` (4xx).
        problem: Why, in one sentence that the partner may read.
    """

    reason = "EVENT_REFUSED"

    def __init__(self, code: int, problem: str) -> None:
        super().__init__(problem)
        self.code = code
        self.problem = problem
