"""The best schedule of a fleet, with its proof: under a cap (`optimise`), behind a tree of limits (`tree_optimum`), for any
convex model (`convex_optimum` with `terms`, `site_assets`, `reserve`); set points and explanation.

Every solution passes `recheck`, which shares no code with what found it. Nothing here knows an exchange or a forecast.
"""
