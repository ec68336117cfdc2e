"""Steering boxes: from the file to what the service may do."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.app.steering import ChargersBelow, steering_settings
from gateway.domain.errors import InvalidInput
from gateway.domain.limits import Direction
from gateway.settings import load_settings
from gateway.steering_settings import SteeringBoxSettings
from tests.services.scene import TENANT, Scene, tree

EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "steering.toml"
PLAIN = "[rpc]\nallow_plain_on_loopback = true\n[web]\nallow_plain_on_loopback = true\n"
BOX = '[[steering_box]]\nname = "b"\ntenant = "default"\nnode = "n"\n'


def test_the_example_becomes_rules_of_the_service() -> None:
    first, second = steering_settings(load_settings(EXAMPLE)).boxes
    assert (first.authority, first.node, first.account) == ("lpc:box-7", "site-1", "box-7")
    assert first.is_section_14a
    rules = first.rules[Direction.IMPORT]
    assert rules.guaranteed_kw == pytest.approx(21.21)
    assert (rules.failsafe_kw, rules.failsafe_duration) == (21.21, timedelta(hours=2))
    assert (rules.leaves_init, rules.leaves_without_limit, rules.leaves_after_minimum) == (True, True, False)
    assert first.dim_kw == pytest.approx(21.21)
    assert (second.account, second.is_section_14a) == ("rtu-2", False)
    assert {direction: rule.failsafe_kw for direction, rule in second.rules.items()} == {
        Direction.IMPORT: 80.0,
        Direction.EXPORT: 0.0,
    }


def test_every_key_is_in_the_example() -> None:
    named = set(EXAMPLE.read_text().replace(" = ", " ").split())
    assert set(SteeringBoxSettings.model_fields) <= named


def test_o26_without_a_failsafe_of_its_own_a_box_has_what_is_guaranteed(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN + BOX + 'section_14a = true\nconnection_point = "c"\ndevices = 2\n')
    [box] = steering_settings(load_settings(path)).boxes
    assert box.rules[Direction.IMPORT].failsafe_kw == pytest.approx(7.56)
    assert box.dim_kw == pytest.approx(7.56)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (BOX + BOX, "steering_box[1].name"),
        (BOX.replace("default", "nobody"), "steering_box[0].tenant"),
        (BOX + "section_14a = true\n", "steering_box[0].connection_point"),
        (
            BOX + 'section_14a = true\nconnection_point = "c"\nlimits = ["production"]\n',
            "steering_box[0].limits",
        ),
        (BOX + "devices = 3\n", "steering_box[0].devices"),
        (BOX + "failsafe_kw = -1\n", "steering_box[0].failsafe_kw"),
        (BOX + "failsafe_duration = 60\n", "steering_box[0].failsafe_duration"),
        (BOX + "limits = []\n", "steering_box[0].limits"),
        (BOX.replace('"b"', '"a/b"'), "steering_box[0].name"),
        (BOX + "unknown = 1\n", "steering_box[0].unknown"),
    ],
    ids=["twice", "tenant", "no point", "production", "half", "negative", "short", "nothing", "name", "unknown"],
)
def test_a_wrong_box_is_named(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(PLAIN + text)
    with pytest.raises(InvalidInput) as caught:
        load_settings(path)
    assert caught.value.field == field


async def test_chargers_below_a_node_follow_the_tree() -> None:
    scene = Scene()
    await scene.store.seed(TENANT, *tree(2))
    await scene.load()
    below = ChargersBelow(scene.services.tracker)
    assert below(TENANT, "site-1") == {"ch-1-0", "ch-1-1"}
    assert below(TENANT, "nowhere") == frozenset()
