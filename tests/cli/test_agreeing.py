"""What networks say about the same examples."""

from __future__ import annotations

import pytest
import torch

from featherweight.cli.distilling import agreeing
from featherweight.cli.distilling.agreeing import Answers
from featherweight.errors import TrainingError


class Says(torch.nn.Module):
    """Names the class that stands in a column of the inputs; NaN where that is -1."""

    def __init__(self, column):
        super().__init__()
        self.column = column

    def forward(self, x):
        assert not self.training
        named = x[:, self.column].long()
        scores = torch.nn.functional.one_hot(named.clamp(min=0), 3).float()
        scores[named < 0] = torch.nan
        return scores


# Columns: the teacher, the distilled student, the student alone.
INPUTS = torch.tensor([[0, 0, 1], [1, 1, 1], [2, 0, 2], [0, 0, 0], [-1, -1, 0], [2, 2, 2]])
LABELS = torch.tensor([0, 1, 2, 1, 1, -100])
NETWORKS = {"teacher": Says(0), "distilled": Says(1), "alone": Says(2)}


@pytest.fixture
def answers():
    return Answers.of(NETWORKS, [(INPUTS[:4], LABELS[:4]), (INPUTS[4:], LABELS[4:])])


def test_accuracy_and_agreement(answers):
    assert len(answers) == 5, "what has no label is not counted"
    assert [answers.accuracy(name) for name in NETWORKS] == [3 / 5, 2 / 5, 2 / 5]
    assert answers.agreement("distilled", "teacher") == 3 / 5, "two that say nothing do not agree"
    assert answers.agreement("alone", "teacher") == 3 / 5
    assert all(network.training for network in NETWORKS.values()), "given back as they were"


def test_by_class(answers, monkeypatch):
    rows = answers.by_class("teacher", "distilled", "alone", ("coat", "boot"))
    assert [(r.name, r.examples, r.alone, r.distilled) for r in rows] == [
        ("coat", 1, 0, 1), ("boot", 3, 2, 2), ("2", 1, 1, 0),
    ]  # fmt: skip
    rows = answers.by_class("teacher", "distilled", None, ())
    assert [(r.name, r.alone) for r in rows] == [("0", None), ("1", None), ("2", None)]
    monkeypatch.setattr(agreeing, "MOST_CLASSES", 2)
    assert answers.by_class("teacher", "distilled", None, ()) == ()


def test_classes_of_several_places_of_an_example():
    class Tokens(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(x, 3).float().movedim(-1, 1)

    x = torch.tensor([[0, 1], [2, 2]])
    answers = Answers.of({"a": Tokens()}, [(x, torch.tensor([[0, 0], [2, -100]]))])
    assert (len(answers), answers.accuracy("a")) == (3, 2 / 3)


def test_outputs_that_do_not_fit_are_an_error():
    with pytest.raises(TrainingError, match="Accuracy takes logits"):
        Answers.of({"a": torch.nn.Flatten(0)}, [(torch.zeros(2, 3), torch.zeros(2).long())])
