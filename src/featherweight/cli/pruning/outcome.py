"""What every way of pruning does around it: where checkpoints are, how the file is written and measured."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from featherweight.artifact import WriteReport, replacing
from featherweight.artifact.rounding import Values
from featherweight.cli.batches import Batches, make_batches, try_out
from featherweight.cli.network import fingerprint, make_network
from featherweight.cli.output import remark, say
from featherweight.errors import ResumeError
from featherweight.profile import evaluate
from featherweight.structured.checkpoint import save
from featherweight.training.checkpoint import FILE as CHECKPOINT


@dataclass(frozen=True)
class Subject:
    """The network to prune, and its data; ``batches`` is None where none were given."""

    model: nn.Module
    batches: Batches | None

    @classmethod
    def of(cls, model: str, weights: Path | None, data: str | None, seed: int) -> Subject:
        """Make what is named on the command line, and run a batch of each split through it."""
        network = make_network(model, weights, seed)
        if weights is None:
            remark("No --weights: the network is pruned with the weights that it is made with.")
        batches = None if data is None else make_batches(data)
        if batches is not None:
            try_out(network, batches, data or "")
        return cls(network, batches)


@dataclass(frozen=True)
class Measured:
    """Accuracy on ``split`` of ``examples`` examples, 0..1."""

    split: str
    examples: int
    accuracy: float

    @classmethod
    def of(cls, model: nn.Module, batches: Batches | None) -> Measured | None:
        """Evaluate ``model`` on the test split, where there is one, else on that of validation."""
        if batches is None:
            return None
        split, loader = ("validation", batches.validate) if batches.test is None else ("test", batches.test)
        return cls(split, _count(loader), evaluate(model, loader))

    def tell(self, *, trained: bool = True) -> None:
        """Say what the accuracy was measured on; where nothing was trained, no epoch was chosen on it."""
        chosen = " (on which the epoch was chosen, too)" if trained and self.split == "validation" else ""
        say(f"Accuracy on the {self.split} split, {self.examples:,} examples{chosen}.")


def _count(loader: Iterable[Any]) -> int:
    """Count examples, by the targets."""
    return sum(len(batch["labels"] if isinstance(batch, dict) else batch[1]) for batch in loader)


def run_dir_of(out: Path, model: nn.Module, data: str | None) -> Path:
    """Return the folder of checkpoints, beside the file; other weights or data have another one."""
    return out.with_name(f".{out.name}.{fingerprint(model)}.{zlib.crc32((data or '').encode()):08x}.run")


@contextmanager
def explained(run_dir: Path) -> Generator[None]:
    """Leave no folder without a checkpoint behind, and say what to do about one that is of another run."""
    try:
        yield
    except ResumeError as error:
        raise ResumeError(
            f"{error} Here: repeat the command of then, name another --out, or delete the folder {run_dir}."
        ) from error
    except Exception:
        if next(run_dir.rglob(CHECKPOINT), None) is None:
            shutil.rmtree(run_dir, ignore_errors=True)
        raise


@contextmanager
def drafted(
    model: nn.Module, out: Path, values: str, metadata: dict[str, str]
) -> Generator[tuple[WriteReport, Path]]:
    """Write a draft of the file, for the block to read back; put it in its place only if that ends well."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.safetensors"
        yield save(model, draft, values=cast(Values, values), metadata=metadata), draft
        with replacing(out) as file:
            file.write(draft.read_bytes())
