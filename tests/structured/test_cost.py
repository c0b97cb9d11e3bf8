"""Costs computed from sizes are those that are counted where the network runs."""

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.core.trace import trace
from featherweight.structured import cost
from featherweight.structured.axes import trace_axes
from featherweight.structured.cut import Cut
from featherweight.structured.rewrite import rewritten
from featherweight.zoo import build


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(2, 8, 3))

    def forward(self, x):
        y = torch.einsum("...tc,cd->...td", x, self.a)
        return torch.einsum("btd,bde->bte", y, self.b)


NETWORKS = {
    "small_cnn": (lambda: build("small_cnn"), torch.zeros(2, 1, 28, 28)),
    "mobilenet_v2": (lambda: build("mobilenet_v2", in_channels=3, classes=10), torch.zeros(1, 3, 32, 32)),
    "vit_tiny": (lambda: build("vit_tiny", in_channels=1, classes=10), torch.zeros(2, 1, 28, 28)),
    "lstm": (lambda: nn.LSTM(5, 7, num_layers=2, bidirectional=True, batch_first=True), torch.zeros(2, 3, 5)),
    "lstm cell": (lambda: nn.LSTMCell(5, 7), torch.zeros(2, 5)),
    "spectral norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 6)), torch.zeros(2, 4)),
    "einsum": (Gated, torch.zeros(2, 5, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), torch.zeros(1, 4, 5, 5)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_macs_are_those_of_profile(name):
    make, inputs = NETWORKS[name]
    model = make().eval()
    whole = Cut(trace_axes(trace(model, inputs)), [])
    assert cost.macs(whole) == fw.profile(model, inputs).macs


@pytest.mark.parametrize("name", ["small_cnn", "mobilenet_v2"])
def test_after_a_cut_too(name, cut_of):
    make, inputs = NETWORKS[name]
    model = make().eval()
    cut = cut_of(model, inputs)
    small = rewritten(cut)
    assert cost.params(cut) == sum(parameter.numel() for parameter in small.parameters())
    assert cost.macs(cut) == cost.macs(Cut(trace_axes(trace(small, inputs)), []))
    assert cost.macs(cut) < 0.5 * fw.profile(model, inputs).macs
