"""What the product does, one job a file: who may, what grid partners said, what the fleet is, plans, bids, orders, money, evidence.

A service takes a `Principal` first, speaks the language of `gateway.domain` and reaches the world through `gateway.ports` only.
Services never import each other: they meet in the store and its wake-ups, or get a callable from `gateway.app`. No protocol, no
SQL, no web page and no solver lives here.
"""
