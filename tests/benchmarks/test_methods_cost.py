"""The cost of criteria: what is measured, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from benchmarks._memory import measured
from benchmarks.methods.criteria_cost import SMOKE, Run, perform, pruning_of, table
from torch import nn


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_peak_is_what_the_work_holds_at_most() -> None:
    def work() -> int:
        return int(torch.ones(25_000_000).sum())  # 100 MB

    result, found = measured(work)
    assert result == 25_000_000
    assert 90 < found["peak_mb"] < 160
    assert 0 < found["processor_seconds"] < 60
    assert found["seconds_pruning"] > 0


@pytest.mark.parametrize("criterion", ["magnitude", "movement", "wanda"])
def test_the_work_prunes_to_nine_tenths(criterion: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 10))
    data = [(torch.randn(2, 3, 4, 4), torch.randint(0, 10, (2,))) for _ in range(2)]
    masks = pruning_of(criterion, model, data)()
    assert masks.kept == round(0.1 * (48 * 20 + 200))
    masks.check(model)


def test_a_run_is_measured() -> None:
    record = perform(Run("resnet20", 2, 16, "magnitude", 0))
    assert record["criterion"] == "magnitude"
    assert record["seconds_pruning"] > 0
    assert record["machine"]["cpu"]


def test_the_table_has_medians_the_cheapest_first() -> None:
    def runs(criterion: str, *seconds: float) -> list[dict[str, Any]]:
        of = vars(SMOKE) | {"criterion": criterion}
        return [of | {"processor_seconds": each, "peak_mb": 100 * each} for each in seconds]

    others = [{**vars(SMOKE), "network": "another", "criterion": "slow"}]
    lines = table([*runs("slow", 5, 7, 6), *runs("fast", 1), *others], SMOKE).splitlines()[2:]
    assert lines == ["| fast | 1.00 | 1.00 to 1.00 | 100 | 1 |", "| slow | 6.00 | 5.00 to 7.00 | 600 | 3 |"]
