"""What is compared where the user names nothing, and how named pairs are read."""

import pytest
import torch
from torch import nn

from featherweight import zoo
from featherweight.distillation.losses import DistillationLoss
from featherweight.distillation.pairing import Pair, pairs_for, uniform, wire
from featherweight.distillation.survey import survey
from featherweight.errors import ModelError, SettingError


class Stages(DistillationLoss):
    features = "stages"


class Blocks(DistillationLoss):
    features = "blocks"


class Embedding(DistillationLoss):
    features = "embedding"


class LastAttention(DistillationLoss):
    attention = "last"


class AllAttention(DistillationLoss):
    attention = "all"


def seen(model, which, x):
    model.eval()
    with torch.no_grad():
        return survey(model, which, lambda: model(x))


def pairs(loss, teacher, student, size=28, channels=1, named=None):
    x = torch.randn(1, channels, size, size)
    goal, own = seen(teacher, "teacher", x), seen(student, "student", x)
    return [(str(a), str(b)) for a, b in wire(loss, named, goal, own).features]


def build(name, channels=1):
    return zoo.build(name, in_channels=channels)


def test_stages_of_convolutional_networks():
    assert pairs(Stages(), build("resnet20"), build("small_cnn")) == [
        ("stages.0", "norms.0"),
        ("stages.1", "norms.1"),
        ("stages.2", "norms.2"),
    ]
    assert pairs(Stages(), build("resnet18", 3), build("mobilenet_v1", 3), 32, 3) == [
        ("bn1", "features.1"),
        ("layer1", "features.3"),
        ("layer2", "features.5"),
        ("layer3", "features.11"),
    ]


def test_maps_inside_a_block_that_halves_the_resolution_are_not_the_stage_before():
    found = pairs(Stages(), build("resnet50", 3), build("mobilenet_v2", 3), 64, 3)
    assert found[1:] == [
        ("layer1", "features.3"),
        ("layer2", "features.6"),
        ("layer3", "features.13"),
        ("layer4", "features.18"),
    ]


def test_without_equal_resolutions_coarse_goes_with_coarse():
    def net(*strides):
        return nn.Sequential(*(nn.Conv2d(1, 1, 3, s, padding=1) for s in strides))

    assert pairs(Stages(), net(2, 4), net(1, 4), 32) == [("0", "0"), ("1", "1")]


def test_tokens_and_maps_by_relative_depth():
    expected = [("blocks.1", "norms.1"), ("blocks.2", "norms.2"), ("blocks.3", "norms.3")]
    for loss in (Stages(), Blocks()):
        assert pairs(loss, build("vit_tiny"), build("small_cnn")) == expected
        assert pairs(loss, build("small_cnn"), build("vit_tiny")) == [(b, a) for a, b in expected]


def test_blocks_are_paired_at_uniform_depth():
    teacher = zoo.networks.vit.VisionTransformer(depth=6, dim=16)
    student = zoo.networks.vit.VisionTransformer(depth=3, dim=8)
    assert pairs(Blocks(), teacher, student) == [
        ("blocks.1", "blocks.0"),
        ("blocks.3", "blocks.1"),
        ("blocks.5", "blocks.2"),
    ]
    assert pairs(Blocks(), student, teacher)[0] == ("blocks.0", "blocks.1")


@pytest.mark.parametrize(("long", "short"), [(12, 6), (12, 4), (7, 3), (5, 5), (3, 1)])
def test_uniform_is_the_formula(long, short):
    found = uniform(list(range(long)), list(range(short)))
    assert found == [((i + 1) * long // short - 1, i) for i in range(short)]
    assert [(b, a) for a, b in found] == uniform(list(range(short)), list(range(long)))


def test_the_embedding_is_the_input_of_the_last_linear_layer():
    assert pairs(Embedding(), build("vit_tiny"), build("small_cnn")) == [("input of head", "input of fc")]


def test_attention_is_paired_like_blocks():
    teacher = zoo.networks.vit.VisionTransformer(depth=4, dim=16)
    student = zoo.networks.vit.VisionTransformer(depth=2, dim=8)
    x = torch.randn(1, 1, 28, 28)
    goal, own = seen(teacher, "teacher", x), seen(student, "student", x)
    paths = [(a.path, b.path) for a, b in wire(AllAttention(), None, goal, own).attention]
    assert paths == [("blocks.1.attn", "blocks.0.attn"), ("blocks.3.attn", "blocks.1.attn")]
    assert [b.path for _, b in wire(LastAttention(), None, goal, own).attention] == ["blocks.1.attn"]
    named = wire(LastAttention(), [Pair("blocks.0", "blocks.1")], goal, own)
    assert [(a.path, b.path) for a, b in named.attention] == [("blocks.0.attn", "blocks.1.attn")]
    cnn = seen(build("small_cnn"), "student", x)
    with pytest.raises(ModelError, match=r"student, SmallCNN, has no attention.*q_proj/k_proj/v_proj"):
        wire(LastAttention(), None, goal, cnn)


def test_what_a_network_does_not_have_is_told():
    with pytest.raises(ModelError, match=r"no maps.*teacher, LeNet300100.*fc1, fc2, fc3"):
        pairs(Stages(), build("lenet_300_100"), build("small_cnn"))

    class Convolutional(nn.Sequential):
        pass

    with pytest.raises(ModelError, match=r"student, Convolutional, runs no nn\.Linear"):
        pairs(Embedding(), build("small_cnn"), Convolutional(nn.Conv2d(1, 4, 3)))


def test_named_pairs_are_expanded_in_order():
    teacher, student = build("vit_tiny"), build("vit_tiny")
    named = [Pair("blocks.*", "blocks.*"), Pair("head", "head", "input")]
    expected = [(f"blocks.{i}", f"blocks.{i}") for i in range(4)] + [("input of head", "input of head")]
    assert pairs(Stages(), teacher, student, named=named) == expected


def test_named_pairs_that_do_not_fit_are_refused():
    teacher, student = build("vit_tiny"), build("small_cnn")
    with pytest.raises(SettingError, match=r"'blocks\.\*' stands for 4 modules.*'norms\.\[01\]' for 2"):
        pairs(Stages(), teacher, student, named=[Pair("blocks.*", "norms.[01]")])
    with pytest.raises(SettingError, match=r"no module 'norm\.0'.*norms\.0"):
        pairs(Stages(), teacher, student, named=[Pair("blocks.0", "norm.0")])
    with pytest.raises(ModelError, match="'convs' of the student gave no tensor as output"):
        pairs(Stages(), teacher, student, named=[Pair("blocks", "convs")])


def test_features_are_read_in_three_forms():
    losses = {"a": Stages(), "b": DistillationLoss(), "c": AllAttention()}
    assert pairs_for("auto", losses) == {"a": None, "b": None, "c": None}
    assert pairs_for([("x", "y")], losses) == {"a": [Pair("x", "y")], "b": None, "c": [Pair("x", "y")]}
    assert pairs_for({"c": [Pair("x", "y")]}, losses) == {"a": None, "b": None, "c": [Pair("x", "y")]}
    for bad, words in (
        ("last", "'last'"),
        ({"b": [("x", "y")]}, "['b']"),
        ({"z": [("x", "y")]}, "['z']"),
        ({}, "nothing"),
        ([], r"got \[\]"),
        ([("x",)], r"\('x',\)"),
        ([("x", "y", "z")], "'z'"),
        (["xy"], "'xy'"),
    ):
        with pytest.raises(SettingError, match=words.replace("['", r"\['").replace("']", r"'\]")):
            pairs_for(bad, losses)
    with pytest.raises(SettingError, match="features= would do nothing: none of b"):
        pairs_for([("x", "y")], {"b": DistillationLoss()})


def test_a_survey_leaves_nothing_behind():
    model = build("small_cnn")
    seen(model, "student", torch.randn(1, 1, 28, 28))
    with pytest.raises(RuntimeError):
        survey(model, "student", lambda: model(torch.randn(1, 2, 28, 28)))
    assert not any(module._forward_hooks for module in model.modules())
