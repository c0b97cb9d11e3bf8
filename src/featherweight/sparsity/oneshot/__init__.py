"""One-shot pruning with compensation: masks and new values of what is kept, without training."""

from featherweight.sparsity.oneshot import magnitude, wanda
from featherweight.sparsity.oneshot._problem import LayerProblem, Method, Solution, methods
from featherweight.sparsity.oneshot.alps import ALPS
from featherweight.sparsity.oneshot.obs import OBS
from featherweight.sparsity.oneshot.prune import prune_oneshot
from featherweight.sparsity.oneshot.refit import refit
from featherweight.sparsity.oneshot.report import LayerReport, OneShotMasks
from featherweight.sparsity.oneshot.sparsegpt import SparseGPT

__all__ = [
    "ALPS",
    "OBS",
    "LayerProblem",
    "LayerReport",
    "Method",
    "OneShotMasks",
    "Solution",
    "SparseGPT",
    "magnitude",
    "methods",
    "prune_oneshot",
    "refit",
    "wanda",
]
