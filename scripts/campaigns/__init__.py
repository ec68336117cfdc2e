"""One file a campaign, started as `scripts/soak NAME`: a docstring whose first line says what is hunted, and `run`.

`def run(seed: int, until: Callable[[], bool]) -> scripts.soak_runner.Outcome` draws cases from a numpy Generator seeded
with `seed`, checks each against something independent of what it tests, and stops when `until()` says so; every case
must be reproducible from the seed and its number. A fixed-seed slice of each campaign runs with the tests.
"""
