"""What a cut is to reach: the fraction of units, parameters, MACs or measured time that is left.

A cut's parameters and MACs follow from sizes. Its time is measured on the rewritten graph, in turns with the
uncut one, so that what else the machine does meanwhile falls on both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from featherweight.core.trace import Example, as_arguments, evaluating, trace
from featherweight.errors import SettingError
from featherweight.profile.latency import time_in_turns
from featherweight.profile.macs import count_macs
from featherweight.structured import cost
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import rewritten
from featherweight.structured.selection import ROUNDING, Ranking, smallest_cut

Clock = Callable[[nn.Module], float]

SECONDS = 0.3  # of measuring one cut
LATENCY_STEPS = 128  # shares that a search by time tells apart: noise hides finer ones


@dataclass(frozen=True)
class Target:
    """What was asked for: one of keep, params, macs or latency, and the fraction that is left at most.

    Raises:
        SettingError: none is given, or several, or one that is no fraction.
    """

    name: str
    fraction: float

    @classmethod
    def of(cls, **given: float | None) -> Target:
        """Return the one target that is given."""
        chosen = {name: value for name, value in given.items() if value is not None}
        if len(chosen) != 1:
            raise SettingError(
                f"Give one of {', '.join(f'{name}=' for name in given)}: the fraction that is left, got "
                f"{', '.join(f'{name}={value!r}' for name, value in chosen.items()) or 'none'}."
            )
        ((name, value),) = chosen.items()
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:  # pyright: ignore
            raise SettingError(f"{name} is the fraction that is left, between 0 and 1, got {value!r}.")
        return cls(name, float(value))

    def __str__(self) -> str:
        return f"{self.name}={self.fraction:g}"


@dataclass(frozen=True)
class Reached:
    """How near the result came to its target; all three are fractions of the network before.

    Attributes:
        target: "keep", "params", "macs" or "latency".
        asked: at most.
        predicted: of the selection, before anything was cut.
        achieved: counted or measured on the result.
    """

    target: str
    asked: float
    predicted: float
    achieved: float


@dataclass(frozen=True, eq=False)
class Whole:
    """What fractions are fractions of: a network before anything was removed from it.

    Attributes:
        cut: of the network, that removes nothing.
        units: how many units its groups have.
    """

    cut: Cut
    units: int


class Reaching:
    """Chooses the cut that reaches a target, and says how near the result came."""

    def __init__(
        self,
        target: Target,
        ranking: Ranking,
        example: Example,
        clock: Clock | None,
        whole: Whole | None = None,
    ) -> None:
        """Take what the cut is chosen from.

        Args:
            target: what to reach.
            ranking: the units in their order.
            example: inputs to measure on.
            clock: seconds of a forward pass of a module; None: they are measured here, on ``example``.
            whole: what the target is a fraction of; None: the network of the ranking.

        Raises:
            SettingError: a clock, and a target that it has nothing to do with.
        """
        if clock is not None and target.name != "latency":
            raise SettingError(f"clock= measures latency; with {target} it would do nothing.")
        self.target, self.ranking, self.example, self.clock = target, ranking, example, clock
        self.units = sum(len(group) for group in ranking.groups)
        uncut = Whole(Cut(ranking.tracing, ()), self.units)
        self.whole, self.whole_units = (whole or uncut).cut, (whole or uncut).units
        self._timed: dict[bytes, float] = {}  # fraction of the time that is left, by what goes

    def choose(self) -> Cut:
        """Return the cut that goes least far; raises SettingError if even the floors are above the target."""
        if self.target.name == "keep":
            return self._by_units()
        if self.target.name == "latency":
            return smallest_cut(
                self.ranking, self.predicted, self.target.fraction, str(self.target), steps=LATENCY_STEPS
            )
        measure = {"params": cost.params, "macs": cost.macs}[self.target.name]
        whole = measure(self.whole)
        return smallest_cut(
            self.ranking, measure, self.target.fraction * whole, str(self.target), whole=whole
        )

    def _by_units(self) -> Cut:
        """Return the cut that leaves the fraction of the units; of each group's, where each is cut alike."""
        aim = self.target.fraction * self.whole_units
        least = min(1.0, max(0.0, 1 - aim / max(1, self.units)))
        return smallest_cut(
            self.ranking,
            lambda cut: self.units - len(cut.removed),
            aim + ROUNDING,
            str(self.target),
            whole=max(1, self.whole_units),
            least=least,
        )

    @property
    def is_met(self) -> bool:
        """Whether nothing needs to be cut."""
        return self.predicted(Cut(self.ranking.tracing, ())) <= self.target.fraction

    def predicted(self, cut: Cut) -> float:
        """Return the fraction that ``cut`` leaves."""
        if self.target.name == "keep":
            return (self.units - len(cut.removed)) / max(1, self.whole_units)
        if self.target.name == "latency":
            return self._relative_time(cut)
        measure = {"params": cost.params, "macs": cost.macs}[self.target.name]
        return measure(cut) / measure(self.whole)

    @cached_property
    def _stopwatch(self) -> _Stopwatch:
        return _Stopwatch(rewritten(self.whole), self.example, self.clock)

    def _relative_time(self, cut: Cut) -> float:
        if not len(cut.removed) and cut.tracing is self.whole.tracing:
            return 1.0  # by definition: a stall in the measurement must not make it less
        key = cut.removed.tobytes()
        if key not in self._timed:
            self._timed[key] = self._stopwatch.relative(rewritten(cut))
        return self._timed[key]

    def reached(self, predicted: float, result: nn.Module) -> Reached:
        """Return how near ``result`` came."""
        return Reached(self.target.name, self.target.fraction, predicted, self._achieved(predicted, result))

    def _achieved(self, predicted: float, result: nn.Module) -> float:
        if self.target.name == "latency":
            return self._stopwatch.relative(self._graph_of(result))
        if self.target.name == "params":
            return sum(p.numel() for p in result.parameters()) / cost.params(self.whole)
        if self.target.name == "macs":
            args, kwargs = as_arguments(self.example)
            with evaluating(result):
                counted, _ = count_macs(result, lambda: result(*args, **kwargs))
            return sum(counted.values()) / cost.macs(self.whole)
        return predicted

    def _graph_of(self, result: nn.Module) -> nn.Module:
        """Return the rewritten graph of ``result``: the whole network is timed in that form, too."""
        return rewritten(Cut(trace_axes(trace(result, self.example)), ()))


class _Stopwatch:
    """Times networks against the whole one."""

    def __init__(self, whole: nn.Module, example: Example, clock: Clock | None) -> None:
        self.whole, self.clock = whole.eval(), clock
        self.example = example
        self.seconds = None if clock is None else _checked(clock(self.whole))

    def relative(self, small: nn.Module) -> float:
        """Return the time of ``small`` as a fraction of that of the whole network.

        Of what is measured the first quartiles are compared: whatever else the machine does can only add to a
        time, so that the faster turns are those that tell of the network.
        """
        with evaluating(small):
            if self.clock is not None and self.seconds is not None:
                return _checked(self.clock(small)) / self.seconds
        times = time_in_turns({"whole": self.whole, "small": small}, self.example, seconds=SECONDS)
        return times["small"].low / times["whole"].low


def _checked(seconds: Any) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise SettingError(f"clock= returns seconds of a forward pass, above 0; it returned {seconds!r}.")
    return float(seconds)
