"""What is wrong with an object of a VTN, found while it is read or translated; never an exception that stops its neighbours."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing in an object that cannot be used, or is used although it breaks a rule."""

    rule: str
    """Short stable name, for example `unit-unknown`."""
    path: str
    """Where, for example `intervals[2].payloads[0]`."""
    problem: str
    """What is wrong, in one sentence without values longer than a name."""

    @property
    def text(self) -> str:
        """The finding on one line."""
        return f"{self.path}: {self.problem}" if self.path else self.problem
