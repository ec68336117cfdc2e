"""What a VTN that answers, but not with what was asked, means for us."""

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from gateway.domain.errors import PeerUnavailable
from gateway.openadr.v3.wire import Problem

_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class VtnRefused(PeerUnavailable):
    """The VTN refused a request: 4xx, 5xx or a status that the specification does not know.

    Attributes:
        problem: Status and reason.
    """

    def __init__(self, asked: str, problem: Problem) -> None:
        why = problem.detail or problem.title
        super().__init__(f"the VTN answered {asked} with HTTP {problem.status}" + (f": {why}" if why else ""))
        self.problem = problem

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return self.problem.status


class VtnBusy(VtnRefused):
    """The VTN asks us to come back later: 429 or 503.

    Attributes:
        retry_after: How long it wants us to wait; None when it does not say.
    """

    def __init__(self, asked: str, problem: Problem, retry_after: timedelta | None) -> None:
        super().__init__(asked, problem)
        self.retry_after = retry_after


def refusal(asked: str, problem: Problem, retry_after: str, now: datetime) -> VtnRefused:
    """Return the error that an answer with an error status means.

    Args:
        asked: Method and path, without secrets.
        problem: Status and reason.
        retry_after: The `Retry-After` header; seconds or an HTTP date.
        now: What the date is compared with.
    """
    if problem.status in _BUSY:
        return VtnBusy(asked, problem, _wait(retry_after, now))
    return VtnRefused(asked, problem)


def heeded_pause(pause: timedelta, error: Exception, longest_wait: timedelta) -> timedelta:
    """Return a pause that we want after an error, or the longer one that a busy VTN wants, up to `longest_wait`."""
    wanted = error.retry_after if isinstance(error, VtnBusy) else None
    return pause if wanted is None else max(pause, min(wanted, longest_wait))


def _wait(text: str, now: datetime) -> timedelta | None:
    text = text.strip()
    try:
        if text.isascii() and text.isdecimal():
            return timedelta(seconds=int(text))
        return max(parsedate_to_datetime(text) - now, timedelta(0)) if text else None
    except (ValueError, TypeError, OverflowError):
        return None
