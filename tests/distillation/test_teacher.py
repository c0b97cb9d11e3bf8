"""A teacher teaches and is left as it was."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from featherweight.core.trace import evaluated
from featherweight.distillation.taps import Tap
from featherweight.distillation.teacher import Teacher
from featherweight.errors import TrainingError


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 5)
    )


def teacher(model, precision="fp32", device=None):
    return Teacher(model, name="The teacher", precision=precision, device=device)


X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_it_runs_in_eval_mode_and_is_not_changed():
    model = network().train()
    model[2].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    strides = [p.stride() for p in model.parameters()]
    with evaluated(model):
        expected = model(X)
    mine = teacher(model)
    reading = mine.run(X)
    torch.testing.assert_close(reading.logits, expected)
    assert torch.equal(mine.run(X).logits, reading.logits)  # no dropout
    assert not reading.logits.requires_grad
    mine.close()
    mine.close()
    assert [m.training for m in model] == [True, True, False, True, True]
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [p.stride() for p in model.parameters()] == strides
    assert all(p.requires_grad for p in model.parameters())
    assert bool((model[0].weight.grad == 1).all())


def test_convolutions_run_with_channels_last():
    model = network()
    mine = teacher(model)
    mine.watch([Tap("0")], [])
    feature = mine.run(X).features[Tap("0")]
    assert feature.is_contiguous(memory_format=torch.channels_last)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    mine.close()
    assert model[0].weight.is_contiguous()
    assert not any(m._forward_hooks for m in model)


def test_features_can_be_compared_with_what_needs_gradients():
    mine = teacher(network())
    mine.watch([Tap("1")], [])
    own = torch.randn(2, 4, 6, 6, requires_grad=True)
    (own * mine.run(X).features[Tap("1")]).sum().backward()
    assert own.grad is not None


def test_precision_is_its_own():
    linear = nn.Linear(8, 4)
    mine = teacher(linear, "bf16")
    assert mine.run(torch.ones(1, 8)).logits.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(linear).run(torch.ones(1, 8)).logits.dtype == torch.float32
    assert teacher(linear, "auto").precision in ("fp32", "bf16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no second device")
def test_it_goes_to_its_device_and_back():
    model = nn.Linear(3, 2)
    mine = teacher(model, device="cuda")
    assert mine.run(torch.ones(1, 3)).logits.device.type == "cpu"
    assert model.weight.device.type == "cuda"
    mine.close()
    assert model.weight.device.type == "cpu"
    follows = teacher(model)
    assert follows.run(torch.ones(1, 3, device="cuda")).logits.device.type == "cuda"
    follows.close()
    assert model.weight.device.type == "cpu"


def test_labels_are_not_for_it():
    class Net(nn.Module):
        def forward(self, x):
            return {"logits": x}

    mine = teacher(Net())
    assert torch.equal(mine.run({"x": X, "labels": X}).logits, X)


def test_an_encoder_decoder_makes_its_decoders_inputs_of_the_labels():
    class Net(nn.Module):
        config = SimpleNamespace(is_encoder_decoder=True)

        def forward(self, x, labels=None, decoder_input_ids=None):
            return {"logits": x + (0 if labels is None else labels)}

    mine = teacher(Net())
    one = torch.ones(1, 2)
    assert torch.equal(mine.run({"x": one, "labels": one}).logits, 2 * one)
    assert torch.equal(mine.run({"x": one, "labels": one, "decoder_input_ids": one}).logits, one)


def test_a_failure_says_on_what():
    with pytest.raises(TrainingError, match=r"The teacher failed with inputs float32 \(2, 4\)"):
        teacher(nn.Linear(3, 2)).run(torch.ones(2, 4))


def test_wrappers_are_looked_through():
    model = network()
    mine = teacher(nn.DataParallel(model))
    assert mine.plain is model
    assert mine._network is model
