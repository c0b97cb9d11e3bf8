"""One run: a trained network cut to a fraction of its MACs by one method from one seed, fine-tuned, scored.

All methods start from the same trained network and train with the same settings, "from scratch" excepted: it
is the shape that ours came to, with new weights, trained for as many epochs as the dense network and its
fine-tuning together. The epoch is chosen on the validation split; the test set is read once, at the end.
Cut networks stay in runs/structured, where the benchmark of speed finds them.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from benchmarks.structured.networks import use_peers
from benchmarks.train_zoo import RECIPES
from torch import nn

import featherweight as fw
from featherweight.structured.progressive import BETWEEN, FINE_TUNING
from featherweight.training.precision import choose_precision
from featherweight.zoo import default_loaders

CUT = Path(__file__).parents[2] / "runs" / "structured"
EXAMPLE = torch.zeros(1, 1, 28, 28)


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo.
        method: a key of METHODS.
        macs: fraction of the MACs that is left at most.
        round_to: layers keep multiples of this many channels, which engines like.
        seed: of data order, augmentation, random channels and new weights.
        epochs: of fine-tuning after the cut.
    """

    network: str
    method: str
    macs: float
    round_to: int
    seed: int
    epochs: int

    @property
    def file(self) -> Path:
        """Where the cut and fine-tuned network is kept."""
        name = f"{self.network}-{self.method}-{self.macs:g}-by-{self.round_to}"
        return CUT / f"{name}-seed-{self.seed}-epochs-{self.epochs}.safetensors"

    @property
    def settings(self) -> fw.TrainingSettings:
        """How it is fine-tuned."""
        return replace(FINE_TUNING, epochs=self.epochs, seed=self.seed)


def _ours(criterion: str, steps: int = 1, penalty: float | None = None) -> Callable[[Run], nn.Module]:
    """Return our own method; in several steps the epochs are those of all steps together."""

    def cut(run: Run) -> nn.Module:
        model = fw.load_model(run.network)
        before = steps - 1 + (penalty is not None) * steps
        small, _ = fw.progressive_prune_structured(
            model,
            EXAMPLE,
            macs=run.macs,
            criterion=criterion,
            round_to=run.round_to,
            steps=steps,
            penalty=penalty,
            between=replace(BETWEEN, learning_rate=run.settings.learning_rate),
            settings=replace(run.settings, epochs=run.epochs - before),
            progress=False,
        )
        return small

    return cut


def _dense(run: Run) -> nn.Module:
    return _tuned(fw.load_model(run.network), run, run.settings)


def _from_scratch(run: Run) -> nn.Module:
    """Train the shape that ``l2`` came to, from new weights."""
    ours = replace(run, method="l2")
    if not ours.file.exists():
        raise SystemExit(f"{ours.file} is not there: run the method 'l2' first.")
    small = fw.load(ours.file, into=fw.load_model(run.network))
    torch.manual_seed(run.seed)
    for module in small.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    recipe = RECIPES[run.network].settings
    return _tuned(small, run, replace(recipe, epochs=recipe.epochs + run.epochs, seed=run.seed))


def _torch_pruning(run: Run) -> nn.Module:
    """Cut to the same MACs by Torch-Pruning's group magnitude, ranked globally, as its examples do."""
    model = fw.load_model(run.network)
    aim = run.macs * macs_of(model)
    enough, too_little = 1.0, 0.0
    for _ in range(12):
        ratio = (enough + too_little) / 2
        if macs_of(_by_torch_pruning(model, ratio, run.round_to)) <= aim:
            enough = ratio
        else:
            too_little = ratio
    small, loaders = _by_torch_pruning(model, enough, run.round_to), default_loaders(model)
    fw.reestimate_batch_norm(small, loaders.train)
    return _tuned(small, run, run.settings)


def _by_torch_pruning(model: nn.Module, ratio: float, round_to: int) -> nn.Module:
    use_peers()
    import torch_pruning as tp

    small = copy.deepcopy(model)
    tp.pruner.BasePruner(
        small,
        EXAMPLE,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        global_pruning=True,
        round_to=round_to,
        ignored_layers=[small.fc],
    ).step()
    return small


def _tuned(small: nn.Module, run: Run, settings: fw.TrainingSettings) -> nn.Module:
    loaders = default_loaders(fw.load_model(run.network))
    fw.fit(small, loaders.train, loaders.validate, settings, progress=False)
    return small


def macs_of(model: nn.Module) -> int:
    """Return the multiply-accumulates of one image."""
    return fw.profile(model, EXAMPLE, repeats=2, warmup=0).macs


@dataclass(frozen=True)
class Method:
    """A way to the small network.

    Attributes:
        title: its name in the tables.
        make: the network, cut and trained.
    """

    title: str
    make: Callable[[Run], nn.Module]


METHODS = {
    "l2": Method("featherweight, L2", _ours("l2")),
    "taylor": Method("featherweight, first-order Taylor", _ours("taylor")),
    "l2_steps": Method("featherweight, L2 in 3 steps", _ours("l2", steps=3)),
    "l2_penalty": Method("featherweight, L2 and a growing penalty", _ours("l2", penalty=1.0)),
    "random": Method("random channels", _ours("random")),
    "torch_pruning": Method("Torch-Pruning, group magnitude", _torch_pruning),
    "scratch": Method("the same shape from scratch", _from_scratch),
    "dense": Method("not cut, fine-tuned the same", _dense),
}


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    dense = fw.load_model(run.network)
    loaders = default_loaders(dense)
    small = METHODS[run.method].make(run).eval()
    CUT.mkdir(parents=True, exist_ok=True)
    fw.save(small, run.file)
    macs, whole = macs_of(small), macs_of(dense)
    if run.method != "dense" and not macs <= run.macs * whole:
        raise SystemExit(f"{run.method} left {macs / whole:.3f} of the MACs, {run.macs} at most were to be.")
    return asdict(run) | {
        "validation": fw.evaluate(small, loaders.validate),
        "test": fw.evaluate(small, loaders.test),
        "test_examples": len(loaders.test.dataset),
        "params": fw.count_params(small, nonzero=False),
        "params_ratio": fw.count_params(small, nonzero=False) / fw.count_params(dense, nonzero=False),
        "macs_ratio": macs / whole,
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }
