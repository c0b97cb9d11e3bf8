"""What a scan shows while it runs: a bar on a terminal, else a line a layer; on stderr."""

from __future__ import annotations

import time

from featherweight.sparsity.sensitivity.result import LayerScores
from featherweight.training.bar import Bar


class ScanProgress(Bar):
    """The measurements of a scan as they are made; silent where ``show`` is false."""

    def __init__(self, show: bool, total: int) -> None:
        """Make a view of ``total`` measurements."""
        super().__init__(show, total)
        self._total = total
        self._done = self._measured = 0
        self._started = time.monotonic()

    def measured(self) -> None:
        """Count a measurement that was made now, not read from the log."""
        self._measured += 1

    def advance(self) -> None:
        """Count a measurement, made now or before."""
        self._done += 1
        self.move(self._done)

    def layer_done(self, layer: LayerScores) -> None:
        """Show what the levels of a layer came to."""
        words = ", ".join(f"{_score(p.loss, p.score)} at {p.level:g}" for p in layer.points)
        self.say(f"layer {layer.name}  {words}{'' if self.is_drawn else self._left()}")

    def _left(self) -> str:
        to_go = self._total - self._done
        if not to_go or not self._measured:
            return ""
        return f"  ({(time.monotonic() - self._started) / self._measured * to_go:.0f} s to go)"


def _score(loss: float, score: float | None) -> str:
    return f"loss {loss:.4g}" if score is None else f"{score:.4f}"
