"""Surgery in place: the class stays, its attributes say the new sizes, or nothing is changed."""

import copy

import pytest
import torch
from torch import nn

from featherweight.structured.checkpoint import load, save
from featherweight.structured.prune import prune_structured
from featherweight.structured.rewrite import rewritten
from featherweight.structured.surgery import operate
from featherweight.structured.verify import difference
from featherweight.zoo import build


class Attention(nn.Module):
    """Holds its number of heads, as most do."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.head_dim = 4, 6
        self.qkv = nn.Linear(24, 72)
        self.proj = nn.Linear(24, 24)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        scores = torch.softmax(q @ k.transpose(-1, -2) * 0.4, dim=-1)
        return x + self.proj((scores @ v).transpose(1, 2).reshape(n, t, self.num_heads * self.head_dim))


def network(block):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 24), block, nn.Linear(24, 3)).eval()


class Marked(Attention):
    """Has numbers that are no sizes, but have the value of one."""

    def __init__(self):
        super().__init__()
        self.end_token, self.num_classes, self.block_size, self.num_features = 4, 24, 24, 4


def test_numbers_that_are_sizes_by_chance_stay(cut_of):
    model, inputs = network(Marked()), torch.randn(2, 7, 5)
    assert operate(model, cut_of(model, inputs), inputs) is not None
    assert (model[1].end_token, model[1].num_classes, model[1].block_size) == (4, 24, 24)
    assert (model[1].num_heads, model[1].num_features) == (2, 2)  # the latter is a width by its name


def test_attributes_of_others_are_found(cut_of):
    model, inputs = network(Attention()), torch.randn(2, 7, 5)
    cut = cut_of(model, inputs)
    expected = rewritten(cut)(inputs)
    fitted = operate(model, cut, inputs)
    assert fitted is not None
    assert fitted.attributes["1"] == {"num_heads": 2, "head_dim": 3}
    assert difference(expected, model(inputs)) < 1e-5
    assert model(torch.randn(5, 3, 5)).shape == (5, 3, 3)


def test_torch_modules_say_their_new_sizes(cut_of):
    model, inputs = build("mobilenet_v2", in_channels=3, classes=10).eval(), torch.randn(1, 3, 32, 32)
    cut = cut_of(model, inputs)
    assert operate(model, cut, inputs) is not None
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert tuple(module.weight.shape[:2]) == (
                module.out_channels,
                module.in_channels // module.groups,
            )
        if isinstance(module, nn.BatchNorm2d):
            assert module.num_features == len(module.weight) == len(module.running_mean)


def test_a_size_in_the_forward_leaves_the_model_as_it_was(written, cut_of):
    torch.manual_seed(0)
    model, inputs = written().eval(), torch.randn(4, 6)
    before, output = {n: p.clone() for n, p in model.state_dict().items()}, model(inputs)
    cut = cut_of(model, inputs)
    assert operate(model, cut, inputs) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.a.out_features == 12
    assert torch.equal(model(inputs), output)
    assert rewritten(cut)(inputs).shape == (4, 3)


class Sequence(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self):
        super().__init__()
        self.a, self.lstm, self.b = nn.Linear(5, 8), nn.LSTM(8, 10, 2, batch_first=True), nn.Linear(10, 3)

    def forward(self, x):
        return self.b(self.lstm(self.a(x))[0])


def test_a_recurrent_layer_runs_with_fewer_hidden_units(cut_of):
    torch.manual_seed(0)
    model, inputs = Sequence().eval(), torch.randn(2, 6, 5)
    cut = cut_of(model, inputs)
    expected = rewritten(cut)(inputs)
    assert operate(model, cut, inputs) is not None
    assert (model.lstm.input_size, model.lstm.hidden_size) == (4, 5)
    assert difference(expected, model(inputs)) < 1e-5
    model.train()(inputs).sum().backward()
    assert model.lstm.weight_hh_l1.grad.shape == (20, 5)


class Gated(nn.Module):
    """Holds a number that is no size, behind a scale of zero."""

    def __init__(self):
        super().__init__()
        self.number = 24
        self.up, self.scale = nn.Linear(24, 24), nn.Parameter(torch.zeros(24))

    def forward(self, x):
        return x + self.scale * self.up(x) * self.number


def test_a_wrong_attribute_does_not_hide_behind_a_scale_of_zero(cut_of):
    model, inputs = network(Gated()), torch.randn(2, 7, 5)
    fitted = operate(model, cut_of(model, inputs), inputs)
    assert fitted is not None
    assert model[1].number == 24
    assert len(model[1].scale) < 24
    assert not model[1].scale.any()


def test_a_difference_that_is_no_number_is_none():
    good, bad = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert not difference([good, good], [good, bad]) < 1
    assert not difference([good, good], [bad, good]) < 1


@pytest.mark.parametrize("how", ["prune", "load"])
def test_a_cut_network_trains_while_the_graph_of_an_earlier_step_is_alive(tmp_path, how):
    """torch keeps a parameter's gradient node, with its old sizes, as long as any graph has it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    x, targets = torch.randn(4, 8), torch.randint(3, (4,))
    small, _ = prune_structured(copy.deepcopy(model), x, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    loss = nn.functional.cross_entropy(model(x), targets)
    if how == "prune":
        prune_structured(model, x, keep=0.5)
    else:
        load(tmp_path / "small.safetensors", into=model)
    again = nn.functional.cross_entropy(model(x), targets)
    again.backward()
    assert model[0].weight.grad.shape == model[0].weight.shape == (8, 8)
    assert loss.grad_fn is not None


class Widened(nn.Module):
    """Splits as it noted, and says by itself how wide it is, where another size had the same value."""

    def __init__(self, width):
        super().__init__()
        self.width, self.parts = width, [width, width // 2, width // 2]
        self.weight = nn.Parameter(torch.randn(24, 2 * width))
        self.out = nn.Linear(width, 24)

    def forward(self, x):
        a, b, c = torch.split(x @ self.weight, self.parts, dim=-1)
        return self.out(torch.relu(a.reshape(-1, self.width)) * torch.cat([b, c], -1).reshape(-1, self.width))


def test_sizes_in_a_list_and_two_sizes_of_one_value_are_found(cut_of, tmp_path):
    model, inputs = network(Widened(24)), torch.randn(4, 5)
    cut = cut_of(model, inputs)
    expected = rewritten(cut)(inputs)
    fitted = operate(model, cut, inputs)
    assert fitted is not None
    widened = model[1]
    assert isinstance(widened.parts, list)
    assert sum(widened.parts) == widened.weight.shape[1] < 48
    assert widened.width == widened.parts[0]
    assert difference(expected, model(inputs)) < 1e-5
    whole = network(Widened(24))
    small, _ = prune_structured(copy.deepcopy(whole), inputs, keep=0.5)
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", into=whole)
    assert isinstance(loaded[1].parts, list)
    torch.testing.assert_close(loaded(inputs), small(inputs))
