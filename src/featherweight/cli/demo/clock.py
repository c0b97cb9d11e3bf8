"""The seconds that each phase of the demo takes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter

from featherweight.cli.output import say


class Clock:
    """Times the phases of a command and says each as it ends.

    Attributes:
        seconds: wall-clock seconds by phase, in the order of the phases.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time the block under ``name``."""
        begin = perf_counter()
        yield
        self.seconds[name] = perf_counter() - begin
        say(f"{name}: {self.seconds[name]:.1f} s")

    def at_least(self, name: str, seconds: float) -> None:
        """Count what a phase took in an earlier process, where it was resumed: its cost is that of all."""
        self.seconds[name] = max(self.seconds[name], seconds)
