"""The data, the store and the pictures of `scripts/bench bids`."""
