"""Students of teachers: which blocks stay, that they compute what those blocks do, and what is refused."""

import copy

import pytest
import torch
from torch import nn

import featherweight as fw
from featherweight.distillation.students import student_from
from featherweight.distillation.students.choice import kept_of
from featherweight.errors import ModelError, SettingError
from featherweight.zoo import build
from featherweight.zoo.networks.resnet_cifar import CifarResNet
from featherweight.zoo.networks.vit import VisionTransformer

IMAGES = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def vit(depth=4, classes=10):
    torch.manual_seed(depth)
    return VisionTransformer(1, classes, 28, dim=16, depth=depth, heads=2, patch=14).eval()


class Block(nn.Module):
    """A residual block that knows its number, and half a network like those of users."""

    def __init__(self, number, width=8):
        super().__init__()
        self.number, self.unrelated, self.linear = number, 3, nn.Linear(width, width)

    def forward(self, x):
        return x + self.number * torch.tanh(self.linear(x))


class Net(nn.Module):
    """Blocks, and with ``scales`` a list beside them that must be as long."""

    def __init__(self, blocks=4, scales=False):
        super().__init__()
        self.n_layers, self.blocks = blocks, nn.ModuleList(Block(i) for i in range(blocks))
        self.scales = nn.ParameterList(torch.ones(8) for _ in range(blocks if scales else 0))

    def forward(self, x):
        for i in range(self.n_layers):
            x = self.blocks[i](x)
        for block, scale in zip(self.blocks, self.scales, strict=True) if len(self.scales) else ():
            x = scale * block(x)
        return x


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("layers", "length", "kept"),
    [
        ("every other", 12, (0, 2, 4, 6, 8, 10)),
        ("every other", 5, (0, 2, 4)),
        ("first", 5, (0, 1, 2)),
        ("last", 5, (2, 3, 4)),
        (6, 12, (0, 2, 4, 7, 9, 11)),  # DistilBERT of BERT
        (1, 12, (0,)),
        (2, 3, (0, 2)),
        (3, 6, (0, 3, 5)),
        (7, 7, tuple(range(7))),
        ((0, -1), 4, (0, 3)),
        (range(1, 3), 4, (1, 2)),
    ],
)
def test_which_blocks_stay(layers, length, kept):
    assert kept_of(layers, length) == kept


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ("every third", "one of 'every other', 'first', 'last'"),
        (0, "1 to 4 here, got 0"),
        (5, "1 to 4 here, got 5"),
        (True, "got True"),
        ([], "at least one block"),
        ([0, 4], "the stack has 4"),
        ([2, 1], "in the order"),
        ([1, -3], "each once"),
        ([0.5], "the stack has 4"),
    ],
)
def test_a_choice_that_is_none(layers, says):
    with pytest.raises(SettingError, match=says):
        kept_of(layers, 4)


def test_a_transformer_is_its_kept_blocks_by_hand_and_the_teacher_is_unchanged():
    teacher = vit()
    before = state(teacher)
    student = student_from(teacher, example_inputs=IMAGES)
    by_hand = copy.deepcopy(teacher)
    by_hand.blocks = nn.Sequential(teacher.blocks[0], teacher.blocks[2])
    assert torch.equal(student(IMAGES), by_hand(IMAGES))
    assert not torch.equal(student(IMAGES), teacher(IMAGES))
    assert same(state(teacher), before)
    assert len(teacher.blocks) == 4
    with torch.no_grad():
        student.blocks[1].mlp[0].weight.zero_()
    assert same(state(teacher), before), "they share no tensor"


def test_the_student_is_saved_and_loaded_into_a_network_of_its_shape(tmp_path):
    student = student_from(vit(), [1, 3])
    fw.save(student, tmp_path / "s.safetensors")
    fresh = fw.load(tmp_path / "s.safetensors", into=vit(depth=2))
    assert torch.equal(fresh(IMAGES), student(IMAGES))


def test_an_encoder_of_torch_counts_its_layers():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    teacher = nn.Sequential(nn.Linear(4, 16), nn.TransformerEncoder(layer, 5, enable_nested_tensor=False))
    teacher.append(nn.Linear(16, 3)).eval()
    x = torch.randn(2, 6, 4)
    student = student_from(teacher, 3, example_inputs=x)
    expected = teacher[0](x)
    for number in (0, 2, 4):
        expected = teacher[1].layers[number](expected)
    assert torch.allclose(student(x), teacher[2](expected), atol=1e-6)
    assert (student[1].num_layers, teacher[1].num_layers) == (3, 5)


def test_numbers_in_blocks_and_above_are_those_of_now():
    teacher = Net()
    student = student_from(teacher, "last", example_inputs=torch.randn(2, 8))
    assert [block.number for block in student.blocks] == [0, 1]
    assert [block.unrelated for block in student.blocks] == [3, 3]
    assert student.n_layers == 2
    assert [block.number for block in teacher.blocks] == [0, 1, 2, 3]
    assert torch.equal(student.blocks[0].linear.weight, teacher.blocks[2].linear.weight)
    assert list(student.state_dict()) == list(Net(2).state_dict())


def test_names_that_end_in_numbers_are_numbered_anew_others_stay():
    def named(*names):
        model = nn.Sequential()
        for name in names:
            model.add_module(name, Block(1))
        return nn.Sequential(model)

    def kept(model):
        return [name for name, _ in student_from(model, "last")[0].named_children()]

    assert kept(named("layer_0", "layer_1", "layer_2", "layer_3")) == ["layer_0", "layer_1"]
    assert kept(named("stem", "body", "neck", "head")) == ["neck", "head"]


def test_stages_of_a_residual_network_are_asked_for_and_the_first_of_each_stays():
    torch.manual_seed(0)
    teacher = CifarResNet(26, in_channels=1, widths=(4, 6, 8)).eval()
    with pytest.raises(SettingError, match=r"'stages.0' \(4 BasicBlock\), 'stages.1'.*stack='stages.0'"):
        student_from(teacher)
    with pytest.raises(SettingError, match=r"'stages.1' \(4 BasicBlock\), blocks 0 are unlike.*1, 2, 3 can"):
        student_from(teacher, "last", stack="stages.1")
    student = student_from(teacher, stack="stages.*", example_inputs=IMAGES)
    fresh = CifarResNet(14, in_channels=1, widths=(4, 6, 8))
    fresh.load_state_dict(student.state_dict())
    assert torch.equal(fresh.eval()(IMAGES), student(IMAGES))
    first = student_from(teacher, [0], stack=["stages.0"])
    assert [len(stage) for stage in first.stages] == [1, 4, 4]


def test_the_longest_stack_of_several_is_taken():
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": Net(3).blocks, "b": Net(4).blocks})
    student = student_from(model, "first")
    assert [len(stack) for stack in student.values()] == [3, 2]


def test_only_the_width():
    torch.manual_seed(0)
    teacher = build("small_cnn").eval()
    student = student_from(teacher, None, width=0.5, example_inputs=IMAGES)
    assert [conv.out_channels for conv in student.convs] == [16, 32, 64, 128]
    assert [conv.out_channels for conv in teacher.convs] == [32, 64, 128, 256]
    assert student(IMAGES).shape == (2, 10)


def test_layers_and_width_and_the_file_knows(tmp_path):
    teacher = vit()
    student = student_from(teacher, width=0.5, example_inputs=IMAGES)
    assert len(student.blocks) == 2
    assert student.blocks[1].mlp[0].out_features == 32
    assert teacher.blocks[1].mlp[0].out_features == 64
    fw.save(student, tmp_path / "s.safetensors")
    fresh = fw.load(tmp_path / "s.safetensors", into=vit(depth=2)).eval()
    assert torch.allclose(fresh(IMAGES), student(IMAGES), atol=1e-6)


def test_a_frozen_teacher_has_a_student_that_learns_and_a_part_stays_frozen():
    teacher = vit().requires_grad_(False)
    assert all(p.requires_grad for p in student_from(teacher).parameters())
    assert not any(p.requires_grad for p in teacher.parameters())
    teacher = vit()
    teacher.patch_embed.requires_grad_(False)
    student = student_from(teacher)
    assert not student.patch_embed.weight.requires_grad
    assert student.head.weight.requires_grad


def test_a_block_that_comes_several_times():
    block = Block(1)
    student = student_from(nn.Sequential(nn.Sequential(*[block] * 6)), 2)
    assert list(dict(student[0].named_children())) == ["0"]
    assert len(student[0]) == 2


def test_what_else_counts_blocks_is_found_by_running():
    with pytest.raises(ModelError, match=r"blocks \[0, 2\] of 'blocks'.*does not run.*count its blocks"):
        student_from(Net(scales=True), example_inputs=torch.randn(2, 8))


def test_parts_side_by_side_are_found_by_running():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(4, 2) for _ in range(4))

        def forward(self, x):
            return [head(x) for head in self.heads]

    with pytest.raises(ModelError, match="no blocks in a row"):
        student_from(Heads(), example_inputs=torch.randn(2, 4))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layers": None}, "no smaller student"),
        ({"layers": None, "width": 0.5, "stack": "blocks"}, "stack= would do nothing"),
        ({"width": 0.5}, "give example_inputs="),
        ({"width": 1.5, "example_inputs": IMAGES}, "width is a fraction"),
        ({"stack": "blocks.0.attn"}, r"it is a Attention\. Stacks .* 'blocks' \(4 Block\)"),
        ({"stack": "block"}, r"no such module\. Stacks .* 'blocks'"),
        ({"layers": 9}, "1 to 4 here"),
        ({"example_inputs": IMAGES[:, :, :3]}, "do not fit the teacher"),
    ],
)
def test_settings_that_are_refused(options, says):
    teacher = vit()
    before = state(teacher)
    with pytest.raises(SettingError, match=says):
        student_from(teacher, **options)
    assert same(state(teacher), before)


def test_networks_that_are_refused():
    with pytest.raises(ModelError, match=r"SmallCNN has no nn\.ModuleList"):
        student_from(build("small_cnn"))
    cut = vit()
    cut, _ = fw.prune_structured(cut, IMAGES, keep=0.5)
    with pytest.raises(ModelError, match="cut by prune_structured"):
        student_from(cut)
