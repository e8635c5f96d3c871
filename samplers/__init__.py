"""Which documents, how often: pure functions over arrays."""
