"""A model comes back as it was lent."""

import pytest
import torch
from torch import nn

from featherweight.errors import TrainingError
from featherweight.training.placement import on_loan, plain, to_channels_last, uses_channels_last


def conv_net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))


def test_layout_mode_and_gradients_come_back_also_after_a_failure():
    model = conv_net().train()
    model[1].eval()
    strides = [p.stride() for p in model.parameters()]
    values = [p.detach().clone() for p in model.parameters()]

    def fail():
        with on_loan(model):
            to_channels_last(model)
            model.eval()
            model(torch.ones(1, 1, 5, 5)).sum().backward()
            assert [p.stride() for p in model.parameters()] != strides
            raise OSError("failed")

    with pytest.raises(OSError, match=r"^failed$"):
        fail()
    assert [p.stride() for p in model.parameters()] == strides
    assert all(torch.equal(p, v) for p, v in zip(model.parameters(), values, strict=True))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert all(p.grad is None for p in model.parameters())


def test_a_channels_last_model_stays_one():
    model = conv_net().to(memory_format=torch.channels_last)
    strides = [p.stride() for p in model.parameters()]
    with on_loan(model):
        model.to(memory_format=torch.contiguous_format)
    assert [p.stride() for p in model.parameters()] == strides


def test_parameters_stay_the_same_objects():
    model = conv_net()
    before = list(model.parameters())
    with on_loan(model):
        to_channels_last(model)
    assert all(now is then for now, then in zip(model.parameters(), before, strict=True))


def test_only_2d_convolutions_ask_for_channels_last():
    assert uses_channels_last(conv_net())
    assert not uses_channels_last(nn.Sequential(nn.Linear(2, 2), nn.Conv1d(1, 1, 1)))


def test_the_model_under_torch_compile_is_found():
    model = conv_net()
    assert plain(torch.compile(model, backend="eager")) is model
    assert plain(model) is model


def test_a_model_without_parameters_is_refused():
    with pytest.raises(TrainingError, match="ReLU has no parameters"), on_loan(nn.ReLU()):
        pass
