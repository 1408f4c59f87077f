"""Spent and held: in memory for one process; later shared between many."""
