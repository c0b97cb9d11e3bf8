"""Structured pruning: whole channels, heads and layers are removed, and tensors get smaller."""
