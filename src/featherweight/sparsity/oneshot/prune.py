"""One-shot pruning of a network, layer by layer, with compensation and without training."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from featherweight.core.batches import moved
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, PrunableWeight, find_prunable, unwrap
from featherweight.core.rows import rows_shape
from featherweight.errors import SettingError
from featherweight.sparsity.allocation import Allocation
from featherweight.sparsity.calibration import Calibration, device_of
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.oneshot._layer import Layer, Pruned, bias_of
from featherweight.sparsity.oneshot._moments import Moments, bytes_of
from featherweight.sparsity.oneshot._passes import Passes
from featherweight.sparsity.oneshot._problem import Method, methods
from featherweight.sparsity.oneshot._saved import SavedLayers
from featherweight.sparsity.oneshot._view import View, view
from featherweight.sparsity.oneshot.report import OneShotMasks
from featherweight.sparsity.patterns import Pattern, RowPattern, row_pattern
from featherweight.sparsity.recipe import Recipe


def prune_oneshot(
    model: nn.Module,
    sparsity: float,
    data: Any,
    *,
    method: str | Method = "sparsegpt",
    allocation: str | Allocation = "uniform",
    criterion: str | Criterion = "magnitude",
    pattern: str | Pattern = "unstructured",
    batches: int | None = 16,
    damping: float = 0.01,
    skip: Sequence[str] = (),
    correct_bias: bool = True,
    reestimate_batch_norm: bool = True,
    memory_limit: int | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    seed: int = 0,
) -> OneShotMasks:
    """Prune ``model`` without training it, in place: what is left makes up for what went, layer by layer.

    Each layer is given the values and the zeros that keep its outputs nearest to what they were, on what
    reaches it in ``data`` once the layers before it are pruned. Exactly as many weights are kept as
    ``fw.prune`` keeps.

    Args:
        model: the network, wrapped (DDP, torch.compile) or not. It evaluates meanwhile.
        sparsity: fraction of the prunable weights to be zero afterwards, 0 <= sparsity < 1.
        data: batches as ``fw.fit`` takes them, without targets if need be, or a callable ``model -> iterable
            of losses``. Positions that an "attention_mask" in them excludes do not count.
        method: how a layer is pruned: "sparsegpt", "obs", "alps", "wanda", "magnitude" or a callable.
        allocation: how many weights each layer keeps.
        criterion: the scores that allocations look at; which weights go is the method's choice.
        pattern: the shapes that zeros may have.
        batches: how many batches of data to take at most; None: all. They stay in memory.
        damping: added to each Hessian's diagonal, as a fraction of its mean, at least 0.
        skip: names or patterns of parameters and modules to leave alone.
        correct_bias: add to a layer's bias what its outputs lost on average.
        reestimate_batch_norm: estimate the statistics of batch norm anew at the end, on the same batches.
        memory_limit: bytes of Hessians to be held at once; as many layers as fit share a pass over the data
            and see each other unpruned. None: one layer a pass, each sees all before it pruned.
        run_dir: a folder for finished layers; a second call with it, on the network as it was, goes on.
        progress: show the layers as they are done.
        seed: seed of everything random.

    Returns:
        The masks; ``masks.layers`` reports each layer.

    Raises:
        SettingError: a setting is wrong, there are no data, or the model is sparser already.
        ModelError: there is nothing to prune, it cannot be seen what reaches a weight, or values are not
            finite.
        ResumeError: ``run_dir`` holds another run.
        Whatever is raised, the network is as it was.
    """
    recipe = Recipe(sparsity, criterion, allocation, pattern, skip, seed)
    settings = _Settings(method, row_pattern(pattern), damping, correct_bias, memory_limit)
    _check_batches(batches)
    found = Calibration.of(data, wanted_by="prune_oneshot")
    inner, prunable = unwrap(model), find_prunable(model, recipe.skip)
    norms = reestimate_batch_norm and _has_batch_norm(inner)
    if norms and not found.has_batches:
        raise SettingError(
            "Batch norm is re-estimated on batches: pass them as data=, or reestimate_batch_norm=False."
        )
    zeros = Masks.from_zeros(model, recipe.skip)
    recipe.check_reachable(zeros, prunable)
    passes = Passes(inner, found.held(batches), batches)
    uses = passes.uses(prunable.weights)
    kept = {
        n: m.kept for n, m in recipe.masks(model, prunable, sparsity, data=passes.data, before=zeros).items()
    }
    saved = SavedLayers(
        run_dir, {**settings.identity(), "kept": kept, "network": _fingerprint(inner, run_dir)}
    )
    run = _Run(passes, settings, saved, uses, kept)
    with _unchanged_on_failure(inner), view(progress, len(uses)) as shown:
        layers = run.prune(_layers(inner, prunable, zeros, uses, correct_bias), shown)
        if norms:
            _reestimate(passes)
    by_name = {layer.report.name: layer for layer in layers}
    masks = {w.name: by_name[w.name].mask for w in prunable.weights}
    return OneShotMasks(masks, prunable.left_alone, [layer.report for layer in layers])


@dataclass(frozen=True)
class _Settings:
    method: str | Method
    pattern: RowPattern
    damping: float
    correct_bias: bool
    memory_limit: int | None

    def __post_init__(self) -> None:
        check: Callable[[RowPattern], None] | None = getattr(self.chosen, "check", None)
        if check is not None:
            check(self.pattern)
        if not _is_number(self.damping) or not 0 <= self.damping < float("inf"):
            raise SettingError(
                f"damping is a fraction of the mean diagonal, at least 0; got {self.damping!r}."
            )
        limit: Any = self.memory_limit
        if limit is not None and (not _is_number(limit) or not limit > 0):
            raise SettingError(f"memory_limit is a number of bytes above 0, or None; got {limit!r}.")

    @property
    def chosen(self) -> Method:
        """The method itself."""
        return self.method if callable(self.method) else methods[self.method]

    def identity(self) -> dict[str, Any]:
        """Return what tells a run with these settings from others."""
        method = getattr(self.chosen, "__qualname__", None) or repr(self.chosen)
        return {
            "method": method,
            "pattern": repr(self.pattern) if "0x" not in repr(self.pattern) else "a function",
            "damping": self.damping,
            "correct_bias": self.correct_bias,
            "memory_limit": self.memory_limit,
        }


@dataclass(frozen=True, eq=False)
class _Run:
    passes: Passes
    settings: _Settings
    saved: SavedLayers
    uses: Mapping[str, int]
    kept: Mapping[str, int]

    def prune(self, layers: Sequence[Layer], shown: View) -> list[Pruned]:
        """Prune ``layers`` in order; what a pattern keeps less of one goes to the next."""
        done: list[Pruned] = []
        carried = 0
        for part in _parts(layers, self.settings.memory_limit):
            finished = {
                layer.weight.name: self.saved.load(len(done) + i, layer.weight.name)
                for i, layer in enumerate(part)
            }
            shown.at(part[0].weight.name)
            missing = [layer.weight for layer in part if finished[layer.weight.name] is None]
            moments = self.passes.moments(missing, self.uses) if missing else {}
            for layer in part:
                name = layer.weight.name
                shown.at(name)
                wanted = self.kept[name] + carried
                pruned = finished[name]
                if pruned is None:
                    pruned = self._pruned(layer, moments.pop(name), wanted)
                    self.saved.save(len(done), pruned)
                layer.write(pruned)
                carried = wanted - pruned.mask.kept
                done.append(pruned)
                shown.done(pruned.report)
        return done

    def _pruned(self, layer: Layer, moments: Moments, kept: int) -> Pruned:
        problem = layer.problem(moments, kept, self.settings.pattern, self.settings.damping)
        return layer.prune(problem, self.settings.chosen, moments)


def _layers(
    model: nn.Module, prunable: Prunable, zeros: Masks, order: Iterable[str], correct_bias: bool
) -> list[Layer]:
    by_name = {weight.name: weight for weight in prunable.weights}
    weights = [by_name[name] for name in order]
    return [Layer(w, zeros[w.name].keep, bias_of(model, w) if correct_bias else None) for w in weights]


def _parts(layers: Sequence[Layer], limit: int | None) -> Iterator[list[Layer]]:
    """Yield layers that share a pass over the data: as many as fit into the limit, at least one."""
    part: list[Layer] = []
    size = 0
    for layer in layers:
        needed = _bytes_of(layer.weight)
        if part and (limit is None or size + needed > limit):
            yield part
            part, size = [], 0
        part.append(layer)
        size += needed
    yield part


def _bytes_of(weight: PrunableWeight) -> int:
    outputs, positions, inputs = rows_shape(weight.tensor.shape, weight.output_dim, weight.groups)
    return bytes_of(positions * inputs, 1 if inputs > 1 else outputs)


@contextmanager
def _unchanged_on_failure(model: nn.Module) -> Generator[None]:
    """Give parameters and buffers their values back if the block fails."""
    before = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers())]
    try:
        yield
    except BaseException:
        with torch.no_grad():
            for tensor, values in before:
                tensor.copy_(values)
        raise


def _reestimate(passes: Passes) -> None:
    from featherweight.structured.batch_norm import reestimate_batch_norm

    batches = cast("list[Any]", passes.data.source)
    device = device_of(passes.model)
    reestimate_batch_norm(passes.model, (moved(batch, device) for batch in batches), batches=len(batches))


def _has_batch_norm(model: nn.Module) -> bool:
    return any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in model.modules())


def _fingerprint(model: nn.Module, run_dir: str | os.PathLike[str] | None) -> str:
    from featherweight.distillation.cache.fingerprint import fingerprint

    return "" if run_dir is None else fingerprint(model)


def _check_batches(batches: Any) -> None:
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise SettingError(f"batches is a whole number of at least 1, or None for all; got {batches!r}.")


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real)
