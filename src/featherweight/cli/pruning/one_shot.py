"""What ``featherweight prune --one-shot`` is asked for, and the pruning itself."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Column, Table
from torch import nn

from featherweight.cli.batches import Batches, examples_of, some_of
from featherweight.errors import ResumeError, SettingError
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.oneshot import LayerReport, prune_oneshot
from featherweight.sparsity.oneshot.settings import Settings, check_criterion
from featherweight.sparsity.patterns import row_pattern

EXAMPLES = 128  # as GPTQ and SparseGPT calibrate with
SPARSITY, ALLOCATION = 0.5, "uniform"


@dataclass(frozen=True)
class OneShot:
    """How a network is pruned without training; see ``fw.prune_oneshot``.

    Attributes:
        method: its name.
        examples: at least so many of the training split; None: all.
        damping: None: that of the library.
        run_dir: of finished layers; None: beside the file, until it is written.
        data: what --data names.

    Raises:
        SettingError: a setting is wrong, or would do nothing.
    """

    method: str
    criterion: str | None
    allocation: AllocationLike
    pattern: str
    examples: int | None = EXAMPLES
    damping: float | None = None
    correct_bias: bool = True
    batch_norm: str = "match"
    run_dir: Path | None = None
    data: str | None = None

    def __post_init__(self) -> None:
        Settings(self.method, row_pattern(self.pattern), self.damping, batch_norm=self.batch_norm)
        check_criterion(self.criterion, self.allocation)
        for folder in () if self.run_dir is None else (self.run_dir, *self.run_dir.parents):
            if folder.is_file():
                raise SettingError(
                    f"--run-dir {str(self.run_dir)!r}: {str(folder)!r} is a file; give the name of a folder."
                )

    @classmethod
    def of(cls, asked: Mapping[str, Any], allocation: AllocationLike) -> OneShot | None:
        """Return what a command asks for, by the names of its options; None without --one-shot."""
        if asked["one_shot"] is None:
            return None
        return cls(
            asked["one_shot"],
            asked["criterion"],
            allocation,
            asked["pattern"] or "unstructured",
            examples_of(asked["examples"], EXAMPLES),
            asked["damping"],
            asked["correct_bias"] is not False,
            asked["batch_norm"] or "match",
            asked["run_dir"],
            asked["data"],
        )

    def prune(
        self, model: nn.Module, sparsity: float, batches: Batches, beside: Path, **settings: Any
    ) -> tuple[LayerReport, ...]:
        """Prune ``model`` in place, and return what was done to each layer.

        Args:
            model: the network.
            sparsity: fraction of zeros, 0..1.
            batches: the training split calibrates.
            beside: folder for finished layers, where no ``run_dir`` was given.
            settings: skip and seed.
        """
        data = some_of(batches.train, self.examples)
        folder = self._within(self.run_dir or beside)
        with _explained(folder, self.run_dir or beside):
            masks = prune_oneshot(
                model, sparsity, data,
                method=self.method, allocation=self.allocation, criterion=self.criterion,
                pattern=self.pattern, batches=None, damping=self.damping, correct_bias=self.correct_bias,
                batch_norm=self.batch_norm, run_dir=folder, **settings,
            )  # fmt: skip
        return masks.layers

    def _within(self, outer: Path) -> Path:
        """Return the folder for these data, and so many of them: with others, layers would be others."""
        return outer / f"one-shot-{zlib.crc32(repr((self.data, self.examples)).encode()):08x}"


def layers_table(layers: Sequence[LayerReport]) -> Table:
    """Return a table of what was done to each layer."""
    right = [Column(title, justify="right") for title in ("weights", "zero", "error", "seconds")]
    table = Table("layer", *right, "", title="error: of the layer's outputs, relative", title_justify="left")
    for layer in layers:
        zero, error = f"{1 - layer.kept / layer.weights:.2%}", f"{layer.error:.3g}"
        figures = f"{layer.weights:,}", zero, error, f"{layer.seconds:.1f}"
        table.add_row(escape(layer.name), *figures, escape(layer.note))
    return table


@contextmanager
def _explained(folder: Path, outer: Path) -> Generator[None]:
    """Leave no new folder without a finished layer behind, and say what to do about one of another run."""
    there = outer.exists()
    try:
        yield
    except ResumeError as error:
        raise ResumeError(
            f"{error} Here: repeat the command of then, name another --run-dir, or delete {folder}."
        ) from error
    except Exception:
        if not there and not any(folder.glob("*.safetensors")):
            shutil.rmtree(outer, ignore_errors=True)
        raise
