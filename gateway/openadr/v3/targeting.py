"""Which nodes of ours an object is for, by its targets.

No target: everybody the VTN shows it to. A target that the settings map is that node; one that names or was granted to a resource is
the resource's node; one that names or was granted to our ven is all of ours. Targets of the type `VEN_NAME` (3.0.1) choose who is
meant at all; the others then say where. Targets that mean nobody here are other VENs' business.
"""

from collections.abc import Sequence

from gateway.openadr.v3.dialect import VEN_NAME
from gateway.openadr.v3.settings import VenSettings
from gateway.openadr.v3.standing import Standing
from gateway.openadr.v3.wire import Target


def nodes_of(targets: Sequence[Target], settings: VenSettings, standing: Standing) -> tuple[str, ...]:
    """Return the nodes of ours that targets mean; none when they mean others.

    Args:
        targets: Of an event.
        settings: Our names and nodes.
        standing: Our ven and resources with their granted targets.
    """
    if not targets:
        return settings.own_nodes
    vens = {target.value for target in targets if target.kind == VEN_NAME}
    if vens and settings.ven_name not in vens:
        return ()
    places = [target for target in targets if target.kind != VEN_NAME]
    if not places:
        return settings.own_nodes
    nodes = [node for target in places for node in _meant(target, settings, standing)]
    return tuple(dict.fromkeys(nodes))


def _meant(target: Target, settings: VenSettings, standing: Standing) -> tuple[str, ...]:
    mapped = settings.nodes.get(target.value)
    if mapped is not None:
        return (mapped,)
    own = {resource.name: resource.node for resource in settings.resources}
    if target.value in own:
        return (own[target.value],)
    granted = [resource.name for resource in standing.resources if target in resource.targets]
    nodes = tuple(own.get(name) or settings.nodes.get(name, "") for name in granted)
    if any(nodes):
        return tuple(node for node in nodes if node)
    is_ven = target.value == settings.ven_name or (standing.ven is not None and target in standing.ven.targets)
    return settings.own_nodes if is_ven else ()
