"""After the fact: baselines, the comparison with uncontrolled charging, and the settlement in exact decimals."""
