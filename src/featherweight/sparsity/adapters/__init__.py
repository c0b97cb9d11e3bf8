"""Pruning in the training loops of others; each is imported by itself, as it needs their library."""
