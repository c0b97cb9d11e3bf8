"""Time as a target: what is measured, and what is so by definition."""

import pytest
import torch
from torch import nn

from featherweight.profile.records import Latency
from featherweight.structured import target
from featherweight.structured.prune import prune_structured

X = torch.randn(4, 8)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3)).eval()


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_what_removes_nothing_is_not_measured(monkeypatch):
    """A process that stalls while the whole network runs makes the same network seem fast."""

    def stalled(models, example, *, seconds):
        times = {name: float(count(model)) for name, model in models.items()}
        times["whole"] *= 1 if times["small"] < times["whole"] else 9
        return {name: Latency(time, time, time, 5) for name, time in times.items()}

    monkeypatch.setattr(target, "time_in_turns", stalled)
    model = network()
    before = count(model)
    small, surgery = prune_structured(model, X, latency=0.6)
    assert count(small) < before
    assert 0.5 < surgery.reached.predicted <= 0.6


def test_slow_turns_do_not_count(monkeypatch):
    """In three of five turns the whole network was held up."""

    def held_up(models, example, *, seconds):
        whole, small = float(count(models["whole"])), float(count(models["small"]))
        times = {"whole": [whole, whole] + 3 * [9 * whole], "small": 5 * [small]}
        return {name: Latency.of(each) for name, each in times.items()}

    monkeypatch.setattr(target, "time_in_turns", held_up)
    model = network()
    before = count(model)
    small, surgery = prune_structured(model, X, latency=0.6)
    assert surgery.reached.achieved == pytest.approx(count(small) / before)
    assert 0.5 < surgery.reached.achieved <= 0.6
