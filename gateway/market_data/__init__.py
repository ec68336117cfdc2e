"""What we pull from outside: prices, imbalance prices, carbon intensity and tariffs, as `PriceSeries` and `CarbonSeries`.

Every source implements `ports.PriceSource` or `ports.CarbonSource` and is a small class of its own: one request with caps on
time, bytes and rate (`http_fetch`, `rate_budget`), a strict reader of the wire format, and an explicit assembly onto the
delivery day's grid. Dated rules of the markets come from `config/market_rules.toml` (`market_rules`). What does not live here:
when to fetch and what a late or incomplete day means (`services.gather_market_data`), keeping revisions (`storage`), and any
knowledge of orders.
"""
