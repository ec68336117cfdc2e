"""What bids would have earned on recorded days, decided with nothing but what was known at each gate.

Days are walked forward through real auctions; every result is a frozen value of its day. What was believed and what came are
different types, and only strategies that say so see the future. No file is read or written here.
"""
