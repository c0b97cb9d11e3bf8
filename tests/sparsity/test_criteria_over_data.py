"""Criteria that look at data, on a convolutional network: against naive loops, and what they leave alone."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.prunable import find_prunable
from featherweight.sparsity import prune
from featherweight.sparsity.criteria import (
    Context,
    Fisher,
    Gradient,
    Grasp,
    Snip,
    SynFlow,
    Taylor,
    Wanda,
    criteria,
    fisher,
)
from featherweight.sparsity.criteria._gradients import Leaves

LOOKING = [Fisher(), Gradient(), Grasp(temperature=1.0), Snip(), Taylor()]
ALL = [*LOOKING, SynFlow(rounds=3), Wanda()]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


def batches(seed=0, labels=3):
    generator = torch.Generator().manual_seed(seed)
    sizes = (5, 5, 2)
    return [
        (torch.randn(n, 2, 7, 7, generator=generator), torch.randint(labels, (n,), generator=generator))
        for n in sizes
    ]


def scored(criterion, model, data):
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    return criterion(weights, Context(model, data))


def losses(model, data):
    return [F.cross_entropy(model(x), y) for x, y in data]


def mean(found):
    return {name: sum(each[name] for each in found) / len(found) for name in found[0]}


def evaluating(model, criterion=None):
    """Return a copy; for the criteria of untrained networks, with batch norm that trains."""
    model = copy.deepcopy(model).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(isinstance(criterion, Grasp | Snip))
    return model


def by_backward(model, data, criterion=None):
    """Return the gradients of each batch, and the weights."""
    model = evaluating(model, criterion)
    weights = {w.name: w.tensor for w in find_prunable(model).weights}
    found = []
    for x, y in data:
        model.zero_grad()
        F.cross_entropy(model(x.double()), y).backward()
        found.append({name: w.grad.clone() for name, w in weights.items()})
    return {name: w.detach() for name, w in weights.items()}, found


def singles(data):
    return [(x[i : i + 1], y[i : i + 1]) for x, y in data for i in range(len(y))]


def hessian_gradient(model, data):
    """Return H g, from the difference of two gradients along g."""
    model = evaluating(model, Grasp())
    names = [w.name for w in find_prunable(model).weights]
    parameters = dict(model.named_parameters())

    def gradient():
        model.zero_grad()
        (sum(losses(model, [(x.double(), y) for x, y in data])) / len(data)).backward()
        return {name: parameters[name].grad.clone() for name in names}

    step, g = 1e-5, gradient()
    ends = []
    for sign in (1, -2):
        for name in names:
            parameters[name].data.add_(g[name], alpha=sign * step)
        ends.append(gradient())
    return {name: (ends[0][name] - ends[1][name]) / (2 * step) for name in names}


def naive(criterion, model, data):
    weights, each = by_backward(model, data, criterion)
    g = mean(each)
    if isinstance(criterion, Gradient):
        return {name: g[name].abs() for name in weights}
    if isinstance(criterion, Snip):
        return {name: (w * g[name]).abs() for name, w in weights.items()}
    if isinstance(criterion, Taylor):
        return mean([{name: (w * found[name]) ** 2 for name, w in weights.items()} for found in each])
    if isinstance(criterion, Fisher):
        _, each = by_backward(model, singles(data))
        return mean([{name: (w * found[name]) ** 2 / 2 for name, w in weights.items()} for found in each])
    product = hessian_gradient(model, data)
    return {name: w * product[name] for name, w in weights.items()}


@pytest.mark.parametrize("criterion", LOOKING, ids=repr)
def test_against_a_naive_loop(criterion):
    model, data = network(), batches()
    found, expected = scored(criterion, model, data), naive(criterion, model, data)
    for name, score in found.items():
        assert score.dtype == torch.float32
        torch.testing.assert_close(score.double(), expected[name], rtol=2e-4, atol=1e-8)


def test_grasp_keeps_what_the_norm_of_the_gradient_needs():
    """Shrinking a weight a little takes twice its score, a little, of the squared norm of the gradient."""
    model, data = network().double().eval(), [(x.double(), y) for x, y in batches()]
    scores = scored(Grasp(temperature=1.0), model, data)
    weight, name, step = model[7].weight, "7.weight", 1e-4

    def norm():
        _, each = by_backward(model, data, Grasp())
        return sum(float(g.square().sum()) for g in mean(each).values())

    for place in [(0, 0), (1, 3), (2, 2)]:
        before, value = norm(), float(weight.detach()[place])
        weight.data[place] = value * (1 - step)
        change = (norm() - before) / step
        weight.data[place] = value
        assert change == pytest.approx(-2 * float(scores[name][place]), rel=0.01)


def test_grasp_divides_logits_by_200_unless_told():
    model, data = network(), batches()
    hot = [scored(each, model, data) for each in (Grasp(), Grasp(temperature=200.0))]
    torch.testing.assert_close(*hot)
    assert not torch.allclose(hot[0]["7.weight"], scored(Grasp(temperature=1.0), model, data)["7.weight"])


def test_wanda_is_weights_times_norms_of_unfolded_inputs():
    model, data = network().eval(), batches()
    found = scored(Wanda(), model, data)
    x = torch.cat([x for x, _ in data])
    columns = F.unfold(x, 3, stride=2).square().sum((0, 2)).sqrt().view(2, 3, 3)
    torch.testing.assert_close(found["0.weight"], model[0].weight.detach().abs() * columns)
    with torch.no_grad():
        hidden = model[:4](x)
        columns = F.unfold(hidden, 3).square().sum((0, 2)).sqrt().view(2, 1, 2, 3, 3)  # groups, inputs
        grouped = columns.expand(2, 2, 2, 3, 3).reshape(4, 2, 3, 3)
        torch.testing.assert_close(found["4.weight"], model[4].weight.abs() * grouped)
        last = model[:7](x).square().sum(0).sqrt()
        torch.testing.assert_close(found["7.weight"], model[7].weight.abs() * last)


def test_wanda_leaves_padding_out():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2, bias=False)

        def forward(self, x, attention_mask):
            return self.layer(x)

    model, x = Tokens(), torch.tensor([[[1.0, 2.0], [100.0, 100.0]]])
    data = [{"x": x, "attention_mask": torch.tensor([[1, 0]])}]
    expected = model.layer.weight.detach().abs() * torch.tensor([1.0, 2.0])
    torch.testing.assert_close(scored(Wanda(), model, data)["layer.weight"], expected)


def test_wanda_with_its_pattern_compares_the_weights_of_an_output():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(9, 6)
    expected = model[0].weight.detach().abs() * x.norm(dim=0)
    masks = prune(
        model, 0.5, criterion="wanda", pattern="per_output", allocation="uniform", data=[(x, x.argmax(1))]
    )
    keep = masks["0.weight"].keep
    assert keep.sum(1).tolist() == [3, 3, 3, 3]
    assert torch.equal(keep, expected >= expected.topk(3, dim=1).values[:, -1:])


def test_what_flows_into_a_unit_flows_out_of_it():
    """The conservation law of SynFlow, in a network without biases."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.Flatten(),
        nn.Linear(45, 3, bias=False),
    )  # fmt: skip
    first, second, third = scored(SynFlow(), model, torch.randn(2, 2, 7, 7)).values()
    torch.testing.assert_close(first.sum((1, 2, 3)), second.sum((0, 2, 3)))
    torch.testing.assert_close(second.sum((1, 2, 3)), third.view(3, 5, 9).sum((0, 2)))
    assert all(float(score.sum()) == pytest.approx(1) for score in (first, second, third))


def test_synflow_in_many_rounds_keeps_every_layer():
    """In one round, by the score alone, the widest layer is emptied first."""
    torch.manual_seed(0)
    sizes = (20, 200, 20, 20, 10)
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
    kept = {}
    for rounds in (1, 100):
        model = nn.Sequential(*copy.deepcopy(layers))
        prune(model, 0.99, criterion=SynFlow(rounds=rounds), data=torch.zeros(1, 20))
        kept[rounds] = min(int((layer.weight != 0).sum()) for layer in model)
    assert kept[1] < 5 < kept[100]


def test_values_of_the_data_are_nothing_to_synflow():
    model = network()
    found = [scored(SynFlow(), model, data) for data in (batches(0), batches(1), torch.zeros(3, 2, 7, 7))]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


@pytest.mark.parametrize("criterion", LOOKING, ids=repr)
def test_other_labels_make_another_choice(criterion):
    model, data = network(), batches()
    other = [(x, (y + 1) % 3) for x, y in data]
    first, second = (prune(copy.deepcopy(model), 0.5, criterion=criterion, data=d) for d in (data, other))
    assert any(not torch.equal(first[name].keep, second[name].keep) for name in first)


@pytest.mark.parametrize("criterion", LOOKING, ids=repr)
def test_without_gradients_the_comparison_fails(criterion, monkeypatch):
    monkeypatch.setattr(Leaves, "gradients", lambda self, loss, graph=False: self.zeros())
    monkeypatch.setattr(fisher, "AT_ONCE", 1)
    with pytest.raises(AssertionError):
        test_against_a_naive_loop(criterion)
    with pytest.raises(AssertionError):
        test_other_labels_make_another_choice(criterion)


def test_other_inputs_make_another_choice_of_wanda():
    model, data = network(), batches()
    other = [(x * torch.tensor([1.0, 1e-3]).view(1, 2, 1, 1), y) for x, y in data]
    counts = [
        int(prune(copy.deepcopy(model), 0.5, criterion=Wanda(), data=d)["0.weight"].keep[:, 1].sum())
        for d in (data, other)
    ]
    assert counts[0] > 10 > counts[1] == 0


@pytest.mark.parametrize("criterion", ALL, ids=repr)
def test_the_network_is_left_as_it_was(criterion):
    model, data = network().train(), batches()
    model[1].eval()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3)
    state, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    scored(criterion, model, data)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(bool((p.grad == 3).all()) and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("criterion", ALL, ids=repr)
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrapped_networks(criterion, wrap):
    model, data = network(), batches()
    expected = prune(copy.deepcopy(model), 0.5, criterion=criterion, data=data)
    found = prune(wrap(model), 0.5, criterion=criterion, data=data)
    assert all(torch.equal(expected[name].keep, found[name].keep) for name in expected)


class Tied(nn.Module):
    """One weight that is used twice: by one parameter, or by two that share their memory."""

    def __init__(self, shares_memory):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.second.weight = nn.Parameter(self.first.weight.data) if shares_memory else self.first.weight

    def forward(self, x):
        return self.second(self.first(x).tanh())


@pytest.mark.parametrize("criterion", ALL, ids=repr)
def test_tied_weights_have_the_gradients_of_all_uses(criterion):
    data = [(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0]))]
    alone, shared = (scored(criterion, Tied(shares), data) for shares in (False, True))
    assert list(alone) == list(shared) == ["first.weight"]
    torch.testing.assert_close(alone["first.weight"], shared["first.weight"])


def test_gradients_of_tied_weights_are_sums():
    x, y = torch.ones(2, 3), torch.tensor([0, 1])
    model = Tied(True)
    F.cross_entropy(model(x), y).backward()
    expected = (model.first.weight.grad + model.second.weight.grad).abs()
    torch.testing.assert_close(scored(Gradient(), model, [(x, y)])["first.weight"], expected)


class Labelled(nn.Module):
    """Is called as the models of Hugging Face are."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, pixels, labels=None):
        logits = self.inner(pixels)
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}


@pytest.mark.parametrize("criterion", ALL, ids=repr)
def test_mappings_with_labels(criterion):
    expected = scored(criterion, network(), batches())
    found = scored(criterion, Labelled(), [{"pixels": x, "labels": y} for x, y in batches()])
    for name, score in expected.items():
        torch.testing.assert_close(found[f"inner.{name}"], score, rtol=1e-4, atol=1e-8)


class Branching(nn.Module):
    """vmap refuses to branch on values."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x) if bool(x.sum() > 0) else self.layer(-x)


def test_fisher_goes_through_examples_one_by_one_where_vmap_cannot():
    torch.manual_seed(0)
    data = [(torch.randn(6, 4).abs(), torch.tensor([0, 1, 2, 0, 1, 2]))]
    model = Branching()
    found = scored(Fisher(), model, data)["layer.weight"]
    plain = nn.Sequential(model.layer)
    torch.testing.assert_close(found, scored(Fisher(), plain, data)["0.weight"])


def test_fisher_takes_many_examples_at_once_where_it_can(monkeypatch):
    sizes, original = [], fisher._Information._together

    def together(self, part):
        found = original(self, part)  # an error would be caught
        sizes.append(part.number)
        return found

    monkeypatch.setattr(fisher._Information, "_together", together)
    scored(Fisher(), network(), batches())
    assert sizes == [5, 5, 2]


@pytest.mark.parametrize(("at_once", "floats"), [(1, 2**25), (4, 2**25), (32, 1)])
def test_fisher_in_parts_is_the_same(at_once, floats, monkeypatch):
    expected = scored(Fisher(), network(), batches())
    monkeypatch.setattr(fisher, "AT_ONCE", at_once)
    monkeypatch.setattr(fisher, "_FLOATS", floats)
    torch.testing.assert_close(scored(Fisher(), network(), batches()), expected)


def test_no_more_batches_are_read_than_asked_for():
    for criterion in (Fisher(batches=2), Gradient(batches=2), Grasp(batches=2), Taylor(batches=2)):
        found = scored(criterion, network(), batches())
        torch.testing.assert_close(found, scored(criterion, network(), batches()[:2]))
        read = iter(batches())
        scored(criterion, network(), read)
        assert len(list(read)) == 1


def test_half_precision_is_scored_in_float32():
    model = network().bfloat16()
    data = [(x.bfloat16(), y) for x, y in batches()]
    for criterion in ALL:
        scores = scored(criterion, model, data).values()
        assert all(score.dtype == torch.float32 and bool(score.isfinite().all()) for score in scores)


def test_every_criterion_is_here():
    others = {type(criteria[name]) for name in ("magnitude", "movement")}
    assert {type(criteria[name]) for name in criteria} - others == {type(criterion) for criterion in ALL}
