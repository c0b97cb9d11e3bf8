"""Criteria of single weights, summed over units."""

import numpy as np
import pytest
import torch
from torch import nn

from featherweight.core.trace import trace
from featherweight.errors import UnknownNameError
from featherweight.sparsity.criteria import criteria, layerwise
from featherweight.structured import prune_structured
from featherweight.structured.axes import trace_axes
from featherweight.structured.groups import find_groups
from featherweight.structured.importance import Context, importance_of, importances, over_weights


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 3))


def scores(net, importance):
    groups = find_groups(trace_axes(trace(net, torch.zeros(1, 1, 8, 8))))
    context = Context(net, dict(net.named_parameters()), data="batches")
    return [importance(group, context) for group in groups]


def test_magnitude_is_l1(net):
    (mine,), (expected,) = scores(net, importance_of("magnitude")), scores(net, importances["l1"])
    np.testing.assert_allclose(mine, expected, rtol=1e-6)


def test_a_name_of_both_is_the_structured_one():
    assert "random" in criteria
    assert importance_of("random") is importances["random"]


def test_weights_are_scored_once_and_see_the_data(net):
    seen = []

    def last_filters(weights, context):
        seen.append((sorted(weights), context.data))
        return {
            name: torch.ones_like(w) * torch.arange(len(w)).view(-1, 1, 1, 1) for name, w in weights.items()
        }

    found = over_weights(last_filters)
    deeper = nn.Sequential(*net[:3], nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1))
    first, _ = scores(deeper, found)
    assert seen == [(["0.weight", "3.weight", "5.weight"], "batches")]
    # 9 weights make channel i and score i; the 6 x 9 that read it score 0..5 whichever channel it is.
    np.testing.assert_allclose(first, 9 * np.arange(8) + 9 * 15)


def test_it_decides_what_goes(net):
    weight = net[0].weight.detach().clone()

    @layerwise
    def second_half(weight, name, context):
        return (torch.arange(len(weight)) >= len(weight) // 2).view(-1, 1, 1, 1).expand_as(weight).float()

    small, _ = prune_structured(net, torch.zeros(1, 1, 8, 8), keep=0.5, criterion=over_weights(second_half))
    assert torch.equal(small[0].weight, weight[4:])


def test_an_unknown_name_lists_both_kinds(net):
    with pytest.raises(UnknownNameError, match=r"fpgm.*Those of single weights, summed: .*magnitude"):
        prune_structured(net, torch.zeros(1, 1, 8, 8), keep=0.5, criterion="magnitud")


def test_a_group_without_a_weight_of_theirs_is_scored_by_l2():
    torch.manual_seed(0)
    table = nn.Embedding(20, 8)
    head = nn.Linear(8, 20, bias=False)
    head.weight = table.weight  # which criteria of single weights leave alone, as embeddings
    net = nn.Sequential(table, nn.ReLU(), head)
    (group,) = find_groups(trace_axes(trace(net, torch.arange(20)[None])))
    context = Context(net, dict(net.named_parameters()))
    found = importance_of("magnitude")(group, context)
    np.testing.assert_allclose(found, table.weight.detach().norm(dim=0).numpy(), rtol=1e-5)


def test_the_loss_of_ones_own_reaches_criteria_that_look_at_data(net):
    seen = []

    @layerwise
    def looking(weight, name, context):
        seen.append(context.data)
        return weight.abs()

    def loss(outputs, targets):
        return outputs.sum()

    batches = [(torch.zeros(1, 1, 8, 8), torch.zeros(1))]
    example = torch.zeros(1, 1, 8, 8)
    prune_structured(net, example, keep=0.5, criterion=over_weights(looking), data=batches, loss=loss)
    assert (seen[0].source, seen[0].loss) == (batches, loss)
