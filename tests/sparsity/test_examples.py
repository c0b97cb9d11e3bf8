"""Batches taken apart into examples, as the Fisher information needs them."""

import collections

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.sparsity.criteria import Context, Fisher, fisher
from featherweight.sparsity.criteria._examples import Examples


def scored(model, data):
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    return Fisher()(weights, Context(model, data))


def of_losses(model, losses):
    """Score by losses of single examples."""
    weights = {w.name: w.tensor for w in find_prunable(model).weights}
    total = dict.fromkeys(weights, 0)
    for loss in losses:
        found = torch.autograd.grad(loss, list(weights.values()))
        total = {name: total[name] + g**2 for name, g in zip(weights, found, strict=True)}
    return {name: w.detach() ** 2 * total[name] / len(losses) / 2 for name, w in weights.items()}


class Recurrent(nn.Module):
    def __init__(self, *, batch_first):
        super().__init__()
        torch.manual_seed(0)
        self.batch_first = batch_first
        self.cell, self.last = nn.RNNCell(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        steps = x.unbind(1 if self.batch_first else 0)
        hidden = steps[0].new_zeros(len(steps[0]), 6)
        for step in steps:
            hidden = self.cell(step, hidden)
        return self.last(hidden)


def test_time_first_is_refused_and_batch_first_is_not():
    x, y = torch.randn(7, 4, 5), torch.tensor([0, 1, 2, 0])
    model = Recurrent(batch_first=False)
    for batch in ((x, y), {"x": x, "labels": y}):
        with pytest.raises(SettingError, match=r"criterion='fisher' .*\(7, 4, 5\) and targets \(4,\)\. Put"):
            scored(model, [batch])
    same = Recurrent(batch_first=True)
    singles = [F.cross_entropy(model(x[:, i : i + 1]), y[i : i + 1]) for i in range(4)]
    expected = of_losses(model, singles)
    torch.testing.assert_close(scored(same, [(x.transpose(0, 1), y)]), expected)
    losses = lambda model: (F.cross_entropy(model(x[:, i : i + 1]), y[i : i + 1]) for i in range(4))  # noqa: E731
    torch.testing.assert_close(scored(model, losses), expected)


@pytest.mark.parametrize(
    ("inputs", "targets"),
    [
        (torch.ones(7, 4), torch.ones(4)),
        (torch.ones(5, 4), torch.ones(4)),
        ((torch.ones(4), torch.ones(7, 4, 2)), torch.ones(4)),  # lengths, and time first
        (torch.ones(4, 2), (torch.ones(4), torch.ones(3))),
        ([], torch.ones(4)),
    ],
)
def test_batches_that_do_not_come_apart(inputs, targets):
    with pytest.raises(SettingError, match=r"^me takes batches apart along axis 0.*function model -> losses"):
        Examples.of((inputs, targets), "me")


def test_what_examples_share_is_not_cut():
    """A mask of positions, which is as long as a part of the batch."""
    mask, x, y = torch.ones(3, 3), torch.arange(8).view(4, 2), torch.arange(4)
    examples = Examples.of({"mask": mask, "x": x, "n": 2, "none": None, "labels": y}, "me")
    first, second = examples.parts(3)
    assert (examples.number, first.number, second.number) == (4, 3, 1)
    for part in (first, *first.parts(1), second):
        assert part.batch["mask"] is mask
        assert (part.batch["n"], part.batch["none"]) == (2, None)
        assert torch.equal(part.batch["x"][:, 0], 2 * part.batch["labels"])
    assert [int(part.batch["labels"]) for part in first.parts(1)] == [0, 1, 2]


@pytest.mark.parametrize("targets", [None, 3, torch.tensor(1.0), (torch.ones(4), torch.ones(4, 2), 0.3)])
def test_other_targets(targets):
    examples = Examples.of((torch.ones(4, 2), targets), "me")
    assert [part.number for part in examples.parts(3)] == [3, 1]


def test_one_example_needs_no_axis():
    assert Examples.of((torch.ones(7, 1, 5), torch.ones(1)), "me").number == 1


class Labelled(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x, position=None, labels=None):
        logits = self.layer(x + position)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


@pytest.mark.parametrize("at_once", [1, 2, 32])
@pytest.mark.parametrize("order", [1, -1])
def test_mappings_as_hugging_face_gives_them(at_once, order, monkeypatch):
    monkeypatch.setattr(fisher, "AT_ONCE", at_once)
    x, position, y = torch.randn(3, 4), torch.randn(1, 4), torch.tensor([0, 1, 2])
    entries = [("x", x), ("position", position), ("labels", y)][::order]
    model = Labelled()
    singles = [model(x[i : i + 1], position, y[i : i + 1])["loss"] for i in range(3)]
    batch = collections.UserDict(entries)  # a mapping that torch does not look into, as BatchEncoding
    torch.testing.assert_close(scored(model, [batch]), of_losses(model, singles))
