"""What holds for every registered criterion, allocation, schedule and pattern, and for all of them together.

Exact means: of all prunable weights ``round((1 - sparsity) * n)`` are kept; with blocks, which are kept or
dropped whole, fewer by less than a block.
"""

import copy
import itertools
import math
from dataclasses import fields, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from featherweight.core.prunable import find_prunable
from featherweight.errors import SettingError
from featherweight.sparsity import Pruner, Recipe, prune
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import Context, criteria
from featherweight.sparsity.patterns import patterns, row_pattern
from featherweight.sparsity.schedules import schedules

OF_SCORES = [name for name in allocations if not hasattr(allocations[name], "prepared")]
NAMES = [*patterns, "4:8", "1:3", "4x1", "2x2", "3x5"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(64, 10)
    )


TOTAL = 3 * 8 * 9 + 8 * 16 * 9 + 640


def data(shape=(8, 3, 6, 6), classes=10):
    rng = torch.Generator().manual_seed(1)
    return [(torch.randn(shape, generator=rng), torch.arange(shape[0]) % classes)]


class Conv1D(nn.Module):
    """As in Hugging Face's transformers: a linear layer whose weight is (inputs, outputs)."""

    def __init__(self, outputs, inputs):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(inputs, outputs)),
            nn.Parameter(torch.zeros(outputs)),
        )

    def forward(self, x):
        return x @ self.weight + self.bias


class EveryLayer(nn.Module):
    """Layers of all kinds, of sizes that few patterns divide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 2, groups=2)
        self.lstm = nn.LSTM(6, 7, batch_first=True)
        self.attention = nn.MultiheadAttention(7, 1, batch_first=True)
        self.mixed = Conv1D(10, 7)
        self.fc = nn.Linear(10, 5)

    def forward(self, x):
        x = self.up(self.grouped(self.depthwise(self.conv(x)).relu()))
        x, _ = self.lstm(x.flatten(2).transpose(1, 2))
        x, _ = self.attention(x, x, x)
        return self.fc(self.mixed(x.mean(1)).relu())


def matrices(layer, keep):
    """Return (outputs, inputs) of each position of the kernel, from what the layer's documentation says."""
    if isinstance(layer, Conv1D):
        return [keep.T]
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, kh, kw)
        inputs, outputs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        found = []
        for y, x in itertools.product(*map(range, layer.kernel_size)):
            matrix = torch.zeros(layer.out_channels, inputs, dtype=torch.bool)
            for o, i in itertools.product(range(layer.out_channels), range(inputs)):
                matrix[o, i] = keep[o // outputs * inputs + i, o % outputs, y, x]
            found.append(matrix)
        return found
    return (
        [keep]
        if keep.ndim == 2
        else [
            keep[:, :, y, x]
            for y, x in itertools.product(range(3), range(3))
            if y < keep.shape[2] and x < keep.shape[3]
        ]
    )


def chunks(size, width):
    return [range(start, min(start + width, size)) for start in range(0, size, width)]


def has_shape(name, found):
    """Whether the zeros of one layer, given as matrices, have the shape that a pattern is called by."""
    found = [matrix.tolist() for matrix in found]
    outputs, inputs = len(found[0]), len(found[0][0])
    if name == "per_output":
        kept = [sum(sum(matrix[o]) for matrix in found) for o in range(outputs)]
        return max(kept) - min(kept) <= 1
    if ":" in name:
        n, m = map(int, name.split(":"))
        places = itertools.product(itertools.chain(*found), chunks(inputs, m))
        return all(sum(row[i] for i in part) <= math.ceil(n * len(part) / m) for row, part in places)
    if "x" in name:
        height, width = map(int, name.split("x"))
        blocks = itertools.product(found, chunks(outputs, height), chunks(inputs, width))
        return all(len({matrix[o][i] for o in top for i in left}) == 1 for matrix, top, left in blocks)
    return name == "unstructured"


def check(model, masks, sparsity, pattern, grown=False):
    """Check masks that were applied: counts, zeros, shapes, layers and outputs that are still there.

    With ``grown``, some weights that are kept are zero, as they were not trained yet.
    """
    asked = round((1 - sparsity) * masks.numel)
    granularity = math.prod(map(int, pattern.split("x"))) if "x" in pattern else 1
    assert asked - granularity < masks.kept <= asked
    masks.check(model)
    weights = find_prunable(model).weights
    if not grown:
        assert sum(int((w.tensor != 0).sum()) for w in weights) == masks.kept
    for weight in weights:
        layer = model.get_submodule(weight.name.rpartition(".")[0])
        kept = masks[weight.name].keep if grown else weight.tensor.detach() != 0
        assert has_shape(pattern, matrices(layer, kept)), weight.name
    assert bool(masks[weights[-1].name].keep.any(1).all()), "an output of the classifier vanished"
    assert all(mask.kept > 0 for mask in masks.values()), "a layer vanished"


def criterion_that_has_learned(name, model):
    """Return the criterion, in few rounds and with a step observed, where it has or needs any."""
    criterion = criteria[name]
    if getattr(criterion, "rounds", 1) > 3:
        criterion = replace(criterion, rounds=3)
    if hasattr(criterion, "fresh"):
        criterion = criterion.fresh()
        weights = {w.name: w.tensor for w in find_prunable(model).weights}
        [(x, y)] = data()
        F.cross_entropy(model(x), y).backward()
        criterion.observe(weights, 0.1)
        model.zero_grad()
    return criterion


@pytest.mark.parametrize("pattern", patterns)
@pytest.mark.parametrize("allocation", allocations)
@pytest.mark.parametrize("criterion", criteria)
def test_every_combination_prunes_exactly_and_in_its_pattern(criterion, allocation, pattern):
    model = network()
    criterion = criterion_that_has_learned(criterion, model)
    masks = prune(model, 0.8, criterion=criterion, allocation=allocation, pattern=pattern, data=data())
    check(model, masks, 0.8, pattern)


@pytest.mark.parametrize("sparsity", [0.0, 0.137, 0.5, 0.9])
@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("allocation", allocations)
def test_every_sparsity(allocation, pattern, sparsity):
    model = network()
    lowest = 1 - row_pattern(pattern).most([(8, 9, 3), (16, 9, 8), (10, 1, 64)]) / TOTAL
    if sparsity < lowest:
        with pytest.raises(SettingError, match="the lowest sparsity that works is"):
            prune(model, sparsity, allocation=allocation, pattern=pattern, data=data())
        return
    masks = prune(model, sparsity, allocation=allocation, pattern=pattern, data=data())
    check(model, masks, sparsity, pattern)


@pytest.mark.parametrize("sparsity", [0.7, 0.85])
@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("allocation", allocations)
def test_every_kind_of_layer(allocation, pattern, sparsity):
    model = EveryLayer()
    calibration = data((8, 3, 6, 6), 5)
    masks = prune(model, sparsity, allocation=allocation, pattern=pattern, data=calibration)
    check(model, masks, sparsity, pattern)
    assert model(calibration[0][0]).isfinite().all()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "unstructured"])
def test_sabotage_zeros_anywhere_are_not_taken_for_the_pattern(name):
    model = EveryLayer()
    masks = prune(model, 0.7)
    found = [
        has_shape(name, matrices(model.get_submodule(n.rpartition(".")[0]), mask.keep))
        for n, mask in masks.items()
    ]
    assert not all(found)


@pytest.mark.parametrize("pattern", [*patterns, "2x2"])
@pytest.mark.parametrize("schedule", schedules)
def test_every_schedule_goes_with_every_pattern(schedule, pattern):
    """Nothing comes back but where weights grow; in the end the masks are exact and in the pattern."""
    model = EveryLayer()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    [(x, y)] = data((8, 3, 6, 6), 5)
    kind = schedules[schedule]
    often = {"every": 2} if any(field.name == "every" for field in fields(kind)) else {}
    when = kind(**often).planned(10)
    pruner = Pruner(model, 0.7, pattern=pattern, schedule=when, data=[(x, y)])
    pruner.attach(optimizer)
    for _ in range(10):
        before = dict(pruner.masks)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        pruner.masks.check(model)
        if not pruner.schedule.grows:
            assert not any(bool((pruner.masks[n].keep & ~mask.keep).any()) for n, mask in before.items())
    assert pruner.ready
    check(model, pruner.masks, 0.7, pattern, grown=pruner.schedule.grows)


@pytest.mark.parametrize("allocation", allocations)
@pytest.mark.parametrize(("pattern", "sparsity"), [("2:4", 0.5), ("1:4", 0.75), ("5:8", 0.375)])
def test_a_schedule_ends_at_exactly_n_of_each_m(allocation, pattern, sparsity):
    """At the lowest sparsity that a pattern allows there is no choice left: each group keeps N."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    x, y = torch.randn(32, 16), torch.arange(32) % 8
    schedule = schedules["cubic"](begin=0, end=12, every=1)
    pruner = Pruner(model, sparsity, pattern=pattern, allocation=allocation, schedule=schedule, data=[(x, y)])
    pruner.attach(optimizer)
    for step in range(1, 13):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        assert pruner.masks.kept == round((1 - schedule.sparsity_at(step, sparsity)) * 768)
    n, m = map(int, pattern.split(":"))
    for layer in (model[0], model[2]):
        assert bool(((layer.weight != 0).view(-1, m).sum(1) == n).all())


@pytest.mark.parametrize("criterion", criteria)
def test_scores_have_the_weights_shape_are_finite_and_repeat(criterion):
    model = network()
    criterion = criterion_that_has_learned(criterion, model)
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    first = criterion(weights, Context(model, data(), seed=3))
    again = criterion(weights, Context(model, data(), seed=3))
    for name, weight in weights.items():
        assert first[name].shape == weight.shape
        assert first[name].dtype == torch.float32
        assert bool(first[name].isfinite().all())
        assert torch.equal(first[name], again[name])


@pytest.mark.parametrize("criterion", criteria)
def test_scoring_does_not_touch_the_model(criterion):
    model = network()
    criterion = criterion_that_has_learned(criterion, model)
    before = copy.deepcopy(model.state_dict())
    Recipe(0.5, criterion).masks(model, find_prunable(model), 0.5, data=data())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("allocation", OF_SCORES)
@pytest.mark.parametrize("kept", [0, 1, 7, 31, 47, 60])
def test_allocation_is_exact_and_within_limits(allocation, kept):
    torch.manual_seed(1)
    scores = {"a": torch.rand(4, 5), "b": torch.rand(2, 2, 5), "c": torch.rand(20, 1)}
    scores["c"][:7] = -torch.inf  # dead already
    kept = min(kept, 53)
    counts = allocations[allocation](scores, kept)
    assert sum(counts.values()) == kept
    assert all(0 <= counts[n] <= int((s > -torch.inf).sum()) for n, s in scores.items())


@pytest.mark.parametrize("allocation", OF_SCORES)
def test_allocation_is_exact_when_all_scores_tie(allocation):
    scores = {"a": torch.ones(7, 3), "b": torch.ones(5, 5)}
    assert sum(allocations[allocation](scores, 19).values()) == 19


@pytest.mark.parametrize("name", [name for name in schedules if not schedules[name].refills])
def test_schedule_rises_from_the_initial_sparsity_to_exactly_the_target(name):
    schedule = schedules[name](begin=5).planned(100)
    levels = [schedule.sparsity_at(step, 0.9, initial=0.2) for step in range(101)]
    assert levels[4] == 0.2
    assert levels[-1] == 0.9
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(levels))
    assert max(levels) <= 0.9


@pytest.mark.parametrize("name", schedules)
def test_schedule_updates_when_it_begins_and_finishes_and_not_outside(name):
    schedule = schedules[name](begin=5).planned(100)
    updates = [step for step in range(101) if schedule.updates_at(step)]
    assert updates[0] == 5
    assert updates[-1] == schedule.finish


@pytest.mark.parametrize("pattern", patterns)
def test_pattern_keeps_exactly_and_prefers_high_scores(pattern):
    torch.manual_seed(2)
    scores = torch.rand(8, 1, 8)
    mask = row_pattern(pattern).mask(scores, 24)
    assert mask.kept == 24
    assert scores[mask.keep].mean() > scores[~mask.keep].mean()
