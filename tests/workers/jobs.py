"""Functions for worker processes: importable by name."""

import os
import time
from pathlib import Path

from gateway.domain.errors import InvalidInput


def niceness() -> int:
    """Return how much this process steps back behind others."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def add(left: int, right: int) -> int:
    return left + right


def process_id() -> int:
    return os.getpid()


def refuse(field: str) -> None:
    raise InvalidInput(field, "is refused")


def hang(note: str) -> None:
    Path(note).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)


def die(how: int) -> None:
    os.kill(os.getpid(), how)
    time.sleep(5)


def print_from_python() -> str:
    print("RETURN 3\nabc")
    return "answer"


def print_from_c() -> str:
    os.write(1, b"RETURN 3\nabc")
    return "answer"


def busy(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def span(seconds: float) -> tuple[float, float]:
    begin = time.monotonic()
    time.sleep(seconds)
    return begin, time.monotonic()


def take(count: int) -> int:
    """Allocate so many bytes and touch them."""
    taken = bytearray(count)
    return len(taken)
