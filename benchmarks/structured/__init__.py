"""Structured pruning: on how many networks it works, how much faster they get, what it costs."""
