"""Lottery tickets: sparse networks that train as well as the dense one, and what they are compared with."""

from featherweight.sparsity.lottery.branches import branches
from featherweight.sparsity.lottery.data import Data, ZooData
from featherweight.sparsity.lottery.experiment import Experiment
from featherweight.sparsity.lottery.records import LevelRecord, records
from featherweight.sparsity.lottery.run import run
from featherweight.sparsity.lottery.summary import Parting, Spread, curves, lasting, parting

__all__ = [
    "Data",
    "Experiment",
    "LevelRecord",
    "Parting",
    "Spread",
    "ZooData",
    "branches",
    "curves",
    "lasting",
    "parting",
    "records",
    "run",
]
