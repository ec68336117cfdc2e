"""What cars and chargers can do: sessions as columns and their exact flexibility in one additive table.

Nothing here knows a price, an objective or a market.
"""
