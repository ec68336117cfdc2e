"""The inventory file: portfolios, sites, circuits, connection points, chargers, capacity groups and enrolments of one tenant.

```toml
tenant = "demo"

[[portfolios]]                              # what is bid together; root of a tree
id = "vpp-be"
name = "Belgian demo portfolio"
max_import_kw = 6000.0                      # rating, total over phases
fail_safe_import_kw = 4000.0                # when every authority is lost
bidding_zone = "BE"
time_zone = "Europe/Brussels"
currency = "EUR"
route = "via-BRP"                           # own-member, via-BRP or tariff-only
brp = "brp-demo"                            # left out: no order may leave
exchange_portfolio = "BE-EV"
max_order_mw = "6.0"                        # pre-trade limits, decimal text
max_day_mwh = "90.0"

[[sites]]
id = "site-01"
portfolio = "vpp-be"
name = "Car park north"
max_import_kw = 520.0
fail_safe_import_kw = 430.0
phase_rating_a = 800.0                      # fuse of each phase; left out: only the total is bounded
max_unbalance_a = 20.0                      # most by which two phases may differ; left out: no such rule
connection_points = [{ id = "541448820000000015", dso = "dso-demo", brp = "brp-demo", site_class = "home", voltage_level = "low" }]
circuits = [{ id = "site-01-c1", name = "Level -1", max_import_kw = 200.0, fail_safe_import_kw = 140.0 }]

[[sites.charger_groups]]                    # `count` equal chargers site-01-c1-001, site-01-c1-002, ...
parent = "site-01-c1"                       # the site or one of its circuits
id_prefix = "site-01-c1-"
count = 100
first = 1                                   # left out: 1
csms = "csms-demo"
phases = 3
max_import_kw = 11.0
min_import_kw = 1.38
fallback_kw = 1.38
enforcement = "B"                           # left out: B
phase_map = "123 231 312"                   # grid phases of L1, L2, L3, repeated over the group; left out: unknown
is_dc = false                               # left out: false
pilots_a = [6.0, 8.0, 16.0]                 # currents it can be set to; left out: any from the minimum on
wakes_after_pause = true                    # left out: true; false where cars do not resume after 0 A

[[capacity_groups]]                         # under which name a grid partner knows a node
authority = "vtn:grid-demo"
name = "vpp-be"
node = "vpp-be"

[[enrolments]]                              # who may be called by which program, for what and until when
authority = "vtn:grid-demo"
program = "http://grid-demo.example/dr"     # market context or program id; left out: every program of the authority
node = "site-01"
resource = "Car park north"                 # the partner's name of the node
owner = "facility@carpark.example"          # who is responsible for the consent; never a driver
purpose = "reduce the load in grid emergencies"
valid_from = 2025-10-01T00:00:00Z
valid_until = 2026-10-01T00:00:00Z          # left out: until withdrawn
consented_at = 2025-09-15T09:00:00Z
```

Everything is checked before anything is returned: a wrong file changes nothing, and the error names the field by its path.
A key that is not known is an error, so that a typing mistake is not a silent default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gateway.domain.document_table import DocumentTable
from gateway.domain.errors import InvalidInput
from gateway.domain.programs import Enrolment
from gateway.domain.timegrid import Interval, zone_of
from gateway.domain.topology import (
    VOLTAGE_LEVELS,
    CapacityGroup,
    Charger,
    ConnectionPoint,
    EnforcementClass,
    Node,
    NodeKind,
    Portfolio,
    Route,
    SiteTree,
)

MAX_GROUP_COUNT = 10_000
MAX_CHARGER_COUNT = 200_000
SITE_CLASSES = ("home", "public", "workplace")
_TOLERANCE_KW = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What an inventory file says, checked as a whole."""

    tenant: str
    nodes: tuple[Node, ...]
    """Portfolios, then sites with their circuits, parents before children."""
    chargers: tuple[Charger, ...]
    connection_points: tuple[ConnectionPoint, ...]
    portfolios: tuple[Portfolio, ...]
    capacity_groups: tuple[CapacityGroup, ...]
    enrolments: tuple[Enrolment, ...] = ()


def parse_inventory(document: Mapping[str, object]) -> Inventory:
    """Return the inventory that a parsed TOML document describes.

    Raises:
        InvalidInput: A field is missing, unknown or wrong, an id appears twice, a reference leads nowhere, or the fallbacks
            below a node add up to more than its rating. The path of the field is named, for example
            `sites[2].circuits[0].max_import_kw`.
    """
    top = DocumentTable(document, "")
    tenant = top.text("tenant")
    draft = _Draft(tenant)
    for table in top.tables("portfolios", at_least=1):
        draft.add_portfolio(table)
    for table in top.tables("sites", at_least=1):
        draft.add_site(table)
    for table in top.tables("capacity_groups"):
        draft.add_capacity_group(table)
    for table in top.tables("enrolments"):
        draft.add_enrolment(table)
    top.refuse_unknown()
    draft.check_fallbacks()
    return Inventory(
        tenant=tenant,
        nodes=tuple(draft.nodes.values()),
        chargers=tuple(draft.chargers.values()),
        connection_points=tuple(draft.connection_points.values()),
        portfolios=tuple(draft.portfolios.values()),
        capacity_groups=tuple(draft.capacity_groups.values()),
        enrolments=tuple(draft.enrolments.values()),
    )


def gs1_check_digit(digits: str) -> str:
    """Return the check digit of a GS1 key such as an EAN without it (GS1 General Specifications 7.9: weights 3, 1 from the right)."""
    weighted = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return str(-weighted % 10)


class _Draft:
    """The inventory while it is read, by id; refuses ids that appear twice and references that lead nowhere."""

    def __init__(self, tenant: str) -> None:
        self.nodes: dict[str, Node] = {}
        self.chargers: dict[str, Charger] = {}
        self.connection_points: dict[str, ConnectionPoint] = {}
        self.portfolios: dict[str, Portfolio] = {}
        self.capacity_groups: dict[str, CapacityGroup] = {}
        self.enrolments: dict[str, Enrolment] = {}
        self._tenant = tenant
        self._node_paths: dict[str, str] = {}

    def add_portfolio(self, table: DocumentTable) -> None:
        """Read a portfolio and its root node."""
        node = self._add_node(table, NodeKind.PORTFOLIO, None)
        route = table.choice("route", Route)
        brp = table.text("brp") if table.has("brp") else None
        if route is Route.VIA_BRP and brp is None:
            raise InvalidInput(table.path("brp"), "is missing: a route via-BRP needs one")
        zone = table.text("time_zone")
        with table.naming():
            zone_of(zone)
        self.portfolios[node.id] = Portfolio(
            id=node.id,
            tenant=self._tenant,
            bidding_zone=table.text("bidding_zone"),
            time_zone=zone,
            currency=_currency(table),
            route=route,
            brp=brp,
            exchange_portfolio=table.text("exchange_portfolio"),
            max_order_mw=table.decimal_text("max_order_mw"),
            max_day_mwh=table.decimal_text("max_day_mwh"),
        )
        table.refuse_unknown()

    def add_site(self, table: DocumentTable) -> None:
        """Read a site with its circuits, connection points and chargers."""
        portfolio = self.portfolios.get(table.text("portfolio"))
        if portfolio is None:
            raise InvalidInput(table.path("portfolio"), "is not a portfolio of this file")
        site = self._add_node(table, NodeKind.SITE, portfolio.id)
        places = {site.id}
        for circuit in table.tables("circuits"):
            parent = _reference(circuit, "parent", places) if circuit.has("parent") else site.id
            places.add(self._add_node(circuit, NodeKind.CIRCUIT, parent).id)
            circuit.refuse_unknown()
        for point in table.tables("connection_points", at_least=1):
            self._add_connection_point(point, site, portfolio)
        for group in table.tables("charger_groups"):
            self._add_chargers(group, places)
        table.refuse_unknown()

    def add_capacity_group(self, table: DocumentTable) -> None:
        """Read the name under which a grid partner knows a node."""
        authority, name = table.text("authority"), table.text("name")
        group = CapacityGroup(
            id=f"{authority}:{name}",
            tenant=self._tenant,
            authority=authority,
            name=name,
            node=_reference(table, "node", self.nodes),
        )
        _add_once(self.capacity_groups, group.id, group, table.path("name"))
        table.refuse_unknown()

    def add_enrolment(self, table: DocumentTable) -> None:
        """Read a consent; the same authority, program and node from the same instant on is the same consent."""
        authority, node = table.text("authority"), _reference(table, "node", self.nodes)
        program = table.text("program") if table.has("program") else ""
        start = table.instant("valid_from")
        end = table.instant("valid_until") if table.has("valid_until") else None
        if end is not None and end <= start:
            raise InvalidInput(table.path("valid_until"), "must lie after valid_from")
        with table.naming():
            enrolment = Enrolment(
                id=f"{authority}:{program}:{node}:{start:%Y-%m-%dT%H:%M:%SZ}",
                tenant=self._tenant,
                authority=authority,
                program=program,
                node=node,
                resource=table.text("resource"),
                owner=table.text("owner"),
                purpose=table.text("purpose"),
                valid=Interval(start=start, end=end),
                consented_at=table.instant("consented_at"),
            )
        _add_once(self.enrolments, enrolment.id, enrolment, table.path("node"))
        table.refuse_unknown()

    def check_fallbacks(self) -> None:
        """Refuse fallbacks that add up to more than a node may draw: when we die they all apply at once."""
        tree = SiteTree.build(self.nodes.values(), self.chargers.values())
        total_kw = tree.sum_up(
            np.array([self.chargers[charger].fallback_kw for charger in tree.charger_ids], dtype=float)
        )
        for index, node_id in enumerate(tree.node_ids):
            rating_kw = tree.rating_kw[index]
            if total_kw[index] > rating_kw + _TOLERANCE_KW:
                problem = f"{rating_kw:g} is less than the {total_kw[index]:g} kW that the fallbacks of its chargers add up to"
                raise InvalidInput(f"{self._node_paths[node_id]}.max_import_kw", problem)

    def _add_node(self, table: DocumentTable, kind: NodeKind, parent: str | None) -> Node:
        node_id, name = table.text("id"), table.text("name")
        rating_kw, fail_safe_kw = table.number("max_import_kw"), table.number("fail_safe_import_kw")
        phase_rating_a, max_unbalance_a = (
            table.number(key) if table.has(key) else None for key in ("phase_rating_a", "max_unbalance_a")
        )
        with table.naming():
            node = Node(
                id=node_id,
                tenant=self._tenant,
                parent=parent,
                kind=kind,
                name=name,
                max_import_kw=rating_kw,
                fail_safe_import_kw=fail_safe_kw,
                phase_rating_a=phase_rating_a,
                max_unbalance_a=max_unbalance_a,
            )
        _add_once(self.nodes, node_id, node, table.path("id"))
        self._node_paths[node_id] = table.where
        return node

    def _add_connection_point(self, table: DocumentTable, site: Node, portfolio: Portfolio) -> None:
        point_id, site_class = table.text("id"), table.text("site_class")
        if len(point_id) == 18 and point_id.isdecimal() and gs1_check_digit(point_id[:-1]) != point_id[-1]:
            raise InvalidInput(table.path("id"), "has a wrong check digit")
        if site_class not in SITE_CLASSES:
            raise InvalidInput(table.path("site_class"), f"must be one of {', '.join(SITE_CLASSES)}")
        dso, brp = table.text("dso"), table.text("brp") if table.has("brp") else None
        loss_factor = _loss_factor(table)
        voltage_level = table.text("voltage_level") if table.has("voltage_level") else VOLTAGE_LEVELS[0]
        with table.naming():
            point = ConnectionPoint(
                id=point_id,
                tenant=self._tenant,
                site=site.id,
                bidding_zone=portfolio.bidding_zone,
                time_zone=portfolio.time_zone,
                dso=dso,
                brp=brp,
                loss_factor=loss_factor,
                site_class=site_class,
                voltage_level=voltage_level,
            )
        _add_once(self.connection_points, point_id, point, table.path("id"))
        table.refuse_unknown()

    def _add_chargers(self, table: DocumentTable, places: set[str]) -> None:
        parent, prefix, csms = _reference(table, "parent", places), table.text("id_prefix"), table.text("csms")
        count = table.whole("count", low=1, high=MAX_GROUP_COUNT)
        first = table.whole("first", low=0, high=MAX_GROUP_COUNT) if table.has("first") else 1
        enforcement = table.choice("enforcement", EnforcementClass) if table.has("enforcement") else EnforcementClass.B
        phases = table.whole("phases", low=1, high=3)
        max_kw, min_kw, fallback_kw = (table.number(key) for key in ("max_import_kw", "min_import_kw", "fallback_kw"))
        maps = table.text("phase_map").split() if table.has("phase_map") else [""]
        is_dc, wakes = table.flag("is_dc", default=False), table.flag("wakes_after_pause", default=True)
        pilots_a = table.numbers("pilots_a")
        table.refuse_unknown()
        if len(self.chargers) + count > MAX_CHARGER_COUNT:
            raise InvalidInput(table.path("count"), f"more than {MAX_CHARGER_COUNT} chargers in one file")
        width = max(3, len(str(first + count - 1)))
        for number in range(first, first + count):
            with table.naming():
                charger = Charger(
                    id=f"{prefix}{number:0{width}d}",
                    tenant=self._tenant,
                    csms=csms,
                    parent=parent,
                    max_import_kw=max_kw,
                    min_import_kw=min_kw,
                    phases=phases,
                    fallback_kw=fallback_kw,
                    enforcement=enforcement,
                    phase_map=maps[(number - first) % len(maps)],
                    is_dc=is_dc,
                    pilots_a=pilots_a,
                    wakes_after_pause=wakes,
                )
            _add_once(self.chargers, charger.id, charger, table.path("id_prefix"))


RecordT = TypeVar("RecordT")


def _add_once(records: dict[str, RecordT], record_id: str, record: RecordT, path: str) -> None:
    if record_id in records:
        raise InvalidInput(path, f"{record_id} appears twice")
    records[record_id] = record


def _reference(table: DocumentTable, key: str, known: set[str] | dict[str, Node]) -> str:
    value = table.text(key)
    if value not in known:
        raise InvalidInput(table.path(key), f"{value} is not a node that was named before")
    return value


def _currency(table: DocumentTable) -> str:
    value = table.text("currency")
    if len(value) != 3 or not value.isascii() or not value.isupper():
        raise InvalidInput(table.path("currency"), "must be an ISO 4217 code such as EUR")
    return value


def _loss_factor(table: DocumentTable) -> float:
    if not table.has("loss_factor"):
        return 1.0
    value = table.number("loss_factor")
    if value <= 0.0:
        raise InvalidInput(table.path("loss_factor"), "must be above 0")
    return value
