"""The inventory file: what it gives, and that a wrong one gives nothing but the path of the wrong field."""

import copy
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import InvalidInput
from gateway.domain.inventory import MAX_CHARGER_COUNT, gs1_check_digit, parse_inventory
from gateway.domain.topology import EnforcementClass, NodeKind, Route, SiteTree

DEMO_FILE = Path(__file__).parents[2] / "config" / "data" / "demo_be_tree.toml"
Document = dict[str, Any]

SMALL = """
tenant = "demo"

[[portfolios]]
id = "vpp"
name = "Portfolio"
max_import_kw = 100.0
fail_safe_import_kw = 50
bidding_zone = "BE"
time_zone = "Europe/Brussels"
currency = "EUR"
route = "via-BRP"
brp = "brp-demo"
exchange_portfolio = "BE-EV"
max_order_mw = "0.5"
max_day_mwh = "5"

[[sites]]
id = "north"
portfolio = "vpp"
name = "North"
max_import_kw = 60.0
fail_safe_import_kw = 30.0
connection_points = [{ id = "541448820000000015", dso = "dso-demo", brp = "brp-demo", site_class = "home" }]
circuits = [
  { id = "north-c1", name = "Feeder", max_import_kw = 40.0, fail_safe_import_kw = 20.0 },
  { id = "north-c1a", parent = "north-c1", name = "Panel", max_import_kw = 20.0, fail_safe_import_kw = 10.0 },
]

[[sites.charger_groups]]
parent = "north-c1a"
id_prefix = "north-"
count = 3
csms = "csms-demo"
phases = 3
max_import_kw = 11.0
min_import_kw = 1.38
fallback_kw = 1.38

[[sites.charger_groups]]
parent = "north"
id_prefix = "north-dc-"
first = 7
count = 1
csms = "csms-other"
phases = 3
max_import_kw = 22.0
min_import_kw = 4.14
fallback_kw = 0
enforcement = "C"

[[capacity_groups]]
authority = "vtn:grid"
name = "group-1"
node = "north-c1"

[[enrolments]]
authority = "vtn:grid"
program = "http://grid.example/dr"
node = "north"
resource = "Car park north"
owner = "facility@carpark.example"
purpose = "reduce in emergencies"
valid_from = 2025-10-01T02:00:00+02:00
valid_until = 2026-10-01T00:00:00Z
consented_at = 2025-09-15T09:00:00Z
"""


def _small() -> Document:
    return tomllib.loads(SMALL)


def test_a_file_gives_tree_chargers_points_portfolios_and_groups() -> None:
    inventory = parse_inventory(_small())
    assert [(node.id, node.parent, node.kind) for node in inventory.nodes] == [
        ("vpp", None, NodeKind.PORTFOLIO),
        ("north", "vpp", NodeKind.SITE),
        ("north-c1", "north", NodeKind.CIRCUIT),
        ("north-c1a", "north-c1", NodeKind.CIRCUIT),
    ]
    assert [charger.id for charger in inventory.chargers] == ["north-001", "north-002", "north-003", "north-dc-007"]
    assert inventory.chargers[0].enforcement is EnforcementClass.B
    assert inventory.chargers[3].enforcement is EnforcementClass.C
    assert inventory.chargers[3].csms == "csms-other"
    (point,) = inventory.connection_points
    assert (point.site, point.bidding_zone, point.time_zone, point.loss_factor) == (
        "north",
        "BE",
        "Europe/Brussels",
        1.0,
    )
    (portfolio,) = inventory.portfolios
    assert (portfolio.route, portfolio.max_order_mw) == (Route.VIA_BRP, "0.5")
    (group,) = inventory.capacity_groups
    assert (group.id, group.node) == ("vtn:grid:group-1", "north-c1")
    (consent,) = inventory.enrolments
    assert consent.id == "vtn:grid:http://grid.example/dr:north:2025-10-01T00:00:00Z"
    assert (consent.node, consent.owner, consent.valid.end) == (
        "north",
        "facility@carpark.example",
        datetime(2026, 10, 1, tzinfo=UTC),
    )
    assert {node.tenant for node in inventory.nodes} | {c.tenant for c in inventory.chargers} == {"demo"}


Change = Callable[[Document], object]


def _set(*path: str | int, to: object) -> Change:
    def change(document: Document) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def _drop(*path: str | int) -> Change:
    def change(document: Document) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


WRONG: list[tuple[Change, str]] = [
    (_drop("tenant"), "tenant"),
    (_set("tenant", to=""), "tenant"),
    (_set("tenant", to="a\nb"), "tenant"),
    (_set("tenant", to="x" * 129), "tenant"),
    (_set("tenant", to=7), "tenant"),
    (_set("site", to=[]), "site"),
    (_drop("portfolios"), "portfolios"),
    (_set("portfolios", to={}), "portfolios"),
    (_set("portfolios", 0, to="vpp"), "portfolios[0]"),
    (_set("portfolios", 0, "nmae", to="x"), "portfolios[0].nmae"),
    (_set("portfolios", 0, "route", to="direct"), "portfolios[0].route"),
    (_drop("portfolios", 0, "brp"), "portfolios[0].brp"),
    (_set("portfolios", 0, "time_zone", to="Europe/Bruxelles"), "portfolios[0].time_zone"),
    (_set("portfolios", 0, "currency", to="euro"), "portfolios[0].currency"),
    (_set("portfolios", 0, "max_order_mw", to=0.5), "portfolios[0].max_order_mw"),
    (_set("portfolios", 0, "max_order_mw", to="0"), "portfolios[0].max_order_mw"),
    (_set("portfolios", 0, "max_order_mw", to="much"), "portfolios[0].max_order_mw"),
    (_set("portfolios", 0, "max_day_mwh", to="Infinity"), "portfolios[0].max_day_mwh"),
    (_set("portfolios", 0, "max_import_kw", to=3.0), "portfolios[0].fail_safe_import_kw"),
    (_set("sites", 0, "portfolio", to="vpp2"), "sites[0].portfolio"),
    (_set("sites", 0, "id", to="vpp"), "sites[0].id"),
    (_set("sites", 0, "max_import_kw", to=-1.0), "sites[0].max_import_kw"),
    (_set("sites", 0, "max_import_kw", to=float("nan")), "sites[0].max_import_kw"),
    (_set("sites", 0, "max_import_kw", to=True), "sites[0].max_import_kw"),
    (_set("sites", 0, "max_import_kw", to="60"), "sites[0].max_import_kw"),
    (_set("sites", 0, "fail_safe_import_kw", to=61.0), "sites[0].fail_safe_import_kw"),
    (_drop("sites", 0, "connection_points"), "sites[0].connection_points"),
    (_set("sites", 0, "connection_points", 0, "id", to="541448820000000016"), "sites[0].connection_points[0].id"),
    (_set("sites", 0, "connection_points", 0, "site_class", to="shop"), "sites[0].connection_points[0].site_class"),
    (_set("sites", 0, "connection_points", 0, "loss_factor", to=0), "sites[0].connection_points[0].loss_factor"),
    (_set("sites", 0, "circuits", 1, "parent", to="south"), "sites[0].circuits[1].parent"),
    (_set("sites", 0, "circuits", 1, "id", to="north-c1"), "sites[0].circuits[1].id"),
    (_drop("sites", 0, "circuits", 0, "fail_safe_import_kw"), "sites[0].circuits[0].fail_safe_import_kw"),
    (_set("sites", 0, "charger_groups", 0, "parent", to="vpp"), "sites[0].charger_groups[0].parent"),
    (_set("sites", 0, "charger_groups", 0, "count", to=0), "sites[0].charger_groups[0].count"),
    (_set("sites", 0, "charger_groups", 0, "count", to=2.0), "sites[0].charger_groups[0].count"),
    (_set("sites", 0, "charger_groups", 0, "count", to=1_000_000), "sites[0].charger_groups[0].count"),
    (_set("sites", 0, "charger_groups", 0, "first", to=-1), "sites[0].charger_groups[0].first"),
    (_set("sites", 0, "charger_groups", 0, "phases", to=2), "sites[0].charger_groups[0].phases"),
    (_set("sites", 0, "charger_groups", 0, "min_import_kw", to=12.0), "sites[0].charger_groups[0].min_import_kw"),
    (_set("sites", 0, "charger_groups", 0, "fallback_kw", to=12.0), "sites[0].charger_groups[0].fallback_kw"),
    (_set("sites", 0, "charger_groups", 1, "enforcement", to="D"), "sites[0].charger_groups[1].enforcement"),
    (_set("capacity_groups", 0, "node", to="south"), "capacity_groups[0].node"),
    (_set("enrolments", 0, "node", to="south"), "enrolments[0].node"),
    (_drop("enrolments", 0, "owner"), "enrolments[0].owner"),
    (_set("enrolments", 0, "purpose", to=""), "enrolments[0].purpose"),
    (_set("enrolments", 0, "valid_from", to="2025-10-01"), "enrolments[0].valid_from"),
    (_set("enrolments", 0, "valid_from", to=datetime(2025, 10, 1)), "enrolments[0].valid_from"),  # noqa: DTZ001  # meant
    (_set("enrolments", 0, "valid_until", to=datetime(2025, 9, 1, tzinfo=UTC)), "enrolments[0].valid_until"),
    (_set("enrolments", 0, "who", to="x"), "enrolments[0].who"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=[f"{n}-{field}" for n, (_, field) in enumerate(WRONG)])
def test_a_wrong_field_is_named_by_its_path(change: Change, field: str) -> None:
    document = _small()
    change(document)
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == field


def test_an_id_that_appears_twice_is_named_where_it_appears_again() -> None:
    document = _small()
    document["sites"].append(copy.deepcopy(document["sites"][0]))
    document["sites"][1] |= {"id": "south", "circuits": [], "charger_groups": []}
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == "sites[1].connection_points[0].id"
    document["sites"][1]["connection_points"][0]["id"] = "another"
    document["sites"][1]["charger_groups"] = [document["sites"][0]["charger_groups"][0] | {"parent": "south"}]
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == "sites[1].charger_groups[0].id_prefix"
    document["capacity_groups"].append(document["capacity_groups"][0])
    document["sites"][1]["charger_groups"] = []
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == "capacity_groups[1].name"


def test_fallbacks_that_add_up_to_more_than_a_rating_are_refused_at_the_node_that_they_overload() -> None:
    document = _small()
    document["sites"][0]["charger_groups"][0]["fallback_kw"] = 7.0
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == "sites[0].circuits[1].max_import_kw"
    assert "21 kW" in refused.value.problem


def test_more_chargers_than_a_file_may_have_are_refused_before_they_are_made() -> None:
    document = _small()
    group = document["sites"][0]["charger_groups"][0] | {"count": 10_000, "fallback_kw": 0}
    document["sites"][0]["charger_groups"] = [
        group | {"id_prefix": f"n{number}-"} for number in range(MAX_CHARGER_COUNT // 10_000 + 1)
    ]
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == f"sites[0].charger_groups[{MAX_CHARGER_COUNT // 10_000}].count"


@pytest.mark.parametrize(
    ("body", "digit"),
    [("629104150021", "3"), ("9780306406157"[:-1], "7"), ("37610425002123456"[:17], "9"), ("00000000000000000", "0")],
)
def test_check_digits_are_those_of_gs1(body: str, digit: str) -> None:
    assert gs1_check_digit(body) == digit


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(place=st.integers(0, 60), value=JSON_LIKE)
def test_any_value_anywhere_is_taken_or_refused_by_name_and_never_crashes(place: int, value: object) -> None:
    document = _small()
    places = list(_places(document))
    owner, key = places[place % len(places)]
    owner[key] = value
    refused: InvalidInput | None = None
    try:
        parse_inventory(document)
    except InvalidInput as error:
        refused = error
    assert refused is None or (refused.field and refused.problem)


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
    found = [(value, key) for key, _ in items]
    for _, inner in items:
        if isinstance(inner, Mapping | list):
            found += _places(inner)
    return found


def test_the_demo_has_twelve_sites_and_its_fallbacks_leave_room() -> None:
    inventory = parse_inventory(tomllib.loads(DEMO_FILE.read_text(encoding="utf-8")))
    sites = [node for node in inventory.nodes if node.kind is NodeKind.SITE]
    assert [site.id for site in sites] == [f"site-{number:02d}" for number in range(1, 13)]
    assert 3000 <= len(inventory.chargers) <= 3600
    assert [charger.id for charger in inventory.chargers if charger.csms != "csms-demo"] == [
        "example-001",
        "example-002",
    ]
    classes = [point.site_class for point in inventory.connection_points]
    assert [classes.count(kind) for kind in ("home", "public", "workplace")] == [5, 4, 3]
    assert all(len(point.id) == 18 for point in inventory.connection_points)
    per_site = [sum(node.parent == site.id for node in inventory.nodes) for site in sites]
    assert all(2 <= count <= 4 for count in per_site)
    tree = SiteTree.build(inventory.nodes, inventory.chargers)
    for site in sites:
        below = {tree.charger_ids[index] for index in tree.below(site.id).nonzero()[0].tolist()}
        fallback_kw = sum(charger.fallback_kw for charger in inventory.chargers if charger.id in below)
        assert 0.0 < fallback_kw <= 0.8 * site.max_import_kw
        assert site.fail_safe_import_kw >= fallback_kw
    assert [(group.authority, group.node) for group in inventory.capacity_groups] == [("vtn:grid-demo", "vpp-be")]


def test_a_file_says_how_nodes_and_chargers_are_wired_per_phase() -> None:
    document = _small()
    for path, value in (
        (("sites", 0, "phase_rating_a"), 80.0),
        (("sites", 0, "max_unbalance_a"), 20.0),
        (("sites", 0, "charger_groups", 0, "phase_map"), "123 231"),
        (("sites", 0, "charger_groups", 0, "pilots_a"), [6.0, 16]),
        (("sites", 0, "charger_groups", 1, "is_dc"), True),
        (("sites", 0, "charger_groups", 1, "wakes_after_pause"), False),
    ):
        _set(*path, to=value)(document)
    inventory = parse_inventory(document)
    site = next(node for node in inventory.nodes if node.id == "north")
    assert (site.phase_rating_a, site.max_unbalance_a) == (80.0, 20.0)
    assert [charger.phase_map for charger in inventory.chargers] == ["123", "231", "123", ""]
    assert [charger.pilots_a for charger in inventory.chargers] == [(6.0, 16.0)] * 3 + [()]
    assert [charger.is_dc for charger in inventory.chargers] == [False, False, False, True]
    assert [charger.wakes_after_pause for charger in inventory.chargers] == [True, True, True, False]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("phase_map", "12"),
        ("phase_map", "113"),
        ("phase_map", "124"),
        ("pilots_a", [16.0, 6.0]),
        ("pilots_a", [0.0]),
        ("pilots_a", [1.0, 16.0]),
        ("pilots_a", ["6"]),
        ("pilots_a", 6.0),
        ("is_dc", "no"),
    ],
)
def test_a_wiring_that_no_charger_has_is_refused_by_its_path(key: str, value: object) -> None:
    document = _small()
    _set("sites", 0, "charger_groups", 0, key, to=value)(document)
    with pytest.raises(InvalidInput) as refused:
        parse_inventory(document)
    assert refused.value.field == f"sites[0].charger_groups[0].{key}"
