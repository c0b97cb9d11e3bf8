"""Pretrained networks, pruned without any training."""
