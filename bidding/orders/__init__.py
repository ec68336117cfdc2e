"""From a planned draw to what a market takes: lots, ticks, curves, orders.

Rules of an auction are configuration that comes in as `MarketRules`; nothing here knows an exchange's wire format.
"""
