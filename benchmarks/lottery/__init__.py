"""Lottery tickets beside their controls."""
