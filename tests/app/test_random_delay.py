"""Random delays: from the file to the dispatcher's rules and to what is promised to grid partners."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.app.random_delay import ChangeLatency, delay_rules
from gateway.domain.errors import InvalidInput
from gateway.domain.random_delay import DelayRules
from gateway.domain.signals import GridEvent, OptType
from gateway.services.decide_opt import OptDecider, OptMode, OptRules
from gateway.settings import RandomDelaySettings, load_settings
from tests.services.scene import TENANT, VTN, Scene, event, tree

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "random_delay.toml"
PLAIN = "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"


def test_the_example_becomes_rules() -> None:
    rules = delay_rules(load_settings(EXAMPLE))
    assert (rules.nodes, rules.longest) == (("site-1",), timedelta(minutes=10))
    assert rules.applied_by == {"csms-2", "site-1-004"}
    assert rules.response_authorities == {"vtn:system-operator"}


def test_every_key_is_in_the_example() -> None:
    named = set(EXAMPLE.read_text().replace(" = ", " ").split())
    assert set(RandomDelaySettings.model_fields) <= named


def test_without_the_table_nothing_is_delayed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN)
    assert not delay_rules(load_settings(path)).is_on


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("longest = 600\n", "random_delay.nodes"),
        ("nodes = []\n", "random_delay.nodes"),
        ('nodes = ["n"]\nlongest = 1801\n', "random_delay.longest"),
        ('nodes = ["n"]\nlongest = 0\n', "random_delay.longest"),
    ],
    ids=["nowhere", "no node", "too long", "none"],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f"{PLAIN}[random_delay]\n{text}")
    with pytest.raises(InvalidInput) as caught:
        load_settings(path)
    assert caught.value.field == field


async def decider(rules: DelayRules) -> OptDecider:
    scene = Scene()
    await scene.store.seed(TENANT, *tree())
    await scene.load()
    return OptDecider(
        store=scene.store,
        clock=scene.clock,
        facts=scene.services.dispatcher,
        change_opt=scene.services.signals.change_opt,
        rules={VTN: OptRules(mode=OptMode.CAPACITY)},
        latency=ChangeLatency(scene.services.tracker.find_node, rules),
    )


def wish(lasts_min: float, node: str = "c-1", instruction: str = "target-kw") -> GridEvent:
    return event(minutes=lasts_min, nodes=(node,), instruction=instruction)


@pytest.mark.parametrize(
    ("asked", "rules", "opt"),
    [
        (wish(5), DelayRules(nodes=("site-1",)), OptType.OPT_OUT),
        (wish(10), DelayRules(nodes=("site-1",)), OptType.OPT_IN),
        (wish(5, "c-2"), DelayRules(nodes=("site-1",)), OptType.OPT_IN),
        (wish(5), DelayRules(), OptType.OPT_IN),
        (wish(5), DelayRules(nodes=("site-1",), response_authorities=frozenset({VTN})), OptType.OPT_IN),
        (wish(5, instruction="import-limit-kw"), DelayRules(nodes=("site-1",)), OptType.OPT_IN),
    ],
    ids=["too short", "long enough", "elsewhere", "no delay", "response service", "a limit"],
)
async def test_the_delay_is_in_the_availability_that_is_promised(
    asked: GridEvent, rules: DelayRules, opt: OptType
) -> None:
    decision = (await decider(rules)).decide_now(asked, (), asked.received_at)
    assert decision.opt is opt
    if opt is OptType.OPT_OUT:
        assert decision.reason == (
            "changes at c-1 reach every charger within 10 min, the event lasts 5 min: 25% of it could be delivered"
        )
