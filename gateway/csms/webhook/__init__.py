"""A signed webhook: columnar limits out, acknowledgements back, for platforms that speak nothing else."""
