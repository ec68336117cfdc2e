"""The best schedule of a fleet, with its proof: price response, decomposition, cvxpy models, set points, explanation.

Every solution passes `recheck`, which shares no code with what found it. Nothing here knows an exchange or a forecast.
"""
