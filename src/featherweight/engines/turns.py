"""Timing of several sides that take turns (A B A B ...).

What else the machine does meanwhile falls on all of them alike, which two measurements one after the other
cannot promise. A turn is a call that is not timed and a few that are: what the others left of the caches, and
threads that slept meanwhile, are no part of how fast a side is where it runs alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, sleep

FEWEST_CALLS = 6
CALLS = 3  # timed in each turn
REST = 0.05  # for engines that run on several threads


@dataclass(frozen=True)
class Spread:
    """Milliseconds of one side.

    Attributes:
        median: of the turns.
        low: first quartile.
        high: third quartile.
        calls: how many were timed.
    """

    median: float
    low: float
    high: float
    calls: int

    @classmethod
    def of(cls, milliseconds: list[float]) -> Spread:
        """Return median and quartiles."""
        low, median, high = statistics.quantiles(milliseconds, n=4)
        return cls(median, low, high, len(milliseconds))

    def __str__(self) -> str:
        return f"{self.median:.3g} [{self.low:.3g}-{self.high:.3g}]"


def in_turns(
    sides: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    rest: float = 0.0,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, Spread]:
    """Call the sides in turn and return the milliseconds of each, by their names.

    Args:
        sides: what is timed.
        seconds: how long to measure in all, about; each side has at least two turns.
        rest: seconds of sleep before each turn: threads of some engines go on spinning after a run, and
            take their core from who comes next.
        clock: seconds that have passed.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    begin = clock()
    while len(next(iter(times.values()))) < FEWEST_CALLS or clock() - begin < seconds:
        for name, side in sides.items():
            if rest:
                sleep(rest)
            side()
            for _ in range(CALLS):
                start = clock()
                side()
                times[name].append(1e3 * (clock() - start))
    return {name: Spread.of(found) for name, found in times.items()}
