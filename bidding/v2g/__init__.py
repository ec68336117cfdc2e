"""Cars that give back: the cheapest exchange of any number of bidirectional sessions with the grid, losses and wear included.

A session's answer to a price is exact and comes as two thresholds per slot (`response`); limits on what the fleet draws and
feeds in are met by mixing such answers, with a certified gap (`capped`). Every plan can be checked by `recheck`, which shares
no code with what found it. Nothing here knows a market or a forecast.
"""
