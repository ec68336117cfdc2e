"""One file a bench, started as `scripts/bench NAME`: a docstring whose first line says what it measures, and `run`.

`def run() -> scripts.measuring.Report` measures and returns; it prints nothing. Peers are timed in the same run, computation
in CPU seconds of one thread. A bench with options of its own has `add_options(parser: argparse.ArgumentParser)` beside it and is
called as `run(options)`. Whether a result is right is a test's business; here it is only how fast and how big.
"""
