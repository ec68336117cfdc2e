"""The language of the product: identity, time, series, money, topology, sessions, signals, limits, dispatch, bids, evidence.

Pure: the standard library and numpy only. No I/O, no clock, no log, no async; `now` is always an argument. Every rule about
what a limit, a bid or a delivery period *is* lives here; how it arrives, is stored or is shown does not.
"""
