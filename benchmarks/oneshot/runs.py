"""One run: a method, a level and a seed; how near the outputs stay to the dense network's, and at what cost.

Pruning is measured in a fresh process that did nothing before but load the network and its calibration data.
For every method, the random one too, layers are pruned one after the other, biases make up for what outputs
lost on average, and the statistics of batch norm are matched to the dense network's: all of it on the
calibration data, and timed. Every layer is pruned as much as the others. A method that does otherwise says so
in its title.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks._memory import measured
from benchmarks.oneshot.tasks import TASKS, Batches, Task
from torch import Tensor, nn

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, SettingError
from featherweight.sparsity.oneshot import LayerProblem, Solution, methods, prune_oneshot
from featherweight.sparsity.oneshot import Method as LayerMethod

FOLDER = Path(__file__).parents[2] / "runs" / "oneshot"  # of the dense networks' outputs


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a key of TASKS.
        method: a key of METHODS.
        sparsity: fraction of the prunable weights that become zero, 0..1.
        pattern: shapes that zeros may have, such as "unstructured", "2:4".
        seed: of the calibration data (and with photographs of the split), and of random masks.
        examples: images or sentences to calibrate with.
        evaluated: images or sentences to compare on.
    """

    network: str
    method: str
    sparsity: float
    pattern: str
    seed: int
    examples: int
    evaluated: int


@dataclass(frozen=True)
class Method:
    """How a method prunes.

    Attributes:
        title: in the tables.
        solve: as ``fw.prune_oneshot`` takes it, made for a seed.
        allocation: how many weights each layer keeps.
        batch_norm: what becomes of its statistics.
    """

    title: str
    solve: Callable[[int], str | LayerMethod]
    allocation: str = "uniform"
    batch_norm: str = "match"


def _named(name: str) -> Callable[[int], str]:
    return lambda seed: name


def at_random(seed: int) -> LayerMethod:
    """Return the control: a method that keeps weights drawn at random, unchanged."""
    drawn = torch.Generator().manual_seed(seed)

    def solve(problem: LayerProblem) -> Solution:
        scores = torch.rand(problem.grouped.shape, generator=drawn)
        return problem.solution(problem.grouped, problem.keep(scores))

    return solve


METHODS = {
    "random": Method("random", at_random),
    "magnitude_global": Method("magnitude, all layers together", _named("magnitude"), "global"),
    "alps_global": Method("alps, all layers together", _named("alps"), "global"),
    **{name: Method(name, _named(name)) for name in methods},
    **{
        f"sparsegpt_{way}": Method(f"sparsegpt, batch norm {words}", _named("sparsegpt"), batch_norm=way)
        for way, words in (("keep", "kept"), ("reestimate", "re-estimated"))
    },
}


def methods_for(task: Task) -> dict[str, Method]:
    """Return the methods that differ on a network."""
    return {n: method for n, method in METHODS.items() if task.has_batch_norm or method.batch_norm == "match"}


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record; a method that refuses leaves its reason in it."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    task = TASKS[run.network]
    model, batches = task.build(), task.calibration(run.seed, run.examples)
    skip = task.left_alone(model)
    found: dict[str, Any] = {"failed": ""}
    try:
        found |= measured(lambda: prune(model, batches, run, skip))[1]
        found |= _compared(task, model, run) | {"zeros": _zeros(model, skip)}
    except (ModelError, SettingError) as error:
        found["failed"] = str(error)
    return asdict(run) | {
        **found,
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def prune(model: nn.Module, batches: Batches, run: Run, skip: tuple[str, ...]) -> None:
    """Prune a network in place, as a run says."""
    method = METHODS[run.method]
    prune_oneshot(
        model,
        run.sparsity,
        batches,
        method=method.solve(run.seed),
        allocation=method.allocation,
        pattern=run.pattern,
        batch_norm=method.batch_norm,
        batches=None,
        skip=skip,
        progress=False,
        seed=run.seed,
    )


def _compared(task: Task, model: nn.Module, run: Run) -> dict[str, float]:
    seen = task.evaluation(run.seed, run.evaluated)
    return task.compare(_dense(task, run, seen), outputs(model.eval(), seen))


def _dense(task: Task, run: Run, seen: Batches) -> Tensor:
    """Return the outputs of the dense network, computed once for all runs on the same examples."""
    file = FOLDER / f"{run.network}-{0 if task.fixed_evaluation else run.seed}-{run.evaluated}.pt"
    if not file.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        torch.save({"outputs": outputs(task.build(), seen), "examples": sum_of(seen)}, partial)
        partial.replace(file)
    stored = torch.load(file, weights_only=True)
    if stored["examples"] != sum_of(seen):
        raise SystemExit(f"{file} is of other examples: delete it.")
    return stored["outputs"]


def sum_of(batches: Batches) -> float:
    """Return a number that differs for other examples, and for the same ones in another order."""
    examples = (example for inputs, _ in batches for example in inputs)
    return sum(number * float(example.double().sum()) for number, example in enumerate(examples, 1))


def outputs(model: nn.Module, batches: Batches) -> Tensor:
    """Return what a network gives for all examples, one after the other."""
    form = torch.channels_last  # convolutions are faster
    model = model.to(memory_format=form)  # pyright: ignore[reportCallIssue]
    with torch.inference_mode():
        found = [model(x.contiguous(memory_format=form) if x.ndim == 4 else x) for x, _ in batches]
    return torch.cat(found).clone()


def _zeros(model: nn.Module, skip: tuple[str, ...]) -> float:
    """Return the share of the prunable weights that are zero, 0..1."""
    weights = [weight.tensor for weight in find_prunable(model, skip).weights]
    return sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
