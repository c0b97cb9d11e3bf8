"""What data= is: losses, passes, and what is given back."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from featherweight.core.prunable import find_prunable
from featherweight.errors import ModelError, SettingError, TrainingError
from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import Context, criteria
from featherweight.sparsity.measuring import measure


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3))


def batches(number=3, size=5):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(number)
    ]


class Labelled(nn.Module):
    """Is called as the models of Hugging Face are, and makes its own loss."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, features, labels=None):
        logits = self.inner(features)
        loss = None if labels is None else 2 * F.cross_entropy(logits, labels)
        return {"logits": logits, "loss": loss}


def test_losses_are_those_of_the_network_that_evaluates():
    model, data = network().train(), batches()
    model[2].eval()
    found = [float(loss.detach()) for loss in Calibration.of(data).losses(model)]
    assert [m.training for m in model.modules()] == [True, True, True, False, True, True]
    model.eval()
    assert found == [float(F.cross_entropy(model(x), y).detach()) for x, y in data]
    assert int(model[1].num_batches_tracked) == 0


def test_gradients_can_be_taken_and_those_of_the_user_stay():
    model = network()
    model[0].weight.grad = torch.ones(8, 4)
    with torch.no_grad():  # as callers of criteria often do
        for loss in Calibration.of(batches()).losses(model):
            assert not torch.is_grad_enabled(), "the grad mode of the caller is its own"
            (gradient,) = torch.autograd.grad(loss, [model[0].weight])
            assert bool(gradient.abs().sum() > 0)
    assert torch.equal(model[0].weight.grad, torch.ones(8, 4))


def test_in_inference_mode_too():
    model, data = network(), batches()
    with torch.inference_mode():
        (loss, *_) = Calibration.of(data).losses(model)
    assert loss.requires_grad


def test_a_mapping_gives_the_loss_of_the_model_and_a_loss_of_ones_own_comes_first():
    model, ((x, y),) = Labelled().eval(), batches(1)
    data = [{"features": x, "labels": y}]
    plain = F.cross_entropy(model.inner(x), y)
    (own,) = Calibration.of(data).losses(model)
    torch.testing.assert_close(own, 2 * plain)
    (given,) = Calibration.of(data, lambda out, target: 3 * F.cross_entropy(out["logits"], target)).losses(
        model
    )
    torch.testing.assert_close(given, 3 * plain)


def test_a_callable_is_asked_with_the_plain_network_and_gives_losses():
    model, seen = network().train(), []

    def losses(plain):
        for x, _ in batches():
            seen.append((type(plain), plain.training, torch.is_grad_enabled()))
            yield plain(x).square().mean()

    found = list(Calibration.of(losses).losses(nn.DataParallel(model), batches=2))
    assert len(found) == 2
    assert seen == [(nn.Sequential, False, True)] * 2
    assert model.training
    Calibration.of(losses).run(model)
    assert seen[2:] == [(nn.Sequential, False, False)] * 3


def test_run_needs_no_targets_and_takes_no_gradients():
    model, seen = network().train(), []
    model[4].register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    for data in (batches(), [x for x, _ in batches()], [(x,) for x, _ in batches()]):
        Calibration.of(data).run(model, batches=2)
    assert seen == [False] * 6
    assert model.training


def test_no_more_is_read_than_asked_for():
    def endless():
        while True:
            yield from batches(1)

    assert len(list(Calibration.of(endless()).losses(network(), batches=4))) == 4


def test_held_batches_are_the_same_each_time():
    stream = iter(batches(6))
    data = Calibration.of(stream).held(2)
    first, second = (list(data.losses(network())) for _ in range(2))
    assert len(first) == 2
    assert first == second


def shuffled():
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(12), strict=True))
    return DataLoader(TensorDataset(inputs, targets), batch_size=5, shuffle=True)


def test_a_loader_that_shuffles_gives_the_same_batches_whoever_drew_random_numbers():
    data, model = Calibration.of(shuffled()), network()
    first = list(data.losses(model, 4))
    torch.rand(3)
    assert list(data.losses(model, 4)) == first
    assert list(data.held(4).losses(model)) == first
    assert len({float(loss.detach()) for loss in first}) == 4


def test_a_loader_with_workers_that_stay_goes_on_where_it_was():
    data = TensorDataset(torch.randn(8, 4), torch.zeros(8).long())
    loader = DataLoader(data, 2, num_workers=1, persistent_workers=True)
    running = iter(loader)
    next(running)
    for use in (Calibration.run, lambda data, model: list(data.losses(model, 2))):
        use(Calibration.of(loader), network())
    assert len(list(Calibration.of(loader).batches(1))) == 1
    assert len(list(running)) == 3


def test_random_numbers_of_the_caller_stay():
    data, model = Calibration.of(shuffled()), network()
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    found = [torch.rand(())]
    for _ in data.losses(model, 2):
        found.append(torch.rand(()))
    data.run(model)
    data.held()
    found.append(torch.rand(()))
    assert torch.equal(torch.stack(found), expected)


def test_calibration_is_data_too():
    data = Calibration.of(batches(), lambda out, target: out.sum())
    assert Calibration.of(data) is data
    with pytest.raises(SettingError, match="have their loss"):
        Calibration.of(data, F.mse_loss)


def test_modes_come_back_when_the_caller_stops_early_or_fails():
    model = network().train()
    losses = Calibration.of(batches()).losses(model)
    next(losses)
    assert not model.training
    losses.close()
    assert model.training
    with pytest.raises(RuntimeError):
        list(Calibration.of([(torch.ones(2, 7), torch.ones(2).long())]).losses(model))
    assert model.training


@pytest.mark.parametrize("data", [torch.ones(3), "ab", 7, {"x": torch.ones(2, 8)}])
def test_data_of_another_form(data):
    with pytest.raises(SettingError, match=r"data= of criterion='snip' is a loader of .*got a"):
        Calibration.of(data, wanted_by="criterion='snip'")


def test_no_data():
    with pytest.raises(SettingError, match=r"criterion='snip' looks at data: pass data="):
        Calibration.of(None, wanted_by="criterion='snip'")


@pytest.mark.parametrize("use", [lambda c, m: list(c.losses(m)), lambda c, m: c.run(m)])
@pytest.mark.parametrize("data", [[], iter(()), lambda model: iter(())])
def test_nothing_to_read(use, data):
    with pytest.raises(SettingError, match="gave no batch"):
        use(Calibration.of(data), network())


def test_losses_that_are_none():
    def losses(value):
        return list(Calibration.of(lambda model: [value(model)]).losses(network()))

    x = torch.ones(2, 4)
    with pytest.raises(SettingError, match=r"scalar tensor of floats; loss 1 is torch.float32 \(2, 3\)"):
        losses(lambda model: model(x))
    with pytest.raises(SettingError, match="loss 1 is a float"):
        losses(lambda model: model(x).sum().item())
    with pytest.raises(SettingError, match="Loss 1 of data= has no gradient"):
        losses(lambda model: model(x).sum().detach())
    with pytest.raises(ModelError, match="Loss 1 of data= is nan"):
        losses(lambda model: model(x * float("nan")).sum())
    assert losses(lambda model: model(x).sum().reshape(1, 1))[0].ndim == 0


def test_a_batch_without_labels_is_named():
    labels = torch.tensor([0, 1])
    batches = [(torch.ones(2, 3), labels), (torch.ones(2, 3), torch.full_like(labels, -100))]
    with pytest.raises(SettingError, match="Loss 2 of data= is nan: no target of its batch is a label"):
        list(Calibration.of(batches).losses(nn.Linear(3, 2)))


def test_a_loss_that_cannot_be_taken_says_of_what():
    with pytest.raises(TrainingError, match=r"The loss on data= failed with outputs float32 \(2, 3\)"):
        list(Calibration.of([(torch.ones(2, 4), torch.ones(5).long())]).losses(network()))


def test_a_loss_beside_a_callable_would_do_nothing():
    with pytest.raises(SettingError, match="loss= would do nothing"):
        Calibration.of(lambda model: [], F.mse_loss)


class Failing(torch.autograd.Function):
    """Fails on the way back, in the middle of a criterion."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("failing")


@pytest.mark.parametrize("criterion", ["gradient", "taylor", "snip", "grasp", "fisher", "synflow"])
@pytest.mark.parametrize("as_function", [False, True])
def test_modes_come_back_when_gradients_fail_however_long_the_error_is_kept(criterion, as_function):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, x):
            return Failing.apply(self.layers(x))

    def losses(model):
        return (F.cross_entropy(model(x), y) for x, y in batches())

    model, closed = Network().train(), []
    data = losses if as_function and criterion != "synflow" else batches()
    weights = {w.name: w.tensor.detach() for w in find_prunable(model).weights}
    try:
        criteria[criterion](weights, Context(model, data))
    except (RuntimeError, ModelError) as error:
        closed.append(error)
    assert closed, "it did not fail"
    assert all(module.training for module in model.modules())


def test_modes_come_back_when_a_metric_fails():
    def metric(outputs, targets):
        raise RuntimeError("failing")

    model, kept = network().train(), []
    try:
        measure(model, Calibration.of(batches()), metric)
    except RuntimeError as error:
        kept.append(error)
    assert kept
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((torch.ones(4, 3), torch.zeros(4)), "got a tuple. One batch is a list of one"),
        (TensorDataset(torch.ones(4, 3), torch.zeros(4)), "got a TensorDataset, which has single examples"),
    ],
)
def test_a_pair_of_tensors_and_single_examples_are_not_batches(data, says):
    with pytest.raises(SettingError, match=says):
        Calibration.of(data)
