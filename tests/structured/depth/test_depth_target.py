"""Depth and width under one target; what goes first; settings; what else holds parameters."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SettingError, SurgeryError, UnknownNameError
from featherweight.sparsity import prune
from featherweight.structured import prune as pruning
from featherweight.structured.depth import block_importances
from featherweight.structured.prune import prune_structured
from featherweight.zoo import build

IMAGES = torch.randn(4, 1, 28, 28)
DATA = [(torch.randn(8, 1, 28, 28), torch.arange(8)) for _ in range(2)]


def resnet():
    torch.manual_seed(0)
    return build("resnet20", in_channels=1).eval()


def vit():
    torch.manual_seed(0)
    return build("vit_tiny").eval()


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def identity(block):
    """Make a block do nothing: nothing comes out of its last layer."""
    layers = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    last = layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)


@pytest.mark.parametrize("criterion", sorted(block_importances))
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_block_that_does_nothing_goes_first(criterion, stage):
    model = resnet()
    identity(model.stages[stage][2])
    before = model(IMAGES)
    data = [(x, model(x).detach()) for x, _ in DATA]
    small, surgery = prune_structured(
        model, IMAGES, blocks=1, block_criterion=criterion, data=data, loss=F.mse_loss
    )
    assert surgery.removed_blocks == (f"stages.{stage}.2",)
    torch.testing.assert_close(small(IMAGES), before)


def test_a_criterion_that_measures_nothing_takes_another():
    """Sabotage: the test above can fail."""
    model = resnet()
    identity(model.stages[1][2])
    before = model(IMAGES)
    constant = lambda blocks, scene: [0.0] * len(blocks)  # noqa: E731
    small, surgery = prune_structured(model, IMAGES, blocks=1, block_criterion=constant)
    assert surgery.removed_blocks == ("stages.0.0",)
    assert not torch.allclose(small(IMAGES), before, rtol=1e-3)


def test_it_is_measured_again_after_each_removal():
    asked = []

    def criterion(blocks, scene):
        asked.append((tuple(block.name for block in blocks), tuple(block.name for block in scene.gone)))
        return [-number for number, _ in enumerate(blocks)]

    _, surgery = prune_structured(vit(), IMAGES, blocks=2, block_criterion=criterion)
    names = tuple(f"blocks.{n}" for n in range(4))
    assert asked == [(names, ()), (names[:3], ("blocks.3",))]
    assert surgery.removed_blocks == ("blocks.3", "blocks.2")


def test_the_loss_is_that_of_the_network_without_the_block():
    model, found = resnet(), {}

    def criterion(blocks, scene):
        scores = block_importances["loss"](blocks, scene)
        found.update({block.name: score for block, score in zip(blocks, scores, strict=True)})
        return scores

    whole = copy.deepcopy(model)
    _, surgery = prune_structured(model, IMAGES, blocks=1, block_criterion=criterion, data=iter(DATA))

    def loss(network):
        return sum(float(F.cross_entropy(network(x), y)) for x, y in DATA) / len(DATA)

    with torch.no_grad():
        before = loss(whole)
        for stage, number in ((0, 1), (2, 2)):
            without = copy.deepcopy(whole)
            without.stages[stage][number] = nn.Identity()
            assert found[f"stages.{stage}.{number}"] == pytest.approx(loss(without) - before, abs=1e-5)
    assert found[surgery.removed_blocks[0]] == min(found.values())


def test_similarity_is_one_minus_the_cosine():
    model, found = vit(), {}

    def criterion(blocks, scene):
        scores = block_importances["similarity"](blocks, scene)
        found.update({block.name: score for block, score in zip(blocks, scores, strict=True)})
        return scores

    given = {}
    hook = model.blocks[2].register_forward_hook(lambda module, args, out: given.update(x=args[0], y=out))
    model(IMAGES)
    hook.remove()
    prune_structured(model, IMAGES, blocks=1, block_criterion=criterion)
    cosine = F.cosine_similarity(given["x"].flatten(1), given["y"].flatten(1)).mean()
    assert found["blocks.2"] == pytest.approx(1 - float(cosine.detach()), abs=1e-5)


@pytest.mark.parametrize("target", ["macs", "params", "keep"])
@pytest.mark.parametrize("make", [resnet, vit])
def test_width_reaches_what_depth_leaves_of_the_target(make, target):
    model = make()
    before = count(model)
    small, surgery = prune_structured(model, IMAGES, blocks=1, **{target: 0.5})
    assert small is model
    assert len(surgery.removed_blocks) == 1
    assert 0.45 < surgery.reached.predicted <= 0.5
    assert surgery.reached.achieved == pytest.approx(surgery.reached.predicted)
    assert surgery.params == (before, count(small))
    assert f"removed whole: {surgery.removed_blocks[0]}" in str(surgery)
    if target != "keep":
        removed, left = getattr(surgery, target)
        assert left / removed == pytest.approx(surgery.reached.achieved)


def test_latency_of_the_whole_network_is_the_measure():
    clock = lambda model: 1e-6 * (1 + count(model))  # noqa: E731
    _, surgery = prune_structured(vit(), IMAGES, blocks=2, latency=0.4, clock=clock)
    assert 0.35 < surgery.reached.predicted <= 0.4


def test_no_width_is_cut_where_depth_is_enough():
    model = vit()
    _, surgery = prune_structured(model, IMAGES, blocks=2, macs=0.6)
    assert not surgery.kept
    assert all(before == after for _, before, after in surgery.widths)
    assert surgery.reached.achieved == pytest.approx(surgery.macs[1] / surgery.macs[0])
    assert 0.4 < surgery.reached.achieved <= 0.6


def test_only_blocks():
    _, surgery = prune_structured(vit(), IMAGES, blocks="only", macs=0.6)
    assert len(surgery.removed_blocks) == 2
    assert not surgery.kept
    with pytest.raises(SettingError, match=r"macs=0\.1 cannot be reached by removing blocks only.*0\.25"):
        prune_structured(vit(), IMAGES, blocks="only", macs=0.1)


def fitted(networks):
    """A network with two blocks that do little, and its own outputs as targets."""
    model, inputs = networks.make("pre-activation")
    with torch.no_grad():
        for number in (1, 2):
            model.blocks[number].convs[1].weight.mul_(0.01)
            model.blocks[number].convs[1].bias.mul_(0.01)
        batches = [torch.randn(8, *inputs.shape[1:]) for _ in range(2)]
        return model, inputs, [(x, model(x)) for x in batches]


@pytest.mark.parametrize("with_data", [True, False])
def test_auto_takes_the_number_that_is_best(networks, with_data):
    torch.manual_seed(0)
    whole, inputs, data = fitted(networks)
    settings = {"macs": 0.5} | ({"data": data, "loss": F.mse_loss} if with_data else {})
    measured = data if with_data else [(inputs, whole(inputs))]

    def loss(number):
        small, surgery = prune_structured(copy.deepcopy(whole), inputs, blocks=number, **settings)
        assert surgery.reached.achieved <= 0.5
        return sum(float(F.mse_loss(small(x), y)) for x, y in measured), surgery.removed_blocks

    with torch.no_grad():
        found = [loss(number) for number in range(4)]
        best = loss("auto")
    assert set(best[1]) == {"blocks.1", "blocks.2"}
    assert best == min(found)


def test_a_target_beyond_width_alone_is_reached_with_depth():
    settings = {"macs": 0.3, "min_keep": 11, "scope": "group"}
    with pytest.raises(SettingError, match="cannot be reached"):
        prune_structured(resnet(), IMAGES, **settings, skip=["stages.2"])
    _, surgery = prune_structured(resnet(), IMAGES, blocks="auto", **settings | {"min_keep": 1})
    assert surgery.reached.achieved <= 0.3


def test_what_is_skipped_stays():
    _, surgery = prune_structured(vit(), IMAGES, blocks=2, skip=["blocks.1", "blocks.2.mlp.0.weight"])
    assert set(surgery.removed_blocks) == {"blocks.0", "blocks.3"}
    assert {"blocks.1", "blocks.2"} <= set(surgery.skipped)
    assert "left alone on request: blocks.1" in str(surgery)


def test_one_of_each_stage_stays(networks):
    _, surgery = prune_structured(resnet(), IMAGES, blocks=6)
    assert sum(name.startswith("stages.0") for name in surgery.removed_blocks) == 2
    with pytest.raises(SettingError, match=r"blocks=7: 6 can be removed.*stages\.0\.0"):
        prune_structured(resnet(), IMAGES, blocks=7)
    model, inputs = networks.make("staged")
    with pytest.raises(SettingError, match="blocks=2: 1 can be removed"):
        prune_structured(model, inputs, blocks=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": -1}, "0 or more, 'auto' or 'only', got -1"),
        ({"blocks": True}, "got True"),
        ({"blocks": 1.5}, r"got 1\.5"),
        ({"blocks": "all"}, "got 'all'"),
        ({"blocks": "auto"}, "one of keep=, params=, macs="),
        ({"blocks": 1, "block_unit": "layer"}, "block, branch, got 'layer'"),
        ({"blocks": 0, "macs": 0.5, "block_unit": "branch"}, "would do nothing"),
        ({"macs": 0.5, "block_criterion": "loss"}, "would do nothing"),
        ({"blocks": 1, "block_criterion": "loss"}, "pass data="),
        ({"blocks": 1, "clock": count}, "would do nothing"),
        ({"blocks": 1, "skip": ["blocs"]}, "blocks"),
        ({"blocks": 4}, "3 can be removed"),
        ({"blocks": 1, "macs": 0.5, "params": 0.5}, r"got params=0\.5, macs=0\.5"),
        ({"blocks": 1, "params": 1e-5}, "cannot be reached"),
        ({"blocks": 1, "block_criterion": lambda blocks, scene: [1.0]}, "a number for each of 4 blocks"),
    ],
)
def test_settings_are_checked_before_anything_is_changed(settings, message):
    model = vit()
    before, state = model(IMAGES), copy.deepcopy(model.state_dict())
    with pytest.raises(SettingError, match=message):
        prune_structured(model, IMAGES, **settings)
    assert model.state_dict().keys() == state.keys()
    assert torch.equal(model(IMAGES), before)


def test_an_unknown_criterion():
    with pytest.raises(UnknownNameError, match="Did you mean 'similarity'"):
        prune_structured(vit(), IMAGES, blocks=1, block_criterion="similar")


def test_a_failure_of_the_width_puts_the_blocks_back(monkeypatch):
    model = vit()
    before, state = model(IMAGES), copy.deepcopy(model.state_dict())

    def wrong(cut):
        small = right(cut)
        small.get_parameter("head.weight").data.mul_(-1)
        return small

    right = pruning.rewritten
    monkeypatch.setattr(pruning, "rewritten", wrong)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(SurgeryError, match="channels zeroed"):
        prune_structured(model, IMAGES, blocks=1, macs=0.5, optimizer=optimizer)
    assert model.state_dict().keys() == state.keys()
    assert torch.equal(model(IMAGES), before)
    assert len(optimizer.param_groups[0]["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["pre-norm", "torch.nn"])
@pytest.mark.parametrize("target", [{}, {"macs": 0.5}])
def test_an_optimizer_goes_on_with_what_is_left(networks, name, target):
    model, inputs = networks.make(name)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    model(inputs).square().sum().backward()
    optimizer.step()
    unit = networks.ATTENTION if name == "torch.nn" else {}
    small, surgery = prune_structured(model, inputs, blocks=1, optimizer=optimizer, **unit, **target)
    assert (small is model) is (name == "pre-norm")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in small.parameters()} == {id(p) for p in optimizer.state}
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].shape == parameter.shape
    weight = small.get_parameter("embed.weight")
    before = weight.detach().clone()
    optimizer.zero_grad()
    small(inputs).square().sum().backward()
    optimizer.step()
    assert not torch.equal(weight, before)
    assert surgery.params[1] == count(small)


def test_masks_before_and_after():
    model = resnet()
    prune(model, 0.5)
    zeros = {name: int((p == 0).sum()) for name, p in model.named_parameters()}
    small, surgery = prune_structured(model, IMAGES, blocks=2)
    assert all(int((p == 0).sum()) == zeros[name] for name, p in small.named_parameters())
    masks = prune(small, 0.8)
    assert not any(name.startswith(surgery.removed_blocks) for name in masks)
    left = sum(int((p != 0).sum()) for p in small.parameters())
    assert left < 0.3 * count(small)


@pytest.mark.filterwarnings("error::FutureWarning")
def test_removed_blocks_count_for_a_target_of_parameters():
    model = build("resnet20")
    before = sum(p.numel() for p in model.parameters())
    small, surgery = prune_structured(model, torch.randn(2, 1, 28, 28), params=0.8, blocks="only")
    assert surgery.removed_blocks
    assert surgery.params == (before, sum(p.numel() for p in small.parameters()))
    assert surgery.reached.achieved <= 0.8
