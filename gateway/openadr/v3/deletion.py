"""Whether the VTN has deleted an object, asked of the object itself: a list that omits it does not tell why."""

from collections.abc import Iterable

from gateway.domain.errors import PeerUnavailable
from gateway.observe import logger
from gateway.openadr.v3.client import VtnClient
from gateway.openadr.v3.names import ObjectKind

_log = logger("openadr")


class Deletions:
    """Asks for objects by their id, a few at a time and in turn, so that a poll stays a few requests.

    Args:
        client: Asks the VTN.
    """

    def __init__(self, client: VtnClient) -> None:
        self._client = client
        self._asked: dict[tuple[ObjectKind, str], int] = {}
        self._count = 0

    async def among(self, kind: ObjectKind, object_ids: Iterable[str], *, most: int) -> set[str]:
        """Return which of these objects are surely deleted: the VTN answers GET by their id with 404.

        Any other answer, 403 above all, and no answer prove nothing; after no answer nobody else is asked about.

        Args:
            kind: Programs or events.
            object_ids: Which.
            most: So many are asked about; those that were not come first next time.
        """
        waiting = sorted((self._asked.get((kind, one), 0), one) for one in object_ids)
        found: set[str] = set()
        for _, object_id in waiting[:most]:
            self._count += 1
            self._asked[kind, object_id] = self._count
            try:
                if await self._client.is_deleted(kind, object_id):
                    found.add(object_id)
                    del self._asked[kind, object_id]
            except PeerUnavailable as error:
                _log.info("deletion not known", kind=kind.value, object=object_id, problem=str(error))
                break
        return found
