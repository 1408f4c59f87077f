"""Usage as files that other programs read: what a stretch of time cost, in their formats."""
