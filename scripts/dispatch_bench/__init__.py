"""The programs of the dispatch bench: the gateway, the bare fan-out beside it, and their clients, each a process of its own."""
