"""featherweight: a trained PyTorch network in, one of a tenth of the weights out, within an accuracy budget.

Names are loaded when they are first used: ``import featherweight`` imports neither torch nor anything
else that is heavy, so that reading and writing files works without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featherweight.errors import FeatherweightError

if TYPE_CHECKING:
    from featherweight import artifact, distillation, errors, runtime, sparsity, structured, training, zoo
    from featherweight.compiling import compile
    from featherweight.distillation import distill
    from featherweight.export import export_onnx
    from featherweight.profile import Profile, count_params, evaluate, profile
    from featherweight.sparsity import Masks, Pruner, lottery, prune, schedules
    from featherweight.sparsity.oneshot import prune_oneshot
    from featherweight.sparsity.progressive import progressive_prune
    from featherweight.sparsity.sensitivity import sensitivity
    from featherweight.structured import prune_structured, reestimate_batch_norm
    from featherweight.structured.checkpoint import load, save
    from featherweight.structured.progressive import progressive_prune_structured
    from featherweight.training import TrainingSettings, fit
    from featherweight.zoo import load_data, load_model

__version__ = "0.1.0"

# These are modules; the others are names in modules.
_MODULES = (
    "artifact",
    "distillation",
    "errors",
    "lottery",
    "runtime",
    "schedules",
    "sparsity",
    "structured",
    "training",
    "zoo",
)
_HOME = {
    "Masks": "featherweight.sparsity",
    "Profile": "featherweight.profile",
    "Pruner": "featherweight.sparsity",
    "TrainingSettings": "featherweight.training",
    "artifact": "featherweight.artifact",
    "compile": "featherweight.compiling",
    "count_params": "featherweight.profile",
    "distill": "featherweight.distillation",
    "distillation": "featherweight.distillation",
    "errors": "featherweight.errors",
    "evaluate": "featherweight.profile",
    "export_onnx": "featherweight.export",
    "fit": "featherweight.training",
    "load": "featherweight.structured.checkpoint",
    "load_data": "featherweight.zoo",
    "load_model": "featherweight.zoo",
    "lottery": "featherweight.sparsity.lottery",
    "profile": "featherweight.profile",
    "progressive_prune": "featherweight.sparsity.progressive",
    "progressive_prune_structured": "featherweight.structured.progressive",
    "prune": "featherweight.sparsity",
    "prune_oneshot": "featherweight.sparsity.oneshot",
    "prune_structured": "featherweight.structured",
    "reestimate_batch_norm": "featherweight.structured",
    "runtime": "featherweight.runtime",
    "save": "featherweight.structured.checkpoint",
    "schedules": "featherweight.sparsity.schedules",
    "sensitivity": "featherweight.sparsity.sensitivity",
    "sparsity": "featherweight.sparsity",
    "structured": "featherweight.structured",
    "training": "featherweight.training",
    "zoo": "featherweight.zoo",
}

__all__ = [
    "FeatherweightError",
    "Masks",
    "Profile",
    "Pruner",
    "TrainingSettings",
    "artifact",
    "compile",
    "count_params",
    "distill",
    "distillation",
    "errors",
    "evaluate",
    "export_onnx",
    "fit",
    "load",
    "load_data",
    "load_model",
    "lottery",
    "profile",
    "progressive_prune",
    "progressive_prune_structured",
    "prune",
    "prune_oneshot",
    "prune_structured",
    "reestimate_batch_norm",
    "runtime",
    "save",
    "schedules",
    "sensitivity",
    "sparsity",
    "structured",
    "training",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'featherweight' has no attribute {name!r}")
    try:
        module = importlib.import_module(_HOME[name])
    except ModuleNotFoundError as error:
        if error.name in ("torch", "accelerate"):
            raise ImportError(
                f"featherweight.{name} needs {error.name}: pip install 'featherweight[torch]'"
            ) from error
        raise
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
