"""Accuracy: exact, in every form of batch and output, and without side effects."""

from collections import UserDict, namedtuple

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import DataError, ModelError, SettingError, TrainingError


def identity_data():
    """Ten one-hot inputs; the last three have a wrong label."""
    labels = torch.arange(10)
    labels[7:] = 0
    return TensorDataset(torch.eye(10), labels)


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_counts_examples_not_batches(batch_size):
    assert fw.evaluate(nn.Identity(), DataLoader(identity_data(), batch_size)) == pytest.approx(0.7)


class Output(nn.Module):
    def forward(self, x):
        return {"logits": x}


class WithLabels(nn.Module):
    def forward(self, x, labels):
        return {"logits": x, "loss": (x - labels[:, None]).sum()}


def test_outputs_with_logits_and_batches_with_labels():
    x, y = identity_data().tensors
    assert fw.evaluate(Output(), [(x, y)]) == pytest.approx(0.7)
    assert fw.evaluate(WithLabels(), [{"x": x, "labels": y}]) == pytest.approx(0.7)


def test_a_metric_of_the_users_own():
    x, y = identity_data().tensors
    mean = fw.evaluate(nn.Identity(), [(x, y)], metric=lambda out, target: (out.sum(), len(target)))
    assert mean == pytest.approx(1.0)


def test_restores_each_modules_mode_and_runs_in_eval():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(10, affine=False)).train()
    model[1].eval()
    x, y = identity_data().tensors
    assert fw.evaluate(model, [(x, y)]) == pytest.approx(0.7)
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


def test_restores_the_mode_when_it_fails():
    model = nn.Linear(3, 3).train()
    with pytest.raises(TrainingError, match=r"network failed with inputs float32 \(10, 10\)"):
        fw.evaluate(model, [(torch.eye(10), torch.arange(10))])
    assert model.training


def test_batches_of_other_mappings_and_named_tuples():
    Pair = namedtuple("Pair", ["inputs", "targets"])
    x, y = identity_data().tensors
    assert fw.evaluate(nn.Identity(), [Pair(x, y)]) == pytest.approx(0.7)
    assert fw.evaluate(WithLabels(), [UserDict(x=x, labels=y)]) == pytest.approx(0.7)


def test_what_the_model_keeps_stays_fit_for_training():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(10, 10)
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = x.mean() * 0 + 2
            return self.fc(x) * self.scale

    model = Keeping()
    fw.evaluate(model, [identity_data().tensors])
    model(torch.eye(10)).sum().backward()
    assert model.fc.weight.grad is not None


def test_nan_outputs_are_wrong_not_right():
    x = torch.full((4, 10), torch.nan)
    assert fw.evaluate(nn.Identity(), [(x, torch.arange(4))]) == 0.0


def test_errors_say_what_to_do():
    with pytest.raises(DataError, match="no example"):
        fw.evaluate(nn.Identity(), [])
    with pytest.raises(SettingError, match="pass loaders"):
        fw.evaluate(nn.Linear(2, 2))
    with pytest.raises(TrainingError, match=r"\(inputs, targets\)"):
        fw.evaluate(nn.Identity(), [torch.eye(3)])
    with pytest.raises(ModelError, match="move it"):
        fw.evaluate(nn.Linear(2, 2), [(torch.eye(2), torch.arange(2))], device="cuda")
