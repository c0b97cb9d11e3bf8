"""Criteria: how much each weight matters. Importing this package registers them all."""

from featherweight.sparsity.criteria import magnitude, random
from featherweight.sparsity.criteria._base import Context, Criterion, Scores, criteria, layerwise
from featherweight.sparsity.criteria.fisher import Fisher
from featherweight.sparsity.criteria.gradient import Gradient
from featherweight.sparsity.criteria.grasp import Grasp
from featherweight.sparsity.criteria.lamp import lamp
from featherweight.sparsity.criteria.movement import Movement
from featherweight.sparsity.criteria.snip import Snip
from featherweight.sparsity.criteria.synflow import SynFlow
from featherweight.sparsity.criteria.taylor import Taylor
from featherweight.sparsity.criteria.wanda import Wanda

__all__ = [
    "Context",
    "Criterion",
    "Fisher",
    "Gradient",
    "Grasp",
    "Movement",
    "Scores",
    "Snip",
    "SynFlow",
    "Taylor",
    "Wanda",
    "criteria",
    "lamp",
    "layerwise",
    "magnitude",
    "random",
]
