"""What one-shot pruning changes beside the weights: biases, the statistics of batch norm."""

import copy

import pytest
import torch
from oneshot_toy import quietly, same, state, trained
from torch import nn
from torch.nn import functional as F

from featherweight.errors import SettingError
from featherweight.sparsity.oneshot import methods
from featherweight.sparsity.oneshot._batch_norm import Pool, matched


def test_a_bias_makes_up_for_the_mean():
    before, data = trained("linear")
    errors = {}
    for correct in (False, True):
        model, _ = trained("linear")
        quietly(model, 0.9, data, method="magnitude", correct_bias=correct)
        with torch.no_grad():
            change = torch.cat([model[0](x) - before[0](x) for x, _ in data])
        errors[correct] = change.mean(0).abs().max()
    assert errors[True] < 1e-5 < 1e-2 < errors[False]


def test_a_bias_that_is_frozen_or_shared_stays():
    for frozen in (True, False):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
        if frozen:
            model[0].bias.requires_grad_(False)
        else:
            model[2].bias = model[0].bias
        before = [model[0].bias.clone(), model[4].bias.clone()]
        quietly(model, 0.5, [(torch.rand(32, 6), torch.zeros(32).long())], method="magnitude")
        assert torch.equal(model[0].bias, before[0])
        assert not torch.equal(model[4].bias, before[1])


@pytest.mark.parametrize("skip", ["0.bias", "0.b*"])
def test_a_bias_that_is_skipped_stays(skip):
    model, data = trained("linear")
    before = state(model)
    quietly(model, 0.5, data, method="magnitude", skip=[skip])
    after = state(model)
    assert torch.equal(after["0.bias"], before["0.bias"])
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["2.bias"], before["2.bias"])


def test_a_skipped_bias_of_attention_stays():
    model, data = trained("attention", 1)
    before = state(model)
    quietly(model, 0.5, data, skip=["cross.in_proj_bias"])
    assert torch.equal(model.cross.in_proj_bias, before["cross.in_proj_bias"])
    assert not torch.equal(model.cross.in_proj_weight, before["cross.in_proj_weight"])
    assert not torch.equal(
        model.inner.layers[0].self_attn.in_proj_bias, before["inner.layers.0.self_attn.in_proj_bias"]
    )


@pytest.mark.parametrize("size", [256, 64, 8, 3])
def test_batch_norm_leaves_the_mean_and_variance_of_the_dense_network(size):
    """Over all data, however they are divided: the last batch may be a single example."""
    model, data = trained("convolutional")
    dense, _ = trained("convolutional")
    kept, _ = trained("convolutional")
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    batches = list(zip(x.split(size), y.split(size), strict=True))
    quietly(model, 0.8, batches, batches=None)
    quietly(kept, 0.8, batches, batches=None, batch_norm="keep")
    assert same(state(dense[1]), state(kept[1]))
    with torch.no_grad():
        for end in (2, 5):
            wanted, found, otherwise = (each[:end](x) for each in (dense, model, kept))
            for moment in (torch.mean, torch.std):
                assert torch.allclose(moment(found, (0, 2, 3)), moment(wanted, (0, 2, 3)), atol=1e-3)
            assert not torch.allclose(otherwise.std((0, 2, 3)), wanted.std((0, 2, 3)), atol=1e-2)


def test_layers_are_pruned_for_what_the_norms_before_them_give():
    """The inputs of the second layer are those of the network as it is when all is done."""
    found = {}
    for way in ("match", "reestimate"):
        model, data = trained("convolutional")
        seen = []

        def method(problem, seen=seen):
            seen.append(problem.hessian.diagonal(dim1=-2, dim2=-1).flatten(0, -2)[0].double())
            return methods["magnitude"](problem)

        quietly(model, 0.8, data[:1], method=method, batch_norm=way)
        with torch.no_grad():
            reached = model[:3](data[0][0])  # by a convolution of four groups, strides of two
        squares = F.unfold(reached[:, :4], 3, stride=2).square().sum((0, 2)).double()
        shares = [each.sort().values / each.sum() for each in (seen[1], squares)]
        found[way] = float((shares[0] - shares[1]).abs().max())
    assert found["match"] < 1e-4 < 1e-3 < found["reestimate"]


class Chain(nn.Module):
    """Norms behind one another, one of them in a branch that only long batches take."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.d = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.first, self.second, self.branch = (nn.BatchNorm1d(8) for _ in range(3))

    def forward(self, x):
        x = self.second(self.first(self.a(x)).relu())
        if len(x) > 20:
            x = x + self.branch(self.b(x)).relu()
        return self.d(self.c(x).relu())


@pytest.mark.parametrize("sizes", [(30, 10, 30, 1), (10, 30, 1, 30)])
def test_norms_behind_norms_and_in_branches_that_few_batches_take(sizes):
    model, data = Chain().eval(), [(torch.randn(n, 6), torch.zeros(n).long()) for n in sizes]
    dense = copy.deepcopy(model)
    quietly(model, 0.7, data, method="magnitude", memory_limit=0)  # together all would take the branch
    for name in ("first", "second", "branch"):
        moments = []
        for network in (dense, model):
            seen = []
            handle = getattr(network, name).register_forward_hook(lambda m, a, y, seen=seen: seen.append(y))
            with torch.no_grad():
                for x, _ in data:
                    network(x)
            handle.remove()
            values = torch.cat(seen)
            moments.append((values.mean(0), values.std(0)))
        alive = moments[1][1] > 1e-3
        assert torch.allclose(moments[0][0], moments[1][0], atol=2e-2), name
        assert torch.allclose(moments[0][1][alive], moments[1][1][alive], atol=2e-2), name


@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_that_is_skipped_is_left_alone(affine):
    model, data = trained("convolutional")
    if not affine:  # it has no parameter to name
        model[1].weight = model[1].bias = None
    before = state(model)
    quietly(model, 0.8, data, skip=["1"])
    after = state(model)
    assert torch.equal(after["1.running_var"], before["1.running_var"])
    assert not torch.equal(after["4.running_var"], before["4.running_var"])


def test_a_norm_that_nothing_reaches_in_some_batches():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
            self.norm = nn.BatchNorm1d(8)

        def forward(self, x):
            x = self.first(x)
            chosen = x[:, 0] > (100 if x.shape[0] == 5 else -100)
            return self.last(torch.cat([self.norm(x[chosen]), x[~chosen]]))

    torch.manual_seed(0)
    model = Routed().eval()
    data = [(torch.randn(n, 6), torch.zeros(n).long()) for n in (16, 5, 16)]
    quietly(model, 0.5, data, method="magnitude")
    assert bool(model.norm.running_var.isfinite().all())
    assert not torch.equal(model.norm.running_var, torch.ones(8))


def test_a_part_that_was_compiled_and_has_run():
    model, data = trained("convolutional")
    whole, _ = trained("convolutional")
    first = torch.compile(nn.Sequential(*model[:6]), backend="eager")
    parts = nn.Sequential(first, nn.Sequential(*model[6:])).eval()
    with torch.no_grad():
        parts(data[0][0])
    quietly(parts, 0.8, data)
    quietly(whole, 0.8, data)
    assert torch.allclose(model[1].running_var, whole[1].running_var)
    assert not torch.equal(whole[1].running_var, trained("convolutional")[0][1].running_var)


def test_where_nothing_goes_statistics_stay():
    model, data = trained("convolutional")
    before = state(model)
    quietly(model, 0.0, data)
    after = state(model)
    for name in ("1.running_mean", "1.running_var", "4.running_mean", "4.running_var"):
        assert torch.allclose(after[name], before[name], rtol=1e-4, atol=1e-5), name


def test_data_unlike_those_of_training_do_harm_when_estimated_anew_and_not_when_matched():
    losses = {}
    for way in ("match", "reestimate", "keep"):
        model, data = trained("convolutional")
        quietly(model, 0.1, [(0.2 * x + 1, y) for x, y in data[:1]], method="magnitude", batch_norm=way)
        with torch.no_grad():
            losses[way] = sum(float(F.cross_entropy(model(x), y)) for x, y in data)
    assert losses["match"] < 0.8 * losses["reestimate"]
    assert losses["match"] < 1.1 * losses["keep"]


def pool(mean, variance):
    return Pool(10, torch.tensor(mean).double(), torch.tensor(variance).double())


def test_channels_that_died_or_never_varied_keep_their_variance():
    before = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    mean, variance = matched(1e-5, before, pool([0.0, 3.0], [1.0, 0.0]), pool([0.0, 5.0], [0.0, 1.0]))
    assert torch.allclose(variance.float(), before[1])
    assert torch.allclose(mean.float(), torch.tensor([1.0, 4.0]))


@pytest.mark.parametrize("now", [0.25, 0.01])  # of the lower, no running variance makes up: it is 0 then
def test_what_is_matched_by_hand(now):
    before = torch.tensor([1.0]), torch.tensor([3.5])
    mean, variance = matched(0.5, before, pool([5.0], [1.0]), pool([2.0], [now]))
    # left it with mean (5 - 1) / 2 = 2 and deviation 1 / 2
    deviation = float(torch.sqrt(variance + 0.5))
    assert (2 - float(mean)) / deviation == pytest.approx(2)
    assert now**0.5 / deviation == pytest.approx(0.5 if now == 0.25 else 0.1 / 0.5**0.5)


def test_pools_of_parts_are_that_of_the_whole():
    torch.manual_seed(0)
    x = 3 + torch.randn(20, 2, 5)
    whole, found = Pool.of(x), Pool.of(x[:1])
    for part in (x[1:7], x[:0], x[7:]):
        found = found.with_(Pool.of(part))
    assert found.count == whole.count == 100
    assert torch.allclose(found.mean, whole.mean)
    assert torch.allclose(found.variance, whole.variance)


def test_a_norm_that_is_used_twice_is_matched_over_both_calls():
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 8)
            self.norm = nn.BatchNorm1d(8)
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            x = self.norm(input=self.first(x)).relu()
            return self.last(self.norm(self.second(x)).relu())

    model = Twice().eval()
    data = [(torch.randn(64, 6), torch.zeros(64).long()) for _ in range(3)]
    quietly(model, 0.7, data, method="magnitude", correct_bias=False)
    assert float(model.norm.running_var.mean()) < 0.8, "outputs became weaker"
    assert not model.training
    assert not model.norm._forward_pre_hooks


def test_batch_norm_can_be_estimated_anew():
    model, data = trained("convolutional")
    quietly(model, 0.8, data, batch_norm="reestimate")
    with torch.no_grad():
        first = torch.cat([model[0](x) for x, _ in data])
    assert torch.allclose(model[1].running_mean, first.mean((0, 2, 3)), atol=1e-4)


def test_what_becomes_of_batch_norm_has_a_name():
    model, data = trained("convolutional", 0)
    before = state(model)
    with pytest.raises(SettingError, match="batch_norm is one of 'match', 'reestimate', 'keep'; got 'anew'"):
        quietly(model, 0.5, data, batch_norm="anew")
    assert same(state(model), before)


def test_batch_norm_needs_batches():
    model, data = trained("convolutional", 0)

    def losses(m):
        return (F.cross_entropy(m(x), y) for x, y in data)

    for way in ("match", "reestimate"):
        with pytest.raises(SettingError, match="batch_norm='keep'"):
            quietly(model, 0.5, losses, batch_norm=way)
    quietly(model, 0.5, losses, batch_norm="keep").check(model)
