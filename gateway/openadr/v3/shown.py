"""Through what the VTN showed us an event: without that, it may be hidden from us and not gone."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.json_guard import Json
from gateway.openadr.v3.names import Dialect
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.wire import Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """Who we were for the VTN when it showed us an object, and which targets of the object were ours."""

    ven_id: str
    """Empty where no vens are kept."""
    granted: frozenset[Target]
    """Those that the VTN granted our ven and resources."""
    asked: frozenset[Target]
    """Those that the settings ask with."""

    @classmethod
    def now(cls, targets: Iterable[Target], settings: VenSettings, standing: Standing) -> "Shown":
        """Return through what an object with these targets is shown to us now."""
        own = frozenset(targets)
        return cls(
            ven_id=_ven_id(standing),
            granted=own & standing.targets,
            asked=own & frozenset(settings.targets),
        )

    @classmethod
    def of_text(cls, text: str) -> "Shown | None":
        """Return what `text` wrote; None when there is nothing."""
        if not text:
            return None
        content = json.loads(text)
        return cls(
            ven_id=content["ven"],
            granted=frozenset(Target(kind, value) for kind, value in content["granted"]),
            asked=frozenset(Target(kind, value) for kind, value in content["asked"]),
        )

    @property
    def text(self) -> str:
        """The same for equal values, as JSON."""
        content: Json = {"ven": self.ven_id, "granted": _pairs(self.granted), "asked": _pairs(self.asked)}
        return json.dumps(content)

    def is_so_still(self, settings: VenSettings, standing: Standing) -> bool:
        """Tell whether the object would be shown to us now as it was: the same ven, with at least these targets."""
        return (
            self.ven_id == _ven_id(standing)
            and self.granted <= standing.targets
            and self.asked <= standing.targets | frozenset(settings.targets)
        )


def may_see(targets: Collection[Target], settings: VenSettings, standing: Standing) -> bool:
    """Tell whether an object with these targets is no secret to us: it has none, one was granted to us, or 3.0.1 hides nothing."""
    return not targets or settings.dialect is Dialect.V301 or not standing.targets.isdisjoint(targets)


def _ven_id(standing: Standing) -> str:
    return "" if standing.ven is None else standing.ven.meta.id


def _pairs(targets: Iterable[Target]) -> list[Json]:
    return [[one.kind, one.value] for one in sorted(targets, key=lambda one: (one.kind, one.value))]
