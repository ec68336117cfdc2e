"""Worker processes that can be killed: everything that computes longer than 50 ms runs here, never on the event loop.

What a worker runs lives elsewhere (`bidding`); nothing here knows what is computed.
"""

from gateway.workers.process import ProcessWorker

__all__ = ["ProcessWorker"]
