"""The moving average of the weights: what it is, and that it is what counts."""

import math
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.sparsity import Pruner
from featherweight.training import TrainingSettings, fit
from featherweight.training.average import WeightAverage


def settings(**more):
    return TrainingSettings(
        **{"epochs": 3, "learning_rate": 0.3, "precision": "fp32", "ema_decay": 0.8} | more
    )


def by_hand(values, decay):
    """The formula of the file's header, in float64."""
    average, *later = values
    for step, value in enumerate(later):
        d = min(decay, (1 + step) / (10 + step))
        average = d * average + (1 - d) * value
    return average


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_it_is_the_formula(decay):
    model = nn.Linear(1, 1)
    values = [model.weight.item(), *(x**2 for x in range(8))]
    average = WeightAverage(model, decay)
    for value in values[1:]:
        nn.init.constant_(model.weight, value)
        average.update(hold_zeros=False)
    with average.inside():
        assert math.isclose(model.weight.item(), by_hand(values, decay), rel_tol=1e-6)
    assert model.weight.item() == values[-1]
    average.leave()
    assert math.isclose(model.weight.item(), by_hand(values, decay), rel_tol=1e-6)


class Buffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.register_buffer("mask", torch.tensor([0.0, -math.inf]))


def test_statistics_are_averaged_and_other_buffers_copied():
    model = Buffers()
    average = WeightAverage(model, 0.9)
    for value in (1.0, 2.0):
        model.norm.running_mean.fill_(value)
        model.norm.num_batches_tracked += 1
        average.update(hold_zeros=False)
    model.mask[0] = 5
    average.update(hold_zeros=False)
    average.leave()
    assert math.isclose(float(model.norm.running_mean), by_hand([0.0, 1, 2, 2], 0.9), rel_tol=1e-6)
    assert int(model.norm.num_batches_tracked) == 2
    assert model.mask.tolist() == [5, -math.inf]


class Watched(WeightAverage):
    """Notes the weights after every step."""

    seen = None

    def update(self, *, hold_zeros):
        Watched.seen.append({n: p.detach().clone() for n, p in self._model.named_parameters()})
        super().update(hold_zeros=hold_zeros)


def test_the_average_is_validated_chosen_and_left(toy, monkeypatch):
    monkeypatch.setattr("featherweight.training.learning.WeightAverage", Watched)
    Watched.seen = [dict(toy.Net().named_parameters())]
    batches, model, validated = list(toy.loaders()[0]), toy.Net(), []

    def metric(outputs, targets):
        validated.append(model.last.bias.detach().clone())
        return (1, 0, 0)[len(validated) - 1], 1

    history = fit(model, batches, batches[:1], settings(), metric=metric, progress=False)
    assert history.best.epoch == 0
    for epoch, bias in enumerate(validated):
        steps = Watched.seen[: 1 + 6 * (epoch + 1)]
        expected = by_hand([weights["last.bias"].double() for weights in steps], 0.8)
        torch.testing.assert_close(bias.double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(bias, steps[-1]["last.bias"])
    assert torch.equal(model.last.bias, validated[0])


def test_without_validation_the_average_is_left_and_training_is_not_changed(toy):
    batches, digests, losses = list(toy.loaders()[0]), [], []
    for decay in (None, 0.5, 0.9):
        model = toy.Net()
        history = fit(model, batches, None, settings(ema_decay=decay), progress=False)
        digests.append(toy.digest(model))
        losses.append([record.train_loss for record in history.epochs])
    assert len(set(digests)) == 3
    assert losses[0] == losses[1] == losses[2]


def test_it_is_what_batch_norm_is_validated_with():
    torch.manual_seed(0)
    images = torch.randn(24, 1, 6, 6) + 3
    loader = DataLoader(TensorDataset(images, (images.mean((1, 2, 3)) > 3).long()), 8)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    means = []

    def metric(outputs, targets):
        means.append(model[1].running_mean.clone())
        return 1, 1

    fit(model, loader, loader, settings(epochs=1), metric=metric, progress=False)
    assert all(torch.equal(mean, model[1].running_mean) for mean in means)
    assert int(model[1].num_batches_tracked) == 3


# Zeros


@pytest.mark.parametrize("validates", [True, False])
def test_zeros_of_a_pruner_are_zeros_of_the_average(toy, validates):
    model = toy.Net()
    pruner = Pruner(model, 0.5, skip=["last"])
    train, validate = toy.loaders()
    fit(model, train, validate if validates else None, settings(), pruner=pruner, progress=False)
    pruner.masks.check(model)
    assert float((model.first.weight == 0).float().mean()) == 0.5


def test_sabotage_an_average_that_does_not_hold_zeros_shows():
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight[0, 0] = 0
    average.update(hold_zeros=False)
    with average.inside():
        assert model.weight[0, 0].item() != 0
    average.update(hold_zeros=True)
    with average.inside():
        assert model.weight[0, 0].item() == 0
        assert model.weight[0, 1].item() != 0


# Going on


def run(toy, run_dir, crash_at=0, action=None, every=2):
    model = toy.Net(dropout=0.3)
    history = fit(
        model,
        *toy.loaders(noise=0.3),
        settings(checkpoint_every=every if run_dir else None),
        loss=toy.trap(crash_at, action or toy.crash),
        pruner=toy.ZeroSmallest(model),
        run_dir=run_dir,
        progress=False,
    )
    return toy.digest(model), [record.validation for record in history.epochs]


@pytest.mark.parametrize("crash_at", [3, 9, 13, 18])
def test_a_crashed_run_goes_on_to_the_same_bits(toy, tmp_path, crash_at):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, crash_at)
    assert run(toy, tmp_path) == run(toy, None)


def test_a_finished_run_returns_the_average_at_once(toy, tmp_path):
    first = run(toy, tmp_path)
    assert run(toy, tmp_path, crash_at=1) == first


def test_ctrl_c_during_validation_saves_the_weights_and_not_the_average(toy, tmp_path):
    calls = []

    def metric(outputs, targets):
        calls.append(1)
        if len(calls) == 6:  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        return int((outputs.argmax(1) == targets).sum()), len(targets)

    model = toy.Net(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            *toy.loaders(noise=0.3),
            settings(),
            metric=metric,
            loss=toy.trap(0, None),
            pruner=toy.ZeroSmallest(model),
            run_dir=tmp_path,
            progress=False,
        )
    assert run(toy, tmp_path, every=None) == run(toy, None)


def test_sabotage_a_checkpoint_of_another_average_shows(toy, tmp_path):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, 9)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["average"]["steps"] = 0
    torch.save(state, tmp_path / "checkpoint.pt")
    assert run(toy, tmp_path) != run(toy, None)
