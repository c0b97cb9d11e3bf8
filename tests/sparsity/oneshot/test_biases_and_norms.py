"""What one-shot pruning changes beside the weights: biases, the statistics of batch norm."""

import pytest
import torch
from oneshot_toy import quietly, same, state, trained
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SettingError


def test_a_bias_makes_up_for_the_mean():
    before, data = trained("linear")
    errors = {}
    for correct in (False, True):
        model, _ = trained("linear")
        quietly(model, 0.9, data, method="magnitude", correct_bias=correct)
        with torch.no_grad():
            change = torch.cat([model[0](x) - before[0](x) for x, _ in data])
        errors[correct] = change.mean(0).abs().max()
    assert errors[True] < 1e-5 < 1e-2 < errors[False]


def test_a_bias_that_is_frozen_or_shared_stays():
    for frozen in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        if frozen:
            model[0].bias.requires_grad_(False)
        else:
            model[2].bias = model[0].bias
        before = [model[0].bias.clone(), model[4].bias.clone()]
        quietly(model, 0.5, [(torch.rand(32, 6), torch.zeros(32).long())], method="magnitude")
        assert torch.equal(model[0].bias, before[0])
        assert not torch.equal(model[4].bias, before[1])


@pytest.mark.parametrize("skip", ["0.bias", "0.b*"])
def test_a_bias_that_is_skipped_stays(skip):
    model, data = trained("linear")
    before = state(model)
    quietly(model, 0.5, data, method="magnitude", skip=[skip])
    after = state(model)
    assert torch.equal(after["0.bias"], before["0.bias"])
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["2.bias"], before["2.bias"])


def test_a_skipped_bias_of_attention_stays():
    model, data = trained("attention", 1)
    before = state(model)
    quietly(model, 0.5, data, skip=["cross.in_proj_bias"])
    assert torch.equal(model.cross.in_proj_bias, before["cross.in_proj_bias"])
    assert not torch.equal(model.cross.in_proj_weight, before["cross.in_proj_weight"])
    assert not torch.equal(
        model.inner.layers[0].self_attn.in_proj_bias, before["inner.layers.0.self_attn.in_proj_bias"]
    )


def test_batch_norm_is_estimated_anew():
    model, data = trained("convolutional")
    untouched, _ = trained("convolutional")
    quietly(model, 0.8, data)
    quietly(untouched, 0.8, data, reestimate_batch_norm=False)
    assert same(state(trained("convolutional")[0][1]), state(untouched[1]))
    with torch.no_grad():
        first = torch.cat([model[0](x) for x, _ in data])
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-4)


def test_batch_norm_needs_batches():
    model, data = trained("convolutional", 0)

    def losses(m):
        return (F.cross_entropy(m(x), y) for x, y in data)

    with pytest.raises(SettingError, match="reestimate_batch_norm=False"):
        quietly(model, 0.5, losses)
    quietly(model, 0.5, losses, reestimate_batch_norm=False).check(model)
