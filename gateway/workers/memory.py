"""A bound on the memory that one call in a worker process may take beyond what the process has.

Linux counts private writable memory against `RLIMIT_DATA` (since 4.7): what Python, numpy and libxml2 allocate. Processes are used
again by other callers, so the bound is lifted after the call. Other systems have no such limit and run without one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATUS = Path("/proc/self/status")
_FIELD = "VmData:"
_KIB = 1024


@contextmanager
def bounded_memory(extra_bytes: int | None) -> Iterator[None]:
    """Let allocations fail with MemoryError once they take more than so many bytes beyond what is allocated now.

    Args:
        extra_bytes: The bound; None sets none.
    """
    held = None if extra_bytes is None else _allocated_bytes()
    if extra_bytes is None or held is None or sys.platform != "linux":
        yield
        return
    import resource  # noqa: PLC0415  # there is none on other systems

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + extra_bytes
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _allocated_bytes() -> int | None:
    """Return the private writable memory of this process; None where the system does not say."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(_FIELD)), None)
    return None if found is None else int(found.removeprefix(_FIELD).split()[0]) * _KIB
