"""One network cut to half its channels by one library. benchmarks/structured/coverage.py runs it.

Asked of it: the outputs keep their shapes, fewer than 0.8 of the parameters are left, a backward pass gives
every parameter that the network uses a finite gradient; of featherweight also that the cut network is the
zeroed one, and that it is saved and loaded in a fresh process with the same outputs.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.structured.networks import make, use_peers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import featherweight as fw
from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured

MOST_PARAMS = 0.8
Shapes = list[tuple[int, ...]]

SMALL, EXPECTED = "small.safetensors", "expected.safetensors"


class CheckError(Exception):
    """A check that the cut network does not pass."""


def by_featherweight(name: str, folder: Path) -> dict[str, Any]:
    """Return what became of the network ``name``; it is saved in ``folder``, with its outputs."""
    model, inputs = make(name)
    expected = _shapes(model, inputs)
    started = time.perf_counter()
    small, surgery = prune_structured(model, inputs, keep=0.5, scope="group")
    seconds = time.perf_counter() - started
    found = {
        "seconds": seconds,
        "difference": surgery.difference,
        "rewritten": surgery.attributes is None,
        "groups": len(surgery.widths),
        "params": surgery.params[1] / surgery.params[0],
        "macs": surgery.macs[1] / surgery.macs[0],
    }
    _check(expected, small, inputs, found["params"])
    _save(small, inputs, folder)
    return found


def by_torch_pruning(name: str, folder: Path) -> dict[str, Any]:
    """Return what became of the network ``name``, cut by Torch-Pruning; nothing is saved."""
    model, inputs = make(name)
    before, expected = fw.count_params(model, nonzero=False), _shapes(model, inputs)
    started = time.perf_counter()
    cut_by_torch_pruning(model, inputs)
    seconds = time.perf_counter() - started
    found = {"seconds": seconds, "params": fw.count_params(model, nonzero=False) / before}
    _check(expected, model, inputs, found["params"])
    return found


def cut_by_torch_pruning(model: nn.Module, inputs: Any) -> None:
    """Cut half the channels of each layer in place, with the settings of Torch-Pruning's own timm example."""
    use_peers()
    import torch_pruning as tp

    heads, fused = _heads(model)
    pruner = tp.pruner.BasePruner(
        model,
        inputs,
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        global_pruning=False,
        num_heads=heads,
        ignored_layers=_last_layers(model),
    )
    for group in pruner.step(interactive=True):
        group.prune()
    for module, layer in fused.items():
        module.num_heads = pruner.num_heads[layer]
        if hasattr(module, "head_dim"):
            module.head_dim = layer.out_features // (3 * module.num_heads)


def _heads(model: nn.Module) -> tuple[dict[nn.Module, int], dict[Any, Any]]:
    """Return the number of heads by projection, and each attention module with its fused projection."""
    heads: dict[nn.Module, int] = {}
    fused: dict[Any, Any] = {}
    for module in model.modules():
        number = getattr(module, "num_heads", None) or getattr(module, "num_attention_heads", None)
        if not isinstance(number, int):
            continue
        for attribute in ("qkv", "qkv_proj", "query", "key", "value", "q_proj", "k_proj", "v_proj"):
            layer = getattr(module, attribute, None)
            if isinstance(layer, nn.Linear):
                heads[layer] = number
                if attribute.startswith("qkv"):
                    fused[module] = layer
    return heads, fused


def _last_layers(model: nn.Module) -> list[nn.Module]:
    """Return the layers that give the classes: their outputs are not to be cut."""
    classes = getattr(model, "num_classes", None) or getattr(model, "num_labels", None)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    named = [layer for layer in layers if layer.out_features == classes]
    return [*named] or layers[-1:]


def _check(expected: Shapes, small: nn.Module, inputs: Any, params: float) -> None:
    """Raise CheckError where the cut network does not run, is not smaller, or cannot be trained."""
    got = _shapes(small.eval(), inputs)
    if got != expected:
        raise CheckError(f"outputs of {got}, expected {expected}")
    if params >= MOST_PARAMS:
        raise CheckError(f"{params:.2f} of the parameters are left, {MOST_PARAMS} at most were to be")
    with torch.enable_grad():
        total = sum((t.float().square().sum() for t in _outputs(small.train(), inputs)), torch.zeros(()))
        total.backward()
    small.eval()
    wrong = [n for n, p in small.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if not any(p.grad is not None for p in small.parameters()):
        raise CheckError("no parameter has a gradient after a backward pass")
    if wrong:
        raise CheckError(f"gradients that are not finite: {', '.join(wrong[:3])}")
    small.zero_grad()


def _shapes(model: nn.Module, inputs: Any) -> Shapes:
    with torch.no_grad():
        return [tuple(t.shape) for t in _outputs(model, inputs)]


def _outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    result = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _save(small: nn.Module, inputs: Any, folder: Path) -> None:
    with torch.no_grad():
        outputs = _outputs(small, inputs)
    save(small, folder / SMALL)
    save_file({str(n): t.clone() for n, t in enumerate(outputs)}, folder / EXPECTED)


def load_and_compare(name: str, folder: Path) -> dict[str, Any]:
    """Load what ``by_featherweight`` saved, and compare its outputs."""
    model, inputs = make(name)
    loaded = load(folder / SMALL, into=model)
    expected = load_file(folder / EXPECTED)
    with torch.no_grad():
        outputs = _outputs(loaded.eval(), inputs)
    for number, output in enumerate(outputs):
        torch.testing.assert_close(output, expected[str(number)], rtol=1e-3, atol=1e-4)
    return {}


def attempt(function: Callable[[str, Path], dict[str, Any]], name: str, folder: Path) -> dict[str, Any]:
    """Return what ``function`` found, or the reason of its failure."""
    try:
        return function(name, folder) | {"ok": True}
    except CheckError as error:
        return {"ok": False, "kind": "check", "reason": str(error)}
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return {"ok": False, "kind": type(error).__name__, "reason": f"{_words(error)} ({where})"}


def _words(error: Exception, most: int = 300) -> str:
    """Return what an error says on one line."""
    return " ".join(str(error).split())[:most] or type(error).__name__


SIDES = {"featherweight": by_featherweight, "torch-pruning": by_torch_pruning}
