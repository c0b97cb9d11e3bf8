"""Batches that are mappings: who is given the labels, and where the loss comes from then."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.batches import outputs_of
from featherweight.errors import SettingError
from featherweight.sparsity import prune
from featherweight.sparsity.calibration import Calibration

BATCH = {"x": torch.ones(2, 4), "labels": torch.tensor([0, 2])}


class Plain(nn.Module):
    """Takes no labels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return {"logits": self.layer(x)}


class Labelled(Plain):
    def forward(self, x, labels=None):
        loss = None if labels is None else 2 * F.cross_entropy(self.layer(x), labels)
        return {"logits": self.layer(x), "loss": loss}


class Open(Labelled):
    """Hands on whatever it is given."""

    def forward(self, x, **others):
        return super().forward(x, **others)


class Hidden(Plain):
    def forward(self, x):
        return {"hidden": self.layer(x)}


def entropy(model):
    return float(F.cross_entropy(model.layer(BATCH["x"]), BATCH["labels"]).detach())


def losses(model):
    return [float(found.loss.detach()) for found in Calibration.of([BATCH]).passes(model)]


@pytest.mark.parametrize("kind", [Labelled, Open])
def test_a_forward_that_takes_labels_is_given_them_and_its_loss_counts(kind):
    model = kind()
    assert losses(model) == [pytest.approx(2 * entropy(model))]
    assert outputs_of(model, BATCH, labels=False)["loss"] is None


def test_a_forward_without_labels_is_not_given_them_and_cross_entropy_counts():
    model = Plain()
    assert losses(model) == [pytest.approx(entropy(model))]
    Calibration.of([BATCH]).run(model)


def test_a_forward_that_was_replaced_by_a_wrapper_is_looked_through():
    """As accelerate does."""
    model = Plain()
    forward = model.forward

    @functools.wraps(forward)
    def hooked(*args, **kwargs):
        return forward(*args, **kwargs)

    model.forward = hooked
    assert losses(model) == losses(Plain())


class Several(Plain):
    """Gives a tuple, with something else behind the logits."""

    def forward(self, x):
        return self.layer(x), x


@pytest.mark.parametrize("criterion", ["taylor", "fisher", "grasp"])
def test_the_logits_of_a_tuple_count_as_where_a_network_is_trained(criterion):
    batch = (BATCH["x"] * torch.tensor([[1.0], [-2.0]]), BATCH["labels"])
    found = Calibration.of([batch]).passes(Several())
    assert [each.loss.detach() for each in found] == [F.cross_entropy(Plain().layer(batch[0]), batch[1])]
    model, plain = Several(), Plain()
    for each in (model, plain):
        prune(each, 0.5, criterion=criterion, data=[batch])
    assert torch.equal(model.layer.weight, plain.layer.weight)


def test_no_loss_from_anywhere_is_an_error_that_says_what_to_do():
    with pytest.raises(SettingError, match=r"a dict with neither loss nor logits.*labels in its forward"):
        losses(Hidden())


def test_an_argument_that_is_not_taken_is_an_error():
    with pytest.raises(TypeError, match="mask"):
        list(Calibration.of([{**BATCH, "mask": torch.ones(2)}]).passes(Plain()))
