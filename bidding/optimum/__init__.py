"""The best schedule of a fleet, with its proof: price response, decomposition, cvxpy models, set points, explanation.

Where to begin: `optimise` for a cap and a demand charge, `tree_optimum` for a tree of limits, `convex_optimum` for any convex
model, written with `terms`, `site_assets`, `reserve` or expressions of one's own. Every solution passes `recheck`, which
shares no code with what found it. Nothing here knows an exchange or a forecast.
"""
