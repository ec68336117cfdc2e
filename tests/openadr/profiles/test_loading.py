from pathlib import Path

import pytest

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles import load_profile, profile_names

PACK = """
name = "mine"
version = "1"
title = "Mine"
dialects = ["3.1.0"]
[sources.us]
title = "us"
[[kinds]]
id = "limit"
object = "event"
carries = ["IMPORT_CAPACITY_LIMIT"]
[[rules]]
id = "no-priority"
says = "an event has no priority"
rule = "forbidden"
object = "event"
path = "priority"
source = "us"
"""


def load(folder: Path, text: str, name: str = "mine") -> None:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    load_profile(name, folder)


def test_the_gateway_comes_with_six_packs() -> None:
    assert profile_names() == ["gac-2.0", "gac-2.1", "gac-2.2", "nl-flex-1.0", "se-conditional-1.0", "us-ca-prices-1.0"]


def test_a_small_pack_is_read(tmp_path: Path) -> None:
    load(tmp_path, PACK)
    assert [rule.id for rule in load_profile("mine", tmp_path).rules] == ["no-priority"]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        pytest.param('path = "priority"', 'path = "a[0]"', "profile.mine.rules.0.forbidden.path", id="no path"),
        pytest.param('path = "priority"', 'pth = "priority"', "profile.mine.rules.0.forbidden", id="unknown field"),
        pytest.param('rule = "forbidden"', 'rule = "magic"', "profile.mine.rules.0", id="rule outside the set"),
        pytest.param('object = "event"\npath', 'object = "vent"\npath', "profile.mine.rules.0", id="no such object"),
        pytest.param('source = "us"', 'source = "them"', "profile.mine", id="unknown source"),
        pytest.param('source = "us"', 'source = "us"\nkinds = ["other"]', "profile.mine", id="unknown kind"),
        pytest.param('carries = ["IMPORT_CAPACITY_LIMIT"]', "", "profile.mine.kinds.0", id="kind without a sign"),
        pytest.param('dialects = ["3.1.0"]', 'dialects = ["2.0a"]', "profile.mine.dialects", id="unknown dialect"),
        pytest.param('name = "mine"', 'name = "yours"', "profile.mine.name", id="name of another file"),
        pytest.param('version = "1"', "", "profile.mine.version", id="no version"),
        pytest.param('title = "Mine"', "title = ", "profile.mine", id="no TOML"),
        pytest.param('says = "an event has no priority"', 'says = ""', "profile.mine.rules.0", id="no sentence"),
    ],
)
def test_what_is_wrong_with_a_pack_is_named_by_its_place(tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in PACK
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, PACK.replace(old, new))
    assert caught.value.field.startswith(field)


def test_rules_must_have_an_id_each(tmp_path: Path) -> None:
    rule = PACK[PACK.index("[[rules]]") :]
    with pytest.raises(InvalidInput, match="an id each: no-priority"):
        load(tmp_path, PACK + rule)


def test_a_pack_extends_another(tmp_path: Path) -> None:
    load(tmp_path, PACK)
    child = """
name = "child"
version = "2"
title = "Child"
dialects = ["3.1.0"]
extends = "mine"
[[rules]]
id = "no-priority"
says = "an event may have a priority"
rule = "field"
object = "event"
path = "priority"
is_required = false
source = "us"
"""
    load(tmp_path, child, "child")
    assert [rule.says for rule in load_profile("child", tmp_path).rules] == ["an event may have a priority"]
    with pytest.raises(InvalidInput, match="without"):
        load(tmp_path, child.replace('extends = "mine"', 'extends = "mine"\nwithout = ["nothing"]'), "child")
    with pytest.raises(InvalidInput, match="not known"):
        load(tmp_path, child.replace('extends = "mine"', 'extends = "yours"'), "child")
    with pytest.raises(InvalidInput, match="extends"):
        load(tmp_path, child.replace('extends = "mine"', 'extends = "child"'), "child")


@pytest.mark.parametrize("name", ["gac-9", "../gateway", "", "gac-2.2.toml"])
def test_a_profile_that_is_not_there_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"gac-2\.2"):
        load_profile(name)
