"""What one-shot pruning shows while it runs: a bar on a terminal, else a line a layer; on stderr."""

from __future__ import annotations

from featherweight.sparsity.oneshot.report import LayerReport
from featherweight.training.bar import Bar


class View(Bar):
    """The layers of a run as they are done; silent where ``show`` is false."""

    def __init__(self, show: bool, layers: int) -> None:
        """Make a view of so many layers."""
        super().__init__(show, layers)
        self._layers, self._done = layers, 0

    def at(self, name: str) -> None:
        """Show which layer is being worked on."""
        self.move(self._done, name)

    def done(self, report: LayerReport) -> None:
        """Show what was done to a layer."""
        self._done += 1
        self.say(str(report) if self.is_drawn else f"{self._done}/{self._layers}  {report}")
        self.move(self._done, report.name)
