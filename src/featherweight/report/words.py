"""Figures in words: a ratio names its axis, an accuracy its examples."""

from __future__ import annotations

ENDLESS = float("inf")


def ratio(before: float, after: float) -> float:
    """Return how many times fewer ``after`` is than ``before``; infinite where nothing is left."""
    return before / after if after else ENDLESS


def times_fewer(before: float, after: float) -> str:
    """Return such as "10.0x", how many times fewer; "∞" where nothing is left."""
    times = ratio(before, after)
    return "∞" if times == ENDLESS else f"{times:.1f}x" if times >= 0.1 else f"{times:.2g}x"


def fewer(before: float, after: float, what: str) -> str:
    """Return such as "10.0x fewer nonzero parameters"."""
    if not after:
        return f"no {what} left"
    more = after > before
    return (
        f"{times_fewer(*((after, before) if more else (before, after)))} {'more' if more else 'fewer'} {what}"
    )


def faster(before: float, after: float) -> str:
    """Return such as "2.31x faster", of two times; "1.10x slower" where ``after`` takes longer."""
    return f"{before / after:.2f}x faster" if after <= before else f"{after / before:.2f}x slower"


def percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction in 0..1 as "93.12%"."""
    return f"{100 * fraction:.{digits}f}%"


def points(before: float, after: float) -> str:
    """Return the change of an accuracy (0..1) as "-0.31 points"."""
    change = round(100 * (after - before), 2)
    return f"{change:+.2f} points" if change else "0.00 points"


def shortened(name: str, most: int) -> str:
    """Return ``name`` in at most ``most`` printable characters, its middle left out: the ends tell most."""
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)
    if len(printable) <= most:
        return printable
    head = (most - 1) // 2
    return printable[:head] + "…" + printable[len(printable) - (most - 1 - head) :]
