"""One-shot pruning of a network, layer by layer, with compensation and without training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, cast

from torch import nn

from featherweight.core.fingerprint import fingerprint, fingerprint_of_batches
from featherweight.core.masks import Masks
from featherweight.core.prunable import Prunable, find_prunable, unwrap
from featherweight.errors import SettingError
from featherweight.sparsity.allocation import AllocationLike
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import Criterion
from featherweight.sparsity.oneshot._kept import unchanged_on_failure
from featherweight.sparsity.oneshot._layer import Layer, bias_of
from featherweight.sparsity.oneshot._look import look
from featherweight.sparsity.oneshot._problem import Method
from featherweight.sparsity.oneshot._run import Run
from featherweight.sparsity.oneshot._saved import SavedLayers
from featherweight.sparsity.oneshot._view import View
from featherweight.sparsity.oneshot.report import OneShotMasks
from featherweight.sparsity.oneshot.settings import Settings, check_criterion
from featherweight.sparsity.patterns import Pattern, row_pattern
from featherweight.sparsity.recipe import Recipe
from featherweight.sparsity.replicas import Replicas
from featherweight.sparsity.same_memory import check_memory


def prune_oneshot(
    model: nn.Module,
    sparsity: float,
    data: Any,
    *,
    method: str | Method = "sparsegpt",
    allocation: AllocationLike = "uniform",
    criterion: str | Criterion | None = None,
    pattern: str | Pattern = "unstructured",
    batches: int | None = 16,
    damping: float | None = None,
    skip: Sequence[str] = (),
    correct_bias: bool = True,
    batch_norm: str = "match",
    memory_limit: float | None = 2 * 2**30,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    seed: int = 0,
) -> OneShotMasks:
    """Prune ``model`` without training it, in place: what is left makes up for what went, layer by layer.

    Each layer is given the values and the zeros that keep its outputs nearest to what they were, on what
    reaches it in ``data`` once the layers before it are pruned. Exactly as many weights are kept as
    ``fw.prune`` keeps. Under DDP all processes call this together, with a ``run_dir`` each if any, and
    get the network of the first one; each reports its own layers.

    Args:
        model: the network, wrapped (DDP, torch.compile) or not. It evaluates meanwhile.
        sparsity: fraction of the prunable weights to be zero afterwards, 0 <= sparsity < 1.
        data: batches as ``fw.fit`` takes them, without targets if need be, or a callable ``model -> iterable
            of losses``. Positions that an "attention_mask" in them excludes do not count.
        method: how a layer is pruned: "sparsegpt", "obs", "alps", "wanda", "magnitude" or a callable.
        allocation: how many weights each layer keeps.
        criterion: the scores that allocations look at, such as "global"; None: magnitude. Which weights go is
            the method's choice.
        pattern: the shapes that zeros may have.
        batches: how many batches of data to take at most; None: all. They stay in memory.
        damping: added to each Hessian's diagonal, as a fraction of its mean, at least 0; None: 0.01, for
            methods that solve by it.
        skip: names or patterns of parameters and modules to leave alone, biases too.
        correct_bias: add to a layer's bias what its outputs lost on average.
        batch_norm: what becomes of its statistics, frozen ones too, on the same batches: "match" gives what
            leaves a norm the mean and variance of the dense network's, before the layers behind it are
            pruned; "reestimate" estimates them anew at the end, which asks for many batches of the training
            data; "keep" leaves them as they are. Padding counts.
        memory_limit: bytes that the network may take on all batches together, beside the Hessian of a layer,
            as estimated on a few examples; None: any number. Within it, batches that differ in nothing but
            their number of examples are joined, and one forward pass prunes all layers as it comes to them.
            Otherwise there is a pass over the batches for each layer; with 0 always.
        run_dir: a folder for finished layers; a second call with it, on the network as it was and the
            same data, goes on; it warns where these hold other tensors.
        progress: show the layers as they are done.
        seed: seed of everything random.

    Returns:
        The masks; ``masks.layers`` reports each layer.

    Raises:
        SettingError: a setting is wrong or would do nothing, there are no data, or the model is sparser
            already.
        ModelError: there is nothing to prune, it cannot be seen what reaches a weight, or values are not
            finite.
        ResumeError: ``run_dir`` holds another run.
        Whatever is raised, the network is as it was.
    """
    recipe = Recipe(
        sparsity, "magnitude" if criterion is None else criterion, allocation, pattern, skip, seed
    )
    check_criterion(criterion, allocation)
    settings = Settings(method, row_pattern(pattern), damping, correct_bias, memory_limit, batch_norm)
    _check_batches(batches)
    found = Calibration.of(data, wanted_by="prune_oneshot")
    inner, prunable = unwrap(model), find_prunable(model, recipe.skip)
    check_memory(model, prunable)
    zeros = Masks.from_zeros(model, recipe.skip)
    recipe.check_reachable(zeros, prunable)
    found = found.held(batches)
    with unchanged_on_failure(inner):
        seen = look(inner, prunable.weights, found, batches, settings=settings, skip=recipe.skip)
        kept = {
            n: m.kept for n, m in recipe.masks(model, prunable, sparsity, data=found, before=zeros).items()
        }
        layers = _layers(inner, prunable, zeros, seen.uses, recipe.skip if correct_bias else None)
        changed = {
            "kept": kept,
            "biases": [layer.weight.name for layer in layers if layer.bias is not None],
            "batch norms": seen.norms.names,
            "number of passes": "one" if seen.is_one_batch else "one a layer",
            "network": "" if run_dir is None else fingerprint(inner),
        }
        of_data = "" if run_dir is None or not found.has_batches else fingerprint_of_batches(found.source)
        saved = SavedLayers(run_dir, settings.identity() | changed, of_data)
        with View(progress, len(layers)) as shown:
            if seen.reason:
                shown.say(f"A pass over the data for each layer, as they cannot be joined: {seen.reason}.")
            pruned = Run(layers, kept, seen, settings, saved, shown).prune()
            seen.norms.finish(cast("list[Any]", found.source))
    by_name = {layer.report.name: layer for layer in pruned}
    masks = Masks({w.name: by_name[w.name].mask for w in prunable.weights}, prunable.left_alone)
    replicas = Replicas.of_wrapper(model)
    replicas.share(inner)
    masks = replicas.shared(masks)
    return OneShotMasks(masks, prunable.left_alone, [layer.report for layer in pruned])


def _layers(
    model: nn.Module, prunable: Prunable, zeros: Masks, order: Iterable[str], fixed: Sequence[str] | None
) -> list[Layer]:
    """Return the layers in order; biases that ``fixed`` matches stay as they are, and for None all."""
    by_name = {weight.name: weight for weight in prunable.weights}
    weights = [by_name[name] for name in order]
    return [
        Layer(w, zeros[w.name].keep, None if fixed is None else bias_of(model, w, fixed)) for w in weights
    ]


def _check_batches(batches: Any) -> None:
    if batches is not None and (isinstance(batches, bool) or not isinstance(batches, int) or batches < 1):
        raise SettingError(f"batches is a whole number of at least 1, or None for all; got {batches!r}.")
