"""Rows of every kind of layer, against what the layer computes."""

import pytest
import torch
from torch import nn

from featherweight.core.prunable import find_prunable
from featherweight.core.rows import from_rows, rows_shape, to_rows

LAYERS = {
    "linear": (nn.Linear(6, 4), (4, 1, 6)),
    "conv1d": (nn.Conv1d(6, 4, 3), (4, 3, 6)),
    "conv2d": (nn.Conv2d(6, 4, (3, 2)), (4, 6, 6)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2), (4, 9, 3)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6), (6, 9, 1)),
    "conv3d": (nn.Conv3d(6, 4, 2), (4, 8, 6)),
    "transposed": (nn.ConvTranspose2d(6, 4, (3, 2)), (4, 6, 6)),
    "grouped transposed": (nn.ConvTranspose2d(6, 4, 3, groups=2), (4, 9, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back(name):
    layer, shape = LAYERS[name]
    [weight] = find_prunable(layer).weights
    rows = to_rows(weight.tensor, weight.output_dim, weight.groups)
    assert tuple(rows.shape) == shape == rows_shape(weight.tensor.shape, weight.output_dim, weight.groups)
    assert torch.equal(from_rows(rows, weight.tensor.shape, weight.output_dim, weight.groups), weight.tensor)


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_is_what_one_output_is_computed_with(name):
    """With the rows of all outputs but one set to zero, only that output is left."""
    layer, shape = LAYERS[name]
    [weight] = find_prunable(layer).weights
    x = torch.randn(1, 6, *[5] * (layer.weight.ndim - 2))
    one = torch.zeros(shape)
    one[2] = 1
    layer = type(layer)(**_settings(layer))
    layer.weight.data = from_rows(one, layer.weight.shape, weight.output_dim, weight.groups).clone()
    moved = layer(x).transpose(0, 1).flatten(1).abs().sum(1)
    assert [bool(total > 0) for total in moved] == [False, False, True] + [False] * (len(moved) - 3)


@pytest.mark.parametrize("name", LAYERS)
def test_the_inputs_of_a_row_are_those_of_one_group_in_order(name):
    layer, shape = LAYERS[name]
    [weight] = find_prunable(layer).weights
    layer = type(layer)(**_settings(layer))
    rows = torch.zeros(shape)
    rows[3, :, -1] = 1  # the last input of output 3
    layer.weight.data = from_rows(rows, layer.weight.shape, weight.output_dim, weight.groups).clone()
    groups = getattr(layer, "groups", 1)
    group = 3 // (len(rows) // groups)
    x = torch.zeros(1, 6, *[5] * (layer.weight.ndim - 2))
    x[:, (group + 1) * 6 // groups - 1] = 1
    assert layer(x).abs().sum() > 0
    x = 1 - x
    assert layer(x).abs().sum() == 0


def test_types_stay_and_channels_last_needs_no_copy():
    weight = torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last)
    assert to_rows(weight, 0).is_contiguous()
    assert to_rows(weight, 0).data_ptr() == weight.data_ptr()
    assert to_rows(weight > 0, 0).dtype == torch.bool


def test_conv1d_of_hugging_face_has_outputs_second():
    weight = torch.arange(6.0).view(2, 3)  # 2 inputs, 3 outputs
    assert torch.equal(to_rows(weight, 1), weight.T.reshape(3, 1, 2))


def _settings(layer):
    if isinstance(layer, nn.Linear):
        return {"in_features": 6, "out_features": 4, "bias": False}
    return {
        "in_channels": layer.in_channels,
        "out_channels": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "groups": layer.groups,
        "bias": False,
    }
