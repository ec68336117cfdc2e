"""Day-ahead prices of a node of the Californian grid from CAISO OASIS: `GET /oasisapi/SingleZip?queryname=PRC_LMP&...`.

The reply is always a zip: with one CSV of hourly rows (`INTERVALSTARTTIME_GMT, INTERVALENDTIME_GMT, NODE, MARKET_RUN_ID, LMP_TYPE,
MW` and others; the column `MW` holds USD per MWh), or with one XML document that says why there is none. A price is the row of
type `LMP`; `MCE`, `MCC` and `MCL` are its parts. More than one request in five seconds is refused with 429.
Source: CAISO, Interface Specification for OASIS.
"""

import csv
import io
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from lxml import etree

from gateway.domain.errors import InvalidInput, PeerUnavailable
from gateway.domain.series import PriceProduct
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.entsoe_xml import read_tree
from gateway.market_data.feeds.energy_charts import by_start
from gateway.market_data.feeds.public_prices import Ask, Samples
from gateway.market_data.json_document import as_instant
from gateway.market_data.zip_guard import is_zip, read_members

SPACING = timedelta(seconds=5)
"""Least time between two requests."""
MAX_BYTES = 5_000_000
_HOUR = timedelta(hours=1)
_NODE = re.compile(r"[A-Z0-9_.#-]{1,60}", re.ASCII)
_NO_DATA = "1000"
"""Error code of a selection without data."""
_COLUMNS = ("INTERVALSTARTTIME_GMT", "INTERVALENDTIME_GMT", "NODE", "MARKET_RUN_ID", "LMP_TYPE", "MW")


class CaisoOasis:
    """The feed of one node; `PriceFeed`.

    Args:
        node: Pricing node or trading hub, for example `TH_SP15_GEN-APND`.
        zone: Name under which its prices are asked for.
    """

    name = "caiso-oasis"
    licence = "CAISO OASIS, public data under the site's terms of use"
    product = PriceProduct.DAY_AHEAD_LMP

    def __init__(self, *, node: str, zone: str) -> None:
        if _NODE.fullmatch(node) is None:
            raise InvalidInput("oasis.node", "must be a pricing node such as TH_SP15_GEN-APND")
        self._node = node
        self._zone = zone

    async def samples(self, ask: Ask, zone: str, day: DeliveryDay) -> Samples | None:
        """Return the day's prices; see `PriceFeed`."""
        if zone != self._zone:
            raise InvalidInput("zone", f"{zone!r} is not the place of this node")
        grid = day.grid()
        params = {
            "queryname": "PRC_LMP",
            "market_run_id": "DAM",
            "node": self._node,
            "startdatetime": _stamp(grid.start),
            "enddatetime": _stamp(grid.end),
            "version": "12",
            "resultformat": "6",
        }
        body = await ask("/oasisapi/SingleZip", params)
        return None if body is None else self._read(body)

    def _read(self, body: bytes) -> Samples | None:
        if not is_zip(body):
            raise PeerUnavailable("caiso-oasis sent something that is no zip archive")
        (member,) = read_members(body, suffix=".csv|.xml", max_bytes=MAX_BYTES, max_members=1)
        if member.lstrip().startswith(b"<"):
            _require_no_data(read_tree(member, peer=self.name))
            return None
        starts: list[datetime] = []
        prices: list[Decimal | None] = []
        for number, row in enumerate(_rows(member), start=2):
            if row["NODE"] != self._node or row["MARKET_RUN_ID"] != "DAM":
                raise InvalidInput(f"row {number}", "is of another node or market")
            if row["LMP_TYPE"] != "LMP":
                continue
            start = as_instant(row["INTERVALSTARTTIME_GMT"], f"row {number}.INTERVALSTARTTIME_GMT")
            if as_instant(row["INTERVALENDTIME_GMT"], f"row {number}.INTERVALENDTIME_GMT") - start != _HOUR:
                raise InvalidInput(f"row {number}.INTERVALENDTIME_GMT", "must be an hour after the begin")
            starts.append(start)
            prices.append(_price(row["MW"], f"row {number}.MW"))
        return Samples(currency="USD", step=_HOUR, price_per_mwh=by_start(starts, prices)) if starts else None


def _rows(member: bytes) -> list[Mapping[str, str]]:
    try:
        text = member.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True, restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput("csv", f"cannot be read ({type(error).__name__})") from error
    missing = [name for name in _COLUMNS if rows and name not in rows[0]]
    if missing:
        raise InvalidInput("csv", f"has no column {missing[0]}")
    return list(rows)


def _price(text: str, field: str) -> Decimal:
    try:
        price = Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(field, "must be a decimal number") from error
    if not price.is_finite():
        raise InvalidInput(field, "must be a finite number")
    return price


def _require_no_data(root: etree._Element) -> None:
    """Check that an error document says that there are no data; any other reason is a refusal."""
    codes = [(element.text or "").strip() for element in root.iter("{*}ERR_CODE")]
    if codes != [_NO_DATA]:
        shown = next(((element.text or "").strip() for element in root.iter("{*}ERR_DESC")), "without a reason")
        printable = "".join(sign if sign.isprintable() else " " for sign in shown[:160])
        raise InvalidInput("request", f"was refused by CAISO OASIS: {printable}")


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y%m%dT%H:%M-0000")
