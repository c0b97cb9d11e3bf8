"""Batches, losses and metrics."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SettingError, TrainingError
from featherweight.training.objective import Objective, accuracy, logits


def objective(loss=None, metric=None, label_smoothing=0.0, precision="fp32", channels_last=False):
    return Objective(
        loss, metric, label_smoothing=label_smoothing, precision=precision, channels_last=channels_last
    )


class Labelled(nn.Module):
    """Hugging Face's form: labels come in as a keyword, the loss comes out as an attribute."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, features, labels=None):
        logits = self.linear(features)
        return SimpleNamespace(logits=logits, loss=3 * F.cross_entropy(logits, labels))


def test_cross_entropy_with_smoothing_is_the_default():
    model, x, y = nn.Linear(4, 3), torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    expected = F.cross_entropy(model(x), y, label_smoothing=0.1)
    assert objective(label_smoothing=0.1).loss(model, (x, y)) == expected
    assert objective().loss(model, (x, y)) != expected


def test_a_mapping_is_keywords_and_the_models_own_loss():
    model, batch = Labelled(), {"features": torch.randn(5, 4), "labels": torch.tensor([0, 1, 2, 0, 1])}
    expected = model(**batch)
    assert objective().loss(model, batch) == expected.loss
    outputs, targets = objective().outputs(model, batch)
    assert accuracy(outputs, targets) == accuracy(expected.logits, batch["labels"])


def test_a_given_loss_wins_over_the_models_own():
    model, batch = Labelled(), {"features": torch.randn(5, 4), "labels": torch.tensor([0, 1, 2, 0, 1])}
    given = objective(loss=lambda outputs, targets: F.cross_entropy(outputs.logits, targets) + 1)
    torch.testing.assert_close(given.loss(model, batch), objective().loss(model, batch) / 3 + 1)


class Unlabelled(nn.Module):
    """What is left of a network of that form in a graph that was traced without labels."""

    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(4, classes)

    def forward(self, features):
        return {"logits": self.linear(features)}


class Traced(Unlabelled):
    """One that was traced with them."""

    def forward(self, features, labels):
        logits = self.linear(features)
        return {"logits": logits, "loss": 3 * F.cross_entropy(logits, labels)}


def test_a_graph_that_was_traced_without_labels_is_not_given_them():
    batch = {"features": torch.randn(5, 4), "labels": torch.tensor([0, 1, 2, 0, 1])}
    graph = torch.fx.symbolic_trace(Unlabelled(3))
    outputs, targets = objective().outputs(graph, batch)
    assert targets is batch["labels"]
    assert objective().loss(graph, batch) == F.cross_entropy(outputs["logits"], targets)
    with_them = torch.fx.symbolic_trace(Traced(3))
    assert objective().loss(with_them, batch) == with_them(**batch)["loss"]
    with pytest.raises(TrainingError, match="pass loss="):
        objective().loss(torch.fx.symbolic_trace(Unlabelled(1)), batch)
    with pytest.raises(TrainingError, match="unexpected keyword argument 'labels'"):
        objective().loss(Unlabelled(3), batch)


def test_several_inputs():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, a, b):
            return self.linear(a + b)

    a, b = torch.randn(2, 4), torch.randn(2, 4)
    model = Sum()
    outputs, _ = objective().outputs(model, ((a, b), torch.tensor([0, 1])))
    assert torch.equal(outputs, model(a, b))


def test_channels_last_lays_out_images_only():
    seen = []

    class Look(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            seen.append(x)
            return x.flatten(1) * self.scale

    batch = (torch.randn(2, 3, 4, 4), torch.tensor([0, 1]))
    objective(channels_last=True).outputs(Look(), batch)
    objective(channels_last=False).outputs(Look(), batch)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[1].is_contiguous()


def test_bf16_multiplies_in_bf16_and_returns_float32():
    model, x = nn.Linear(64, 3), torch.randn(2, 64)
    exact, _ = objective().outputs(model, (x, torch.tensor([0, 1])))
    outputs, _ = objective(precision="bf16").outputs(model, (x, torch.tensor([0, 1])))
    assert outputs.dtype == torch.float32
    assert not torch.equal(outputs, exact)
    assert torch.equal(outputs, outputs.bfloat16().float())


def test_accuracy_counts():
    scores = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    assert accuracy(scores, torch.tensor([0, 1, 1])) == (2, 3)
    assert accuracy(scores.T[None], torch.tensor([[0, 1, 1]])) == (2, 3)  # (n, classes, positions)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (2,)])
def test_accuracy_refuses_what_is_no_classification(shape):
    targets = torch.zeros(4, dtype=torch.long)
    with pytest.raises(TrainingError, match=r"Pass metric="):
        accuracy(torch.zeros(shape), targets)


@pytest.mark.parametrize("batch", [torch.zeros(2), (torch.zeros(2),), {"x": torch.zeros(2)}, [1, 2, 3]])
def test_another_form_of_batch_is_refused(batch):
    with pytest.raises(TrainingError, match=r"A batch is \(inputs, targets\) or a mapping"):
        objective().loss(nn.Linear(2, 2), batch)


def test_label_smoothing_that_would_do_nothing_is_refused():
    with pytest.raises(SettingError, match="label_smoothing"):
        objective(loss=F.cross_entropy, label_smoothing=0.1)
    batch = {"features": torch.randn(1, 4), "labels": torch.tensor([0])}
    with pytest.raises(SettingError, match="label_smoothing"):
        objective(label_smoothing=0.1).loss(Labelled(), batch)


def test_scores_are_found_where_a_model_puts_them():
    scores = torch.randn(4, 3)
    for outputs in (scores, {"logits": scores}, (scores,), [scores, None], (torch.tensor(0.5), scores)):
        assert logits(outputs) is scores
    for outputs in ({"scores": scores}, (torch.tensor(0.5),), (), None):
        with pytest.raises(TrainingError, match="Pass loss= and metric="):
            logits(outputs)
