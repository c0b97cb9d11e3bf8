"""Blocks are found, and what is left computes what the network with them bypassed computes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.trace import trace
from featherweight.errors import SurgeryError
from featherweight.profile import profile
from featherweight.structured.depth import Skipped, find_blocks, remove
from featherweight.structured.prune import prune_structured
from featherweight.zoo import build

IMAGES = torch.randn(2, 1, 28, 28)

BLOCKS = {
    "pre-activation": ["blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "pre-activation, in place": ["blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "staged": ["layer1.0", "layer1.1"],
    "pre-norm": ["layers.0", "layers.1", "layers.2"],
    "written out": ["layers.0", "layers.1", "layers.2"],
    "parallel": ["layers.0", "layers.1", "layers.2"],
    "post-norm, tuples": ["layers.0", "layers.1", "layers.2"],
    "torch.nn": ["encoder.layers.0", "encoder.layers.1", "encoder.layers.2"],
}


def names(model, inputs, unit):
    return [block.name for block in find_blocks(model, trace(model, inputs), unit)]


@pytest.mark.parametrize("name", BLOCKS)
def test_whole_modules_are_found(networks, name):
    assert names(*networks.make(name), "block") == BLOCKS[name]


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("pre-norm", ["attn", "mlp"]),
        ("parallel", ["attn", "mlp"]),
        ("post-norm, tuples", ["attention", "intermediate"]),
    ],
)
def test_branches_are_found(networks, name, branches):
    found = names(*networks.make(name), "branch")
    assert [tuple(path.split(".")[1:3]) for path in found] == [
        (str(layer), branch) for layer in range(3) for branch in branches
    ]


def test_blocks_of_the_zoo():
    model = build("resnet20", in_channels=1)
    assert names(model, IMAGES, "block") == names(model, IMAGES, "branch") == [
        f"stages.{stage}.{block}" for stage in range(3) for block in range(3) if stage == 0 or block
    ]  # fmt: skip
    vit = build("vit_tiny")
    assert names(vit, IMAGES, "block") == [f"blocks.{n}" for n in range(4)]
    assert names(vit, IMAGES, "branch") == [
        f"blocks.{n}.{part}" for n in range(4) for part in ("attn", "mlp")
    ]


def test_what_is_no_block_is_not_found():
    """Position embeddings, gates without weights, shortcuts with a layer, plain layers."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.position = nn.Parameter(torch.randn(5, 8))
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            x = x + self.position
            x = x + torch.sigmoid(x) * x
            x = F.relu(self.layers[0](x) + self.layers[1](x))
            return self.head(F.relu(self.layers[2](x)))

    assert names(Net(), torch.randn(2, 5, 8), "branch") == []
    assert names(Net(), torch.randn(2, 5, 8), "block") == []


def expected(networks, name, unit, gone):
    """Run a network layer by layer, by hand, without some of them or some of their branches."""
    model, x = networks.make(name)
    if name == "pre-norm":
        x = model.embed(x)
        for number, layer in enumerate(model.layers):
            if unit == "block" and f"layers.{number}" in gone:
                continue
            if f"layers.{number}.attn" not in gone:
                x = x + layer.proj(layer.attn(layer.norm1(x))[0])
            if f"layers.{number}.mlp" not in gone:
                x = x + layer.mlp(layer.norm2(x))
        return model.head(x.mean(1))
    if name == "post-norm, tuples":
        x = model.embed(x)
        for number, layer in enumerate(model.layers):
            if unit == "block" and f"layers.{number}" in gone:
                continue
            mixed = 0 * x if f"layers.{number}.attention" in gone else layer.attention(x)[0]
            dense = layer.attention_output.dense(mixed) if f"layers.{number}.attention" not in gone else mixed
            x = layer.attention_output.norm(dense + x)
            off = f"layers.{number}.intermediate" in gone
            x = layer.output.norm((0 if off else layer.output.dense(F.gelu(layer.intermediate(x)))) + x)
        return model.head(x.mean(1))
    x = model.stem(x)
    for number, block in enumerate(model.blocks):
        if f"blocks.{number}" not in gone:
            x = block(x.clone())
    return model.head(F.relu(x).mean((2, 3)))


@pytest.mark.parametrize("unit", ["block", "branch"])
@pytest.mark.parametrize("name", ["pre-norm", "post-norm, tuples", "pre-activation, in place"])
@pytest.mark.parametrize("number", [1, 2])
def test_what_is_left_is_the_network_without_them(networks, name, unit, number):
    model, inputs = networks.make(name)
    small, surgery = prune_structured(model, inputs, blocks=number, block_unit=unit)
    assert small is model
    assert len(surgery.removed_blocks) == number
    with torch.no_grad():
        torch.testing.assert_close(
            small(inputs), expected(networks, name, unit, surgery.removed_blocks), rtol=1e-4, atol=1e-5
        )
        whole, _ = networks.make(name)
        assert not torch.allclose(small(inputs), whole(inputs), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("unit", ["block", "branch"])
@pytest.mark.parametrize("name", BLOCKS)
def test_counts_are_those_of_the_result(networks, name, unit):
    model, inputs = networks.make(name)
    before = profile(model, inputs)
    whole = sum(parameter.numel() for parameter in model.parameters())
    small, surgery = prune_structured(model, inputs, blocks=1, block_unit=unit)
    left = sum(parameter.numel() for parameter in small.parameters())
    assert surgery.params == (whole, left)
    assert left < whole
    assert surgery.macs == (before.macs, profile(small, inputs).macs)
    assert surgery.macs[1] < surgery.macs[0]
    assert surgery.difference < 1e-4
    assert small(torch.cat([inputs, inputs])).shape == (4, 5)
    if name != "pre-activation, in place":  # which no one can train
        small.train()(inputs).sum().backward()
        assert all(parameter.grad is not None for parameter in small.parameters())


def test_a_class_that_cannot_stay_gives_the_rewritten_graph(networks):
    """torch.nn's stack looks into the attention of its first layer."""
    model, inputs = networks.make("torch.nn")
    state = copy.deepcopy(model.state_dict())
    small, surgery = prune_structured(model, inputs, blocks=1, **networks.ATTENTION)
    assert small is not model
    assert surgery.attributes is None
    assert surgery.removed_blocks[0].endswith("self_attn")
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())
    gone = state.keys() - small.state_dict().keys()
    assert gone
    assert all("self_attn" in key or "norm1" in key for key in gone)


def test_modules_stand_for_others(networks):
    model, inputs = networks.make("post-norm, tuples")
    prune_structured(model, inputs, blocks=1)
    (skipped,) = [module for module in model.modules() if isinstance(module, Skipped)]
    assert skipped.kind == "full"  # the stack asks for it
    x = torch.randn(1, 2, 16)
    assert skipped(hidden_states=x) == (x, None)


def test_an_activation_that_writes_over_the_shortcut():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

        def forward(self, x):
            x = self.first(x)
            for layer in self.layers:
                x = x + layer(F.relu(x, inplace=True))
            return self.last(x)

    model, inputs = Net().eval(), torch.randn(4, 6)
    small, surgery = prune_structured(model, inputs, blocks=1)
    other = model.layers["layers.0" in surgery.removed_blocks]
    with torch.no_grad():
        x = F.relu(model.first(inputs))
        if surgery.removed_blocks == ("layers.0",):
            wanted = model.last(x + other(x))
        else:
            wanted = model.last(F.relu(x + other(x)))
        torch.testing.assert_close(small(inputs), wanted)


def test_a_removal_that_removes_nothing_is_refused(networks, monkeypatch):
    """Sabotage: the graph keeps its blocks, and the model is not changed."""
    model, inputs = networks.make("pre-norm")
    state = copy.deepcopy(model.state_dict())
    monkeypatch.setattr(
        remove, "bypassed", lambda module, bypasses: torch.fx.GraphModule(module, module.graph)
    )
    with pytest.raises(
        SurgeryError, match=r"Without layers\..* differs from itself with those blocks bypassed"
    ):
        prune_structured(model, inputs, blocks=1)
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


def test_modules_that_stand_for_nothing_are_not_returned(networks, monkeypatch):
    """Sabotage: the class is told to leave nothing out, so that the graph is returned instead."""
    model, inputs = networks.make("pre-norm")
    monkeypatch.setattr(remove, "put", lambda model, places: {})
    small, surgery = prune_structured(model, inputs, blocks=1)
    assert small is not model
    assert surgery.params[1] == sum(p.numel() for p in small.parameters()) < surgery.params[0]


def test_zeros_of_a_last_layer_hide_nothing(networks, monkeypatch):
    model, inputs = networks.make("pre-norm")
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    monkeypatch.setattr(remove, "put", lambda model, places: {})
    small, _ = prune_structured(model, inputs, blocks=1)
    assert small is not model
    assert not model.head.weight.any()


def test_a_block_may_read_the_input_of_the_network():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, input):  # a name that torch.export gives another ending
            return input + self.layer(input)

    torch.manual_seed(0)
    model = nn.Sequential(Residual(), Residual(), nn.Linear(8, 3))
    first, last = copy.deepcopy(model[0]), copy.deepcopy(model[1:])
    with torch.no_grad():
        first.layer.weight.mul_(1e-3)
        model[0].load_state_dict(first.state_dict())
    x = torch.randn(4, 8)
    small, surgery = prune_structured(model, x, blocks=1)
    assert surgery.removed_blocks == ("0",)
    torch.testing.assert_close(small(x), last(x))
