"""What a scan found: by layer and level, loss and score; as a table, as JSON, as an allocation."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from featherweight.artifact import replacing
from featherweight.errors import ArtifactError
from featherweight.sparsity.allocation.sensitivity import FromCurves, LossCurve


@dataclass(frozen=True)
class Level:
    """One layer pruned, all others whole.

    Attributes:
        level: sparsity of the layer that was asked for.
        kept: weights that stayed.
        loss: mean over the examples.
        score: accuracy (or the metric) of the network then; None where there is none.
    """

    level: float
    kept: int
    loss: float
    score: float | None


@dataclass(frozen=True)
class LayerScores:
    """What the sparsity of one layer of ``numel`` weights costs; ``points`` go from dense to sparse."""

    name: str
    numel: int
    points: tuple[Level, ...]

    @property
    def worst(self) -> float:
        """The highest loss of any level."""
        return max(point.loss for point in self.points)


@dataclass(frozen=True)
class Sensitivity:
    """What ``fw.sensitivity`` found; ``print`` shows tables.

    Attributes:
        metric: what a score is; "accuracy" is in 0..1; None where there is a loss alone.
        whole_loss: of the network as it is.
        whole: score of the network as it is.
        examples: that everything was measured on; losses where a callable gave them.
        criterion: by which the weights that go were chosen.
        pattern: the shapes of the zeros.
        levels: sparsities of a layer, rising.
        layers: in the order of the network.
        left_alone: weights that were not scanned on request.
    """

    metric: str | None
    whole_loss: float
    whole: float | None
    examples: int
    criterion: str
    pattern: str
    levels: tuple[float, ...]
    layers: tuple[LayerScores, ...]
    left_alone: tuple[str, ...] = ()

    def by_sensitivity(self) -> tuple[LayerScores, ...]:
        """Return the layers, those whose sparsity costs most loss first."""
        return tuple(sorted(self.layers, key=lambda layer: -sum(point.loss for point in layer.points)))

    def allocation(self) -> FromCurves:
        """Return the allocation that keeps the summed loss of the layers least, for ``fw.prune``."""
        return FromCurves({layer.name: self._curve(layer) for layer in self.layers})

    def _curve(self, layer: LayerScores) -> LossCurve:
        losses = {layer.numel: self.whole_loss}
        losses |= {point.kept: point.loss for point in layer.points}
        kept = tuple(sorted(losses, reverse=True))
        return LossCurve(layer.numel, kept, tuple(losses[number] for number in kept))

    def tables(self) -> tuple[Table, ...]:
        """Return the tables that ``print`` shows: of the scores, where there are any, and of the losses."""
        losses = self._table("loss", self.whole_loss, [[p.loss for p in each.points] for each in self.layers])
        if self.metric is None or self.whole is None:
            return (losses,)
        scores = [[point.score or 0.0 for point in layer.points] for layer in self.layers]
        return self._table(self.metric, self.whole, scores), losses

    def _table(self, what: str, whole: float, values: Sequence[Sequence[float]]) -> Table:
        def shown(value: float) -> str:
            return f"{100 * value:.2f}%" if what == "accuracy" else f"{value:.3g}"

        figures = ("weights", *(f"{100 * level:g}%" for level in self.levels))
        right = [Column(each, justify="right", no_wrap=True) for each in figures]
        # Close together, so that the default levels stand on 80 columns; names of layers give way.
        table = Table(Column("layer", overflow="fold"), *right, box=SIMPLE, padding=0)
        for layer, row in zip(self.layers, values, strict=True):
            table.add_row(escape(layer.name), f"{layer.numel:,}", *map(shown, row))
        table.caption = escape(
            f"{what} on {self.examples:,} examples with one layer pruned by {self.criterion} to the share of "
            f"zeros above; the whole network: {shown(whole)}. Nothing was trained."
        )
        table.caption_justify = "left"
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        for table in self.tables():
            Console(file=text, width=118).print(table)
        return text.getvalue().rstrip()

    def to_json(self) -> str:
        """Return everything as a JSON object."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Sensitivity:
        """Return the record that ``to_json`` wrote; raises ArtifactError if it is anything else."""
        try:
            data = json.loads(text)
            layers = tuple(
                LayerScores(each["name"], each["numel"], tuple(Level(**point) for point in each["points"]))
                for each in data["layers"]
            )
            data |= {name: tuple(data[name]) for name in ("levels", "left_alone")}
            return cls(**data | {"layers": layers})
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"Not the JSON of a sensitivity scan: {error!r}.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record as JSON, whole or not at all; raises ArtifactError if it cannot be."""
        with replacing(path, "w") as file:
            file.write(self.to_json() + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensitivity:
        """Read what ``save`` wrote; raises ArtifactError if it is anything else."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"Cannot read the scan {os.fspath(path)!r}: {error}.") from error
        return cls.from_json(text)
