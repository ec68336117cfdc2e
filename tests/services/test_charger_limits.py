"""Limits at single chargers: an authority that is lost opens none, and everything that begins within the lead counts."""

from tests.services.scene import GRID, OPERATOR, Scene
from tests.services.test_stated_limits import limit, said

BOX = "lpc:box"


async def test_g9_losing_the_authority_of_a_charger_limit_opens_nothing() -> None:
    scene = Scene()
    platform = await scene.start()
    one = limit("l1", 5.0, 0, 10, authority=BOX, node="ch-1-0")
    await scene.services.signals.state_limits(GRID, said(one, authority=BOX))
    await scene.pass_time(60)
    assert scene.limits()["ch-1-0"] == 5.0
    await scene.services.signals.contact(GRID, BOX, is_lost=True)
    await scene.pass_time(1500)
    told = await scene.services.signals.resolve(OPERATOR, "ch-1-0", None)
    assert told.kw == 4.14, "its fallback, when the last limit is over"
    assert platform.power("ch-1-0") <= told.kw, "what people are told is what is done"
    assert platform.power("ch-1-1") == 11.0
