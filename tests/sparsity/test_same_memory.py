"""Parameters that share memory: the very same entries are one weight, others are refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import featherweight as fw
from featherweight.errors import ModelError
from featherweight.sparsity import Pruner
from featherweight.sparsity.schedules import OneShot, RigL


class Twice(nn.Module):
    """One weight used twice: as one parameter, or as two over the same memory."""

    def __init__(self, shared):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Linear(6, n, bias=False) for n in (6, 6, 3))
        self.b.weight = nn.Parameter(self.a.weight.data) if shared else self.a.weight

    def forward(self, x):
        return self.c(self.b(self.a(x).tanh()).tanh())


def groups(model, shared, apart):
    if not apart:
        return torch.optim.SGD(model.parameters(), 0.1)
    first = [{"params": [model.a.weight, model.c.weight]}]
    return torch.optim.SGD(first + [{"params": [model.b.weight]}] * shared, 0.1)


def learned(shared, apart=False):
    model = Twice(shared)
    pruner = Pruner(model, 0.5, criterion="movement", schedule=OneShot(begin=6))
    optimizer = groups(model, shared, apart)
    pruner.attach(optimizer)
    x = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(8):
        optimizer.zero_grad()
        F.cross_entropy(model(x), x[:, :3].argmax(1)).backward()
        optimizer.step()
        pruner.masks.check(model)
    return pruner.recipe.criterion.state_dict(), pruner.masks


@pytest.mark.parametrize("apart", [False, True])
def test_movement_learns_of_all_parameters_over_a_weight(apart):
    (tied, masks), (shared, same) = learned(False), learned(True, apart)
    assert shared.keys() == tied.keys() == {"a.weight", "c.weight"}
    for name, sums in tied.items():
        torch.testing.assert_close(shared[name], sums)
        assert torch.equal(masks[name].keep, same[name].keep)


def grown(second):
    """Which of the weights that were zero has grown, with gradients of its two parameters."""
    model = Twice(True)
    with torch.no_grad():
        model.a.weight.copy_(torch.arange(36.0).view(6, 6))
    optimizer = torch.optim.SGD(model.parameters(), 0.0, momentum=0.9)
    pruner = Pruner(model, 0.5, schedule=RigL(begin=0, end=9, every=1, fraction=0.05), skip="c")
    pruner.attach(optimizer)
    for layer in (model.a, model.b, model.c):
        layer.weight.grad = torch.full_like(layer.weight, 0.01)
    model.a.weight.grad[0, 1], model.a.weight.grad[0, 3] = 3.0, 2.0
    model.b.weight.grad[0, 1] = second
    optimizer.step()
    [place] = pruner.masks["a.weight"].keep[0, :5].nonzero().flatten().tolist()  # the last one has to stay
    memories = [optimizer.state[layer.weight]["momentum_buffer"] for layer in (model.a, model.b)]
    return place, [float(memory[0, place]) for memory in memories], [bool(m.any()) for m in memories]


def test_weights_grow_by_the_sum_of_the_gradients_and_all_memories_forget():
    assert grown(second=0.0) == (1, [0.0, 0.0], [True, True])
    assert grown(second=-2.0) == (3, [0.0, 0.0], [True, True])


def test_an_optimizer_may_hold_either_of_them():
    model = Twice(True)
    pruner = Pruner(model, 0.5, schedule=OneShot(), skip="c")
    pruner.attach(torch.optim.SGD([model.b.weight], 0.1))
    assert int((model.a.weight == 0).sum()) == 18


def overlapping(how):
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(6, 6), "b": nn.Linear(6, 6), "c": nn.Linear(6, 3)})
    data = model["a"].weight.data
    if how == "embedding":
        model["e"] = nn.Embedding(6, 6)
        model["b"].weight = nn.Parameter(model["e"].weight.data.t())
    elif how == "rows":
        model["c"].weight = nn.Parameter(data[2:5])
    elif how == "columns":
        model["b"].weight = nn.Parameter(data.as_strided((6, 3), (6, 1), 3))
        model["c"].weight = nn.Parameter(data.as_strided((3, 3), (6, 1), 2))
    else:
        model["b"].weight = nn.Parameter(data.t())
    return model


@pytest.mark.parametrize(
    ("how", "names"),
    [
        ("transposed", r"a\.weight and b\.weight"),
        ("rows", r"a\.weight and c\.weight"),
        ("columns", r"a\.weight and "),
        ("embedding", r"b\.weight and e\.weight|e\.weight and b\.weight"),
    ],
)
def test_parts_of_the_same_memory_are_refused(how, names):
    model = overlapping(how)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ModelError, match=f"({names}).*share a part of their memory.*clone"):
        Pruner(model, 0.5)
    with pytest.raises(ModelError, match="share a part of their memory"):
        fw.prune(model, 0.5)
    with pytest.raises(ModelError, match="share a part of their memory"):
        fw.prune_oneshot(model, 0.5, [torch.zeros(2, 4)])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_is_left_alone_may_overlap():
    Pruner(overlapping("transposed"), 0.5, skip=["a", "b"])
    with pytest.raises(ModelError, match="share a part"):
        Pruner(overlapping("transposed"), 0.5, skip=["b"])


def test_parameters_beside_each_other_in_one_memory_are_pruned_to_the_count():
    model = nn.ModuleDict({name: nn.Linear(4, 6) for name in "abcd"})
    torch.manual_seed(0)
    memory = torch.randn(18, 8)
    model["a"].weight, model["b"].weight = (nn.Parameter(memory[:6, cut]) for cut in (slice(4), slice(4, 8)))
    model["c"].weight = nn.Parameter(memory[6:12].view(-1)[:24].view(6, 4))
    model["d"].bias = nn.Parameter(memory[12:].view(-1)[:6])
    masks = fw.prune(model, 0.75)
    assert sum(int((layer.weight != 0).sum()) for layer in model.values()) == masks.kept == 24
