"""Small values that messages of every service of OpenADR 2.0b hold."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """`eiResponse`: what one side thinks of the other's message."""

    code: int
    description: str = ""
    request_id: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the code is of the 2xx kind."""
        return 200 <= self.code <= 299


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One thing an event is meant for."""

    kind: str
    """Local name of the element: `venID`, `resourceID`, `groupID`, `serviceDeliveryPoint`, ..."""
    value: str
    """The id inside; empty for kinds that hold a geometry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """`itemBase`: what a signal or report counts."""

    name: str
    """Local name of the element, for example `powerReal`."""
    units: str
    """`itemUnits`, for example `W` or a currency."""
    scale: str
    """`siScaleCode`, for example `k`; `none` when absent."""
