"""Pairs and mappings with labels serve gradients, batch norm and the criteria of depth alike."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.batches import inputs_of, loss_of, read_batch
from featherweight.errors import SettingError
from featherweight.structured.batch_norm import reestimate_batch_norm
from featherweight.structured.gradients import gradients_over
from featherweight.structured.prune import prune_structured


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.BatchNorm1d(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.down(F.relu(self.up(self.norm(x))))


class Labelled(nn.Module):
    """Is called as the models of Hugging Face are."""

    def __init__(self, depth=4):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(depth))
        self.head = nn.Linear(8, 3)

    def forward(self, features=None, scale=None, labels=None):
        x = features * scale
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        found = {"logits": logits}
        return found if labels is None else found | {"loss": F.cross_entropy(logits, labels)}


class Plain(Labelled):
    """The same with a tensor as output."""

    def forward(self, features, scale):
        return super().forward(features, scale)["logits"]


def made(kind):
    torch.manual_seed(0)
    model = kind().eval()
    with torch.no_grad():
        model.blocks[2].down.weight.mul_(0.01)  # the one that matters least
        model.blocks[2].down.bias.zero_()
    return model


EXAMPLE = {
    "features": torch.randn(4, 8, generator=torch.Generator().manual_seed(0)),
    "scale": torch.full((4, 1), 2.0),
}
with torch.no_grad():  # what the network says: without a block that matters the loss is larger
    LABELS = made(Plain)(EXAMPLE["features"] + 1, EXAMPLE["scale"]).argmax(1)
MAPPING = {"labels": LABELS, "scale": EXAMPLE["scale"], "features": EXAMPLE["features"] + 1}
PAIR = ((MAPPING["features"], MAPPING["scale"]), LABELS)


@pytest.mark.parametrize("criterion", ["loss", "similarity"])
@pytest.mark.parametrize("example", [EXAMPLE, EXAMPLE | {"labels": LABELS}], ids=["without", "with labels"])
def test_criteria_of_depth(criterion, example):
    options = {"blocks": 1, "block_criterion": criterion}
    _, expected = prune_structured(made(Plain), tuple(EXAMPLE.values()), data=[PAIR], **options)
    _, surgery = prune_structured(made(Labelled), example, data=[MAPPING], **options)
    assert surgery.removed_blocks == expected.removed_blocks
    if criterion == "similarity":
        assert surgery.removed_blocks == ("blocks.2",)


def test_depth_and_width_are_measured():
    model, surgery = prune_structured(made(Labelled), EXAMPLE, data=[MAPPING], blocks="auto", params=0.6)
    assert surgery.params[1] <= 0.6 * surgery.params[0]
    assert model(**EXAMPLE)["logits"].shape == (4, 3)


def test_inputs_that_the_example_lacks():
    with pytest.raises(
        SettingError, match="those of example_inputs: features, scale; got scale, features, m"
    ):
        prune_structured(made(Labelled), EXAMPLE, data=[MAPPING | {"mask": LABELS}], blocks=1)


def test_gradients():
    pairs = gradients_over(made(Plain), [PAIR], F.cross_entropy)
    mappings = gradients_over(made(Labelled), [MAPPING], F.cross_entropy)
    given = gradients_over(
        made(Labelled), [MAPPING], lambda out, target: F.cross_entropy(out["logits"], target)
    )
    for found in (mappings, given):
        torch.testing.assert_close(found, pairs)


def test_batch_norm():
    means = []
    for kind, batch in ((Plain, PAIR), (Labelled, MAPPING), (Labelled, [inputs_of(MAPPING)])):
        model = made(kind)
        assert reestimate_batch_norm(model, [batch]) == 4
        means.append(model.blocks[3].norm.running_mean)
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])


@pytest.mark.parametrize("batch", [torch.ones(2), [1], (1, 2, 3), {"features": 1}, "ab"])
def test_a_batch_of_another_form(batch):
    with pytest.raises(SettingError, match=r"\(inputs, targets\), or a mapping with 'labels'; got a"):
        read_batch(batch)


@pytest.mark.parametrize("outputs", [{"logits": torch.ones(2, 5, 3)}, {"hidden": torch.ones(2)}])
def test_outputs_that_the_default_loss_cannot_take(outputs):
    with pytest.raises(SettingError, match="have 'labels' in example_inputs"):
        loss_of(outputs, torch.zeros(2, 5).long(), F.cross_entropy)
