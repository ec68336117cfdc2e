"""A checked bid and a chart: `python -m scripts.examples.bid_from_csv SESSIONS.csv PRICES.csv sdac CHART.svg`.

Sessions: arrival, departure (ISO 8601 with offset), power_kw, energy_kwh. Prices: start, eur_per_mwh of one delivery day.
"""

import csv
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bidding.optimum.site_plan import SiteFlexibility
from bidding.orders.bid_check import check_curves, require_sound
from bidding.orders.market_file import parse_markets
from bidding.orders.order import DayAheadOrder
from bidding.plans.day_ahead import DayAheadRequest, plan_day_ahead
from gateway.domain.timegrid import DeliveryDay
from scripts.bid_study import chart, columns

cars, prices = (list(csv.DictReader(Path(name).read_text().splitlines())) for name in sys.argv[1:3])
market, picture = sys.argv[3:]
day = DeliveryDay.containing(datetime.fromtimestamp(columns.instants(prices, "start")[0], UTC), "Europe/Brussels")
grid, price = day.grid(), columns.numbers(prices, "eur_per_mwh")
book = parse_markets(tomllib.loads((Path(__file__).parents[2] / "config/markets/europe.toml").read_text()))
rules = book.auction(market, day.day).curve_rules(slot_minutes=15)
sessions, connection_kw = columns.sessions(cars, grid), columns.numbers(cars, "power_kw").sum()
site = SiteFlexibility(connection_point="mine", sessions=sessions, cap_kw=np.full(grid.count, connection_kw))
request = DayAheadRequest(grid=grid, delivery_day=day, price_eur_per_mwh=price, sites=(site,), market=rules)
order = plan_day_ahead(request).order
if not isinstance(order, DayAheadOrder):
    sys.exit(f"nothing to bid: {order.reason if order else 'no market'}")
require_sound(check_curves(order.periods, rules, grid))

bought = [float(period.max_volume_mw) for period in order.periods]
series = [("MW bought", bought), ("EUR per MWh", price.tolist())]
Path(picture).write_text(chart.steps(f"Bid for {day.day}", "delivery periods", series))
print(f"{order.energy_mwh} MWh in {len(bought)} delivery periods, checked; chart in {picture}")
