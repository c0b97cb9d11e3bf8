"""Figures in words: a ratio names its axis, an accuracy its examples."""

from __future__ import annotations

ENDLESS = float("inf")


def ratio(before: float, after: float) -> float:
    """Return how many times less ``after`` is than ``before``; infinite where nothing is left."""
    return before / after if after else ENDLESS


def fewer(before: float, after: float, what: str) -> str:
    """Return such as "10.0x fewer nonzero parameters"."""
    times = ratio(before, after)
    if times == ENDLESS:
        return f"no {what} left"
    return f"{times:.1f}x fewer {what}" if times >= 1 else f"{1 / times:.1f}x more {what}"


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction in 0..1 as "93.12%"."""
    return f"{100 * fraction:.{digits}f}%"


def points(before: float, after: float) -> str:
    """Return the change of an accuracy (0..1) as "-0.31 points"."""
    change = round(100 * (after - before), 2)
    return f"{change:+.2f} points" if change else "0.00 points"


def size(count: float) -> str:
    """Return a number of bytes as "139.4 kB" (1 kB = 1,000 bytes)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.4g} {unit}" if count < 1e12 else f"{count / scale:,.0f} {unit}"
    return f"{count:.0f} bytes"


def shortened(name: str, most: int) -> str:
    """Return ``name`` in at most ``most`` printable characters, its middle left out: the ends tell most."""
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    if len(printable) <= most:
        return printable
    head = (most - 1) // 2
    return printable[:head] + "…" + printable[len(printable) - (most - 1 - head) :]
