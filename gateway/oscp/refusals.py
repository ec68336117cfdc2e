"""Errors of this protocol that the tree of `gateway.domain.errors` has no word for."""

from gateway.domain.errors import PreconditionFailed


class NoCommonVersion(PreconditionFailed):
    """The partner offers no version that we speak."""

    reason = "NO_COMMON_VERSION"

    def __init__(self) -> None:
        super().__init__("only version 2.0 is spoken here")
