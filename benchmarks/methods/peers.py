"""Featherweight beside other libraries that prune: the same network, data, sparsity, weights and fine-tuning.

    python -m benchmarks.methods.peers --network fashion_cnn            # run what is missing, print
    python -m benchmarks.methods.peers --network fashion_cnn --table

Each library prunes the trained network once, as its documentation shows, holds its zeros while the same loop
trains, for as many steps on a part of the data, and leaves plain weights. Lines of code, and seconds of the
processor, are those of its own part: the function below, without the loop. The last epoch is taken, as the
states that torch.ao.pruning gives cannot be loaded again, which choosing an epoch needs. Records are appended
to benchmarks/results/peers.jsonl. NNCF needs ``make peers``.
"""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from benchmarks._command import command, run_missing
from benchmarks._queue import Record, of_every_seed, spread
from benchmarks.methods import strategies
from benchmarks.methods.strategies import EFFORTS, SMOKE, Effort, Part, tested
from benchmarks.structured.networks import use_peers
from torch import Tensor, nn

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.training.precision import choose_precision

RESULTS = Path(__file__).parents[1] / "results" / "peers.jsonl"
LEVELS, SEEDS = (0.9, 0.98), 3
Train = Callable[..., None]  # (model, pruner=None): the loop of whoever prunes


@dataclass(frozen=True)
class Run:
    """What is run; a record of the results file has the same fields.

    Attributes:
        network: a trained network of the zoo, or SMOKE.
        peer: a key of PEERS.
        sparsity: fraction of the prunable weights that become zero, 0..1.
        seed: seed of data order and augmentation.
        epochs: of fine-tuning.
        batches: in an epoch.
    """

    network: str
    peer: str
    sparsity: float
    seed: int
    epochs: int
    batches: int


def featherweight(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune all layers together."""
    train(model, pruner=fw.Pruner(model, sparsity, schedule="one_shot"))
    return model


def featherweight_uniform(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune each layer as much."""
    train(model, pruner=fw.Pruner(model, sparsity, schedule="one_shot", allocation="uniform"))
    return model


def torch_prune(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune all layers together; a hook multiplies by the mask in each forward pass."""
    from torch.nn.utils import prune

    layers = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    prune.global_unstructured(layers, prune.L1Unstructured, amount=sparsity)
    train(model)
    for layer, name in layers:
        prune.remove(layer, name)
    return model


def torch_ao(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune each layer as much; a parametrization multiplies by the mask in each forward pass."""
    from torch.ao.pruning import WeightNormSparsifier  # pyright: ignore[reportPrivateImportUsage]

    layers = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    sparsifier = WeightNormSparsifier(sparsity, sparse_block_shape=(1, 1), zeros_per_block=1)
    sparsifier.prepare(model, [{"tensor_fqn": f"{name}.weight"} for name in layers])
    sparsifier.step()
    train(model)
    sparsifier.squash_mask()
    return model


def nncf_global(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune all layers together, weights divided by the norm of their layer."""
    import nncf

    mode = nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL
    sparse = nncf.prune(model, mode, ratio=sparsity, examples_inputs=example)
    train(sparse)
    return nncf.strip(sparse, do_copy=False, strip_format=nncf.StripFormat.IN_PLACE, example_input=example)


def nncf_local(model: nn.Module, sparsity: float, example: Tensor, train: Train) -> nn.Module:
    """Prune each layer as much."""
    import nncf

    mode = nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_LOCAL
    sparse = nncf.prune(model, mode, ratio=sparsity, examples_inputs=example)
    train(sparse)
    return nncf.strip(sparse, do_copy=False, strip_format=nncf.StripFormat.IN_PLACE, example_input=example)


@dataclass(frozen=True)
class Peer:
    """A library.

    Attributes:
        title: in the table.
        prune: ``(model, sparsity, example, train) -> pruned model``, its whole use.
        fetched: whether it comes of ``make peers``.
    """

    title: str
    prune: Callable[[nn.Module, float, Tensor, Train], nn.Module]
    fetched: bool = False


PEERS = {
    "featherweight": Peer("featherweight, all layers together", featherweight),
    "torch": Peer("torch.nn.utils.prune, all layers together", torch_prune),
    "nncf": Peer("NNCF, all layers together", nncf_global, fetched=True),
    "featherweight_uniform": Peer("featherweight, layer by layer", featherweight_uniform),
    "nncf_local": Peer("NNCF, layer by layer", nncf_local, fetched=True),
    "torch_ao": Peer("torch.ao.pruning, layer by layer", torch_ao),
}


def perform(run: Run) -> dict[str, Any]:
    """Do one run on one thread and return its record; another library's error is its record."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    peer = PEERS[run.peer]
    if peer.fetched:
        os.environ["NNCF_CI"] = "1"  # else it reports its use, where it can
        use_peers()
    like = strategies.Run.dense(run.network, True, run.seed, run.epochs, run.batches)
    model, loaders = strategies.material(like)
    names = [weight.name for weight in find_prunable(model).weights]
    spent = dict[str, float]()

    def train(sparse: nn.Module, pruner: fw.Pruner | None = None) -> None:
        begun = time.process_time()
        part = Part(loaders.train, run.batches)
        fw.fit(sparse, part, None, strategies.settings_of(like), pruner=pruner, progress=False)
        spent["training"] = time.process_time() - begun

    example = next(iter(loaders.validate))[0][:1]
    begun = time.process_time()
    try:
        sparse = peer.prune(model, run.sparsity, example, train)
    except RuntimeError as error:
        if run.peer.startswith("featherweight"):
            raise
        return asdict(run) | {"failed": str(error), "seconds": time.perf_counter() - started}
    whole = time.process_time() - begun
    weights = dict(sparse.named_parameters())
    return asdict(run) | {
        "test": tested(sparse, loaders),
        "test_examples": len(loaders.test.dataset),  # pyright: ignore[reportArgumentType]
        "zeros": sum(int((weights[name] == 0).sum()) for name in names),
        "prunable": sum(weights[name].numel() for name in names),
        "seconds_training": spent["training"],
        "seconds_pruning": whole - spent["training"],
        "precision": choose_precision("auto", "no", torch.device("cpu")),
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
    }


def lines_of(function: Callable[..., Any]) -> int:
    """Return the statements' lines in the body of a function, its docstring, comments and blanks left out."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    return len(ast.unparse(ast.Module(body, [])).splitlines())


def wanted(network: str, effort: Effort, seeds: int, levels: list[float], peers: list[str]) -> list[Run]:
    """Return the runs, a seed after the other."""
    return [
        Run(network, peer, level, seed, effort.epochs, effort.batches)
        for seed in range(seeds)
        for level in levels
        for peer in peers
    ]


def table(done: list[Record], network: str, effort: Effort, levels: Sequence[float] = LEVELS) -> str:
    """Return what was run, and accuracy in per cent, sparsity, seconds and lines of code, in Markdown."""
    return f"{caption(network, effort)}\n\n{_rows(done, network, effort, levels)}"


def caption(network: str, effort: Effort) -> str:
    """Return what was run, in words."""
    return (
        f"{network}: accuracy in % on the whole test set and processor seconds, mean ± standard deviation "
        f"(runs). Pruned once, then fine-tuned for {effort.words()}; the last epoch is taken."
    )


def _rows(done: list[Record], network: str, effort: Effort, levels: Sequence[float]) -> str:
    titles = [f"{level:.0%}" for level in levels]
    head = [*titles, "zeros asked for but not there", "pruning, s", "training, s", "lines"]
    rows = [f"| library | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name, peer in PEERS.items():
        runs = [Run(network, name, level, 0, effort.epochs, effort.batches) for level in levels]
        by_level = [of_every_seed(done, run) for run in runs]
        every = [record for found in by_level for record in found]
        if any(record.get("failed") for record in every):
            rows.append(f"| {peer.title} | {' | '.join(['fails'] * len(levels))} | | | | |")
            continue
        cells = [spread([100 * record["test"] for record in found]) for found in by_level]
        cells += [
            str(max((abs(_missed(record)) for record in every), default="not run")),
            spread([record["seconds_pruning"] for record in every]),
            spread([record["seconds_training"] for record in every], 0),
            str(lines_of(peer.prune)),
        ]
        rows.append(f"| {peer.title} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _missed(record: Record) -> int:
    kept = round((1 - record["sparsity"]) * record["prunable"])
    return record["prunable"] - kept - record["zeros"]


def main() -> None:
    """Run what is missing and print the table."""
    parser = command(__doc__, RESULTS)
    parser.add_argument("--network", default="fashion_cnn", help=f"or {SMOKE!r}: in seconds")
    parser.add_argument("--epochs", type=int, help="other than those of EFFORTS")
    parser.add_argument("--batches", type=int, help="of an epoch; other than those of EFFORTS")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS), help="sparsities")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    args = parser.parse_args()
    usual = EFFORTS[args.network][0]
    effort = Effort(args.epochs or usual.epochs, args.batches or usual.batches)
    runs = wanted(args.network, effort, args.seeds, args.levels, args.peers)
    done = run_missing(args, runs, perform, ("peer", "sparsity", "seed"))
    print(table(done, args.network, effort, args.levels))


if __name__ == "__main__":
    main()
