"""Which comparisons people should judge next."""
