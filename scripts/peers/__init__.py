"""One script a peer, each run by the Python of the peer's own environment; the project never imports a peer.

Schedulers: `SCRIPT INSTANCE.npz ANSWER.json` reads a case as `scripts.fleet_case` writes it, lets the peer solve it, and writes
`{"cpu_s": ..., "objective_eur": ..., "versions": ...}`: CPU seconds of the peer's own call after a small one to warm up, the cost of
the schedule it returned, and what took part. Preparing the peer's inputs is not counted. Nothing of the project is imported, as its
packages are not there.

Grid partners: `SCRIPT publish|judge ORDER.json ANSWER.json` speaks to a VTN of the sandbox, see `scripts.openadr_peer`. `SCRIPT ORDER.json`
serves as a capacity provider, see `scripts.oscp_peer`.
"""
