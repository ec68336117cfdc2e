"""How far set points may rise: never into what others may still be drawing."""

from dataclasses import replace

import numpy as np
import pytest

from gateway.services.plan_dispatch.room import within_room
from tests.services.scene import TENANT, Scene


@pytest.mark.parametrize(("beside_kw", "granted_kw"), [(0.0, 6.0), (8.0, 0.0)])
async def test_who_may_draw_more_than_it_is_told_is_told_no_more_while_others_leave_no_room(
    beside_kw: float, granted_kw: float
) -> None:
    """After a restart a charger may be drawing up to 11 kW, was told 0 before, and others have not acknowledged to come down."""
    scene = Scene()
    await scene.start()
    picture = scene.services.dispatcher._controls[TENANT].look()
    ids = picture.view.tree.charger_ids
    riser, other = ids.index("ch-1-0"), ids.index("ch-1-1")
    counted, stepped = np.zeros(len(ids)), np.zeros(len(ids))
    counted[[riser, other]], stepped[riser] = (11.0, beside_kw), 6.0
    cap = picture.caps.cap_kw.copy()
    cap[picture.view.tree.node_index("c-1")] = 12.0
    supposed = replace(
        picture,
        caps=replace(picture.caps, cap_kw=cap),
        in_force_kw=np.zeros(len(ids)),
        counted_kw=counted,
        is_loose=np.zeros(len(ids), dtype=bool),
    )
    assert within_room(supposed, stepped)[riser] == granted_kw
