"""How much each layer's sparsity costs: loss and accuracy of the network with that layer alone pruned."""

from featherweight.sparsity.sensitivity.result import LayerScores, Level, Sensitivity
from featherweight.sparsity.sensitivity.scan import LEVELS, sensitivity

__all__ = ["LEVELS", "LayerScores", "Level", "Sensitivity", "sensitivity"]
