"""Each criterion against numbers worked out by hand, on networks of a few weights."""

import dataclasses

import pytest
import torch
from torch import nn

from featherweight.errors import ModelError, SettingError
from featherweight.sparsity import prune
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import Context, Fisher, Grasp, Movement, Snip, SynFlow, Taylor, criteria

WEIGHTS = {"w": torch.tensor([[-3.0, 1.0], [0.5, -2.0]])}


def linear(*rows):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return layer


def chain(*layers):
    return nn.Sequential(*(linear(*rows) for rows in layers))


def squared(outputs, targets):
    return (outputs - targets).square().mean()


def scored(criterion, model, data=None):
    found = criteria[criterion] if isinstance(criterion, str) else criterion
    weights = {name: p.detach() for name, p in model.named_parameters()}
    scores = found(weights, Context(model, data))
    return [scores[name].flatten().tolist() for name in weights]


def batch(inputs, targets):
    return torch.tensor(inputs), torch.tensor(targets)


# y = 3 * 1 + 1 * 2 = 5 instead of 4: dL/dy = 2, so g = (2, 4)
ONE = Calibration.of([batch([[1.0, 2.0]], [[4.0]])], squared)
# the same, and y = 5 instead of 6: dL/dy = -2, so g = (-2, -4); the mean of both is 0
PLUS, MINUS = batch([[1.0, 2.0]], [[4.0]]), batch([[1.0, 2.0]], [[6.0]])
TWO = Calibration.of([PLUS, MINUS], squared)
TOGETHER = Calibration.of([batch([[1.0, 2.0], [1.0, 2.0]], [[4.0], [6.0]])], squared)


def test_magnitude_is_the_absolute_value():
    scores = criteria["magnitude"](WEIGHTS, Context(nn.Identity()))
    assert torch.equal(scores["w"], torch.tensor([[3.0, 1.0], [0.5, 2.0]]))


def test_random_depends_on_seed_and_layer_and_not_on_the_weights():
    two = WEIGHTS | {"v": torch.zeros(2, 2)}
    first = criteria["random"](two, Context(nn.Identity(), seed=0))
    other = criteria["random"](two, Context(nn.Identity(), seed=1))
    assert not torch.equal(first["w"], first["v"])
    assert not torch.equal(first["w"], other["w"])
    negated = criteria["random"]({"w": -WEIGHTS["w"]}, Context(nn.Identity(), seed=0))
    assert torch.equal(first["w"], negated["w"])


def test_lamp_is_the_share_of_the_squares_that_are_as_large():
    (scores,) = scored("lamp", chain([[3.0, -1.0, 2.0, -2.0]]))
    assert scores == pytest.approx([9 / 9, 1 / 18, 4 / 13, 4 / 17])  # of equal ones the first is larger


@pytest.mark.parametrize(
    ("criterion", "data", "expected"),
    [
        ("gradient", ONE, [2, 4]),
        ("gradient", TWO, [0, 0]),
        ("snip", ONE, [6, 4]),
        ("snip", TWO, [0, 0]),
        ("snip", TOGETHER, [0, 0]),
        ("taylor", ONE, [36, 16]),
        ("taylor", TWO, [36, 16]),  # of each batch, so that they do not cancel
        ("taylor", TOGETHER, [0, 0]),  # within a batch they do
        (Taylor(batches=1), TWO, [36, 16]),
        (Snip(batches=1), TWO, [6, 4]),
        ("fisher", ONE, [9 * 4 / 2, 1 * 16 / 2]),
        ("fisher", TWO, [18, 8]),
        ("fisher", TOGETHER, [18, 8]),  # of each example
        # H = 2 x x^T = [[2, 4], [4, 8]], H g = (20, 40)
        ("grasp", ONE, [3 * 20, 1 * 40]),
        ("wanda", Calibration.of([torch.tensor([[3.0, 0.0]]), torch.tensor([[4.0, 1.0]])]), [3 * 5, 1 * 1]),
    ],
)
def test_of_two_weights(criterion, data, expected):
    assert scored(criterion, chain([[3.0, 1.0]]), data) == [pytest.approx(expected)]


def test_taylor_and_fisher_differ_where_the_batch_has_several_examples():
    data = Calibration.of([batch([[1.0, 2.0], [2.0, 0.0]], [[4.0], [6.0]])], squared)
    # the second: y = 6, no error; the mean loss halves the gradient of the first: g = (1, 2)
    assert scored("taylor", chain([[3.0, 1.0]]), data) == [pytest.approx([9, 4])]
    assert scored("fisher", chain([[3.0, 1.0]]), data) == [pytest.approx([9 * 2 / 2, 1 * 8 / 2])]


def test_a_callable_serves_as_well():
    (x, y), model = PLUS, chain([[3.0, 1.0]])

    def losses(network):
        yield squared(network(x), y)

    assert scored("taylor", model, losses) == [pytest.approx([36, 16])]
    assert scored("fisher", model, losses) == [pytest.approx([18, 8])]
    assert scored("grasp", model, losses) == [pytest.approx([60, 40])]


def test_synflow_is_the_flow_through_a_weight():
    model = chain([[1.0, -2.0], [0.5, 1.0]], [[3.0, -1.0]])
    # hidden units (3, 1.5), R = 3 * 3 + 1 * 1.5 = 10.5
    first, second = scored("synflow", model, torch.zeros(7, 2))
    assert first == pytest.approx([3 / 10.5, 6 / 10.5, 0.5 / 10.5, 1 / 10.5])
    assert second == pytest.approx([9 / 10.5, 1.5 / 10.5])


@pytest.mark.parametrize("size", [1e-9, 1e9])
def test_synflow_of_numbers_beyond_float32(size):
    scores = scored("synflow", chain(*[[[size]]] * 8), torch.zeros(1, 1))
    assert scores == [pytest.approx([1.0])] * 8


def test_movement_is_high_where_a_weight_leaves_zero():
    movement, weight = criteria["movement"].fresh(), nn.Parameter(torch.tensor([2.0, -3.0, 1.0]))
    weight.grad = torch.tensor([1.0, 1.0, 0.0])  # 2 shrinks, -3 grows
    movement.observe({"w": weight}, 0.1)
    assert movement({"w": weight}, Context(nn.Identity()))["w"].tolist() == pytest.approx([-0.2, 0.3, 0.0])
    weight.grad = torch.tensor([-1.0, 0.0, 2.0])
    movement.observe({"w": weight}, 0.5)
    (scores,) = movement({"w": weight}, Context(nn.Identity())).values()
    assert scores.tolist() == pytest.approx([-0.2 + 1.0, 0.3, -1.0])
    again = criteria["movement"].fresh()
    again.load_state_dict(movement.state_dict())
    assert torch.equal(again({"w": weight}, Context(nn.Identity()))["w"], scores)
    weight.grad = None
    again.observe({"w": weight}, 0.5)
    assert torch.equal(again({"w": weight}, Context(nn.Identity()))["w"], scores)
    assert not criteria["movement"].fresh().state_dict()


def test_movement_refuses_to_prune_without_training():
    model = chain([[3.0, 1.0]])
    with pytest.raises(SettingError, match="learns while the network trains, and saw no step yet"):
        prune(model, 0.5, criterion="movement")
    assert model[0].weight.tolist() == [[3.0, 1.0]]


def test_movement_says_which_weight_it_never_saw():
    movement, weight = Movement(), nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    movement.observe({"w": weight}, 0.1)
    with pytest.raises(ModelError, match="saw no gradient of v"):
        movement({"w": weight, "v": weight}, Context(nn.Identity()))


OVER_DATA = ["fisher", "gradient", "grasp", "snip", "synflow", "taylor", "wanda"]


@pytest.mark.parametrize("criterion", OVER_DATA)
def test_without_data_the_error_names_the_criterion(criterion):
    model = chain([[3.0, 1.0]])
    with pytest.raises(SettingError, match=rf"criterion='{criterion}'.* pass data=, a loader"):
        prune(model, 0.5, criterion=criterion)
    assert model[0].weight.tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize("criterion", OVER_DATA)
def test_data_without_a_batch(criterion):
    with pytest.raises(SettingError, match="gave no batch"):
        scored(criterion, chain([[3.0, 1.0]]), [])


@pytest.mark.parametrize("criterion", ["fisher", "gradient", "snip", "taylor"])
def test_weights_of_another_network(criterion):
    with pytest.raises(ModelError, match="no prunable weight 'w'"):
        criteria[criterion](WEIGHTS, Context(chain([[3.0, 1.0]]), ONE))


@pytest.mark.parametrize("batches", [0, -1, True, 2.0])
@pytest.mark.parametrize("kind", [Taylor, Fisher, Snip, Grasp])
def test_numbers_of_batches_that_are_none(kind, batches):
    with pytest.raises(SettingError, match="batches is a whole number of at least 1"):
        kind(batches=batches)


@pytest.mark.parametrize("rounds", [0, True, 2.5])
@pytest.mark.parametrize("kind", [Snip, SynFlow])
def test_numbers_of_rounds_that_are_none(kind, rounds):
    with pytest.raises(SettingError, match="rounds is a whole number of at least 1"):
        kind(rounds=rounds)


def test_what_grasp_refuses():
    with pytest.raises(SettingError, match="temperature is above 0"):
        Grasp(temperature=0)
    with pytest.raises(SettingError, match="this loss hides them"):
        scored(Grasp(temperature=2.0), chain([[3.0, 1.0]]), ONE)
    with pytest.raises(SettingError, match="this loss hides them"):
        scored(Grasp(temperature=2.0), chain([[3.0, 1.0]]), lambda model: [model(torch.ones(2)).sum()])
    assert scored(Grasp(temperature=1.0), chain([[3.0, 1.0]]), ONE) == [pytest.approx([60, 40])]


def test_synflow_keeps_a_mask_of_padding_as_it_is():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, x, padding):
            return self.head(self.layer(x, src_key_padding_mask=padding))

    model = Masked()
    weights = {"layer.self_attn.in_proj_weight": model.layer.self_attn.in_proj_weight}
    data = {"x": torch.randn(2, 5, 8), "padding": torch.zeros(2, 5, dtype=torch.bool)}
    scores = criteria["synflow"](weights, Context(model, data))
    assert float(scores["layer.self_attn.in_proj_weight"].sum()) > 0


def test_what_synflow_refuses():
    with pytest.raises(
        SettingError, match="looks at the shape of an input, which a function of losses has not"
    ):
        scored("synflow", chain([[3.0, 1.0]]), lambda model: [])
    with pytest.raises(ModelError, match="No output depends on a weight"):
        scored("synflow", Constant(), torch.zeros(1, 2))


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2, bias=False)

    def forward(self, x):
        return x


def test_wanda_says_what_nothing_reached():
    with pytest.raises(ModelError, match=r"saw no input of 1 weights \(layer.weight: nothing reached it"):
        scored("wanda", Constant(), [torch.zeros(1, 2)])


def test_settings_are_in_the_fingerprint():
    assert repr(Snip(batches=3, rounds=2)) == "Snip(batches=3, batch_statistics=None, rounds=2)"
    assert repr(criteria["movement"]) == "Movement()"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Snip().rounds = 3
