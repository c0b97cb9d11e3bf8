"""The loop: what is computed, what is chosen, what is refused."""

import copy
import math
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from featherweight.errors import SettingError, TrainingError
from featherweight.training import Attachment, TrainingSettings, fit


def settings(**more):
    return TrainingSettings(**{"epochs": 3, "learning_rate": 0.3, "precision": "fp32"} | more)


def by_hand(model, batches, epochs, steps_per_epoch, accumulate=1, clip=None):
    """The recipe of a run, written out: SGD with Nesterov momentum, one-cycle rate."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, 0.3, momentum=0.9, nesterov=True)
    losses, step, total = [], 0, epochs * steps_per_epoch
    for _ in range(epochs):
        values = []
        for start in range(0, len(batches), accumulate):
            group = batches[start : start + accumulate]
            t = step / total
            cosine = 1 - t / 0.25 if t < 0.25 else (t - 0.25) / 0.75
            factor = (1 + math.cos(math.pi * cosine)) / 2
            for g in optimizer.param_groups:
                g["lr"] = 0.3 * (0.04 + 0.96 * factor if t < 0.25 else factor)
            optimizer.zero_grad()
            for x, y in group:
                loss = F.cross_entropy(model(x), y)
                values.append(float(loss.detach()))
                (loss / len(group)).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            step += 1
        losses.append(sum(values) / len(values))
    return losses


def fixed_batches(toy):
    return list(toy.loaders()[0])


@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (4, None), (1, 0.1)])
def test_the_numbers_are_those_of_the_recipe(toy, accumulate, clip):
    batches, model, other = fixed_batches(toy), toy.Net(), toy.Net()
    history = fit(model, batches, None, settings(accumulate=accumulate, clip=clip), progress=False)
    steps = math.ceil(6 / accumulate)
    expected = by_hand(other, batches, 3, steps, accumulate, clip)
    assert [record.train_loss for record in history.epochs] == expected
    assert toy.digest(model) == toy.digest(other)
    assert [record.step for record in history.epochs] == [steps, 2 * steps, 3 * steps]


def test_it_learns(toy):
    model = toy.Net()
    history = fit(model, *toy.loaders(), settings(epochs=8), progress=False)
    assert history.best.validation > 0.85
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss / 2


def test_the_same_call_gives_the_same_weights_and_another_seed_others(toy):
    def run(seed):
        model = toy.Net(dropout=0.3)
        fit(model, *toy.loaders(noise=0.3), settings(seed=seed), progress=False)
        return toy.digest(model)

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


def scripted(values):
    """A metric that returns ``values`` in turn, one an epoch, whatever the model does."""
    left = list(values)
    return lambda outputs, targets: (left.pop(0), 1)


@pytest.mark.parametrize(
    ("values", "best"),
    [([0.1, 0.9, 0.5], 1), ([0.9, 0.9, 0.1], 0), ([0.1, 0.2, 0.3], 2), ([math.nan, 0.1, 0.0], 1)],
)
def test_the_first_best_epoch_is_chosen_and_its_weights_kept(toy, values, best):
    batches, digests = fixed_batches(toy), []
    for epochs in (1, 2, 3):  # a constant rate: the first epochs of a long run are a short run
        model = toy.Net()
        fit(model, batches, None, settings(epochs=epochs, rate="constant"), progress=False)
        digests.append(toy.digest(model))
    model = toy.Net()
    history = fit(
        model, batches, batches[:1], settings(rate="constant"), metric=scripted(values), progress=False
    )
    assert history.best is history.epochs[best]
    assert history.chosen_by == "best on the validation split"
    assert toy.digest(model) == digests[best]


def test_without_validation_the_last_epoch_is_taken(toy):
    history = fit(toy.Net(), fixed_batches(toy), None, settings(), progress=False)
    assert history.best is history.epochs[-1]
    assert history.chosen_by == "last epoch: there is no validation split"


def test_a_metric_that_is_never_a_number_says_so(toy):
    batches = fixed_batches(toy)
    history = fit(
        toy.Net(), batches, batches[:1], settings(), metric=scripted([math.nan] * 3), progress=False
    )
    assert history.best is history.epochs[-1]
    assert "never a number" in history.chosen_by


def test_validation_counts_each_example_once(toy):
    model = toy.Net()
    train, validate = toy.loaders()
    history = fit(model, train, validate, settings(epochs=1), progress=False)
    x, y = validate.dataset.inputs, validate.dataset.targets
    with torch.no_grad():
        assert history.best.validation == float((model.eval()(x).argmax(1) == y).sum()) / 37


# The pruner


def test_a_pruner_is_planned_attached_counted_and_detached(toy):
    model = toy.Net()
    pruner = toy.ZeroSmallest(model)
    assert isinstance(pruner, Attachment)
    history = fit(model, *toy.loaders(), settings(accumulate=4), pruner=pruner, progress=False)
    assert pruner.planned == 3 * 2  # six batches are two steps: accumulated batches do not count
    assert [record.sparsity for record in history.epochs] == [0.0, 0.5, 0.5]
    assert float((model.first.weight == 0).float().mean()) == 0.5
    assert pruner.handle is None


def test_only_epochs_at_the_target_are_chosen(toy):
    batches = fixed_batches(toy)
    model = toy.Net()
    pruner = toy.ZeroSmallest(model, begin=7)  # in the second epoch
    history = fit(
        model,
        batches,
        batches[:1],
        settings(),
        pruner=pruner,
        metric=scripted([0.9, 0.5, 0.4]),
        progress=False,
    )
    assert [record.ready for record in history.epochs] == [False, True, True]
    assert history.best is history.epochs[1]
    assert pruner.step == 12  # its state is that of the chosen epoch


def test_a_pruner_that_is_never_ready_leaves_the_last_epoch(toy):
    batches = fixed_batches(toy)
    model = toy.Net()
    history = fit(
        model, batches, batches[:1], settings(), pruner=toy.ZeroSmallest(model, begin=999), progress=False
    )
    assert history.best is history.epochs[-1]
    assert history.chosen_by == "last epoch: the pruner never reached its target"


def test_a_pruner_is_detached_when_training_fails(toy):
    model = toy.Net()
    pruner = toy.ZeroSmallest(model)
    with pytest.raises(OSError, match="machine"):
        fit(model, *toy.loaders(), settings(), pruner=pruner, loss=toy.trap(3, toy.crash), progress=False)
    assert pruner.handle is None


# The model


def conv_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def image_loader(count=24):
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(count, 1, 6, 6, generator=rng)
    return DataLoader(TensorDataset(images, (images.mean((1, 2, 3)) > 0).long()), 8)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_in_its_form(training):
    model = conv_net().train(training)
    strides = [p.stride() for p in model.parameters()]
    objects = [id(p) for p in model.parameters()]
    attributes = set(vars(model))
    fit(model, image_loader(), image_loader(), settings(), progress=False)
    assert [p.stride() for p in model.parameters()] == strides
    assert [id(p) for p in model.parameters()] == objects
    assert model.training is training
    assert set(vars(model)) == attributes
    assert all(p.grad is None for p in model.parameters())
    assert int(model[1].num_batches_tracked) > 0
    copy.deepcopy(model)(torch.ones(1, 1, 6, 6))


def test_gradients_left_over_from_before_are_not_used(toy):
    models = [toy.Net(), toy.Net()]
    models[1](torch.ones(2, 8)).sum().backward()
    batches = fixed_batches(toy)
    for model in models:
        fit(model, batches, None, settings(epochs=1), progress=False)
    assert toy.digest(models[0]) == toy.digest(models[1])


def test_a_compiled_model_gives_the_same_weights(toy):
    plain, compiled = toy.Net(), toy.Net()
    fit(plain, *toy.loaders(), settings(), progress=False, pruner=toy.ZeroSmallest(plain))
    fit(
        torch.compile(compiled, backend="eager"),
        *toy.loaders(),
        settings(),
        progress=False,
        pruner=toy.ZeroSmallest(compiled),
    )
    assert toy.digest(plain) == toy.digest(compiled)


def test_bf16_trains_float32_weights_and_leaves_nothing_behind(toy):
    exact, rounded, again = toy.Net(), toy.Net(), toy.Net()
    fit(exact, *toy.loaders(), settings(), progress=False)
    history = fit(rounded, *toy.loaders(), settings(epochs=8, precision="bf16"), progress=False)
    fit(again, *toy.loaders(), settings(), progress=False)
    assert history.best.validation > 0.8
    assert rounded.first.weight.dtype == torch.float32
    assert "forward" not in vars(rounded)
    assert toy.digest(rounded) != toy.digest(exact)
    assert toy.digest(again) == toy.digest(exact)


def test_an_accelerator_of_the_callers_own_does_not_matter(toy):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    expected, model = toy.Net(), toy.Net()
    fit(expected, *toy.loaders(), settings(), progress=False)
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        own = Accelerator(mixed_precision="bf16")
        fit(model, *toy.loaders(), settings(precision="fp32"), progress=False)
        assert own.mixed_precision == "bf16"
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    assert toy.digest(model) == toy.digest(expected)
    assert "forward" not in vars(model)


def test_it_runs_in_a_thread(toy, tmp_path):
    failures = []

    def work():
        try:
            fit(toy.Net(), *toy.loaders(), settings(epochs=1), run_dir=tmp_path, progress=False)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []


# What is refused


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_before_the_step(toy, value):
    model, calls = toy.Net(), []

    def loss(outputs, targets):
        calls.append(toy.digest(model))
        return F.cross_entropy(outputs, targets) * (value if len(calls) == 8 else 1)

    with pytest.raises(TrainingError, match=f"{value} in epoch 2 of 3, step 8 of 18, at learning rate 0.2"):
        fit(model, *toy.loaders(), settings(), loss=loss, progress=False)
    assert toy.digest(model) == calls[-1]
    assert model.first.weight.grad is None


def test_refusals_leave_the_model_alone(toy):
    model = toy.Net()
    before = toy.digest(model)
    train, validate = toy.loaders()
    frozen = toy.Net().requires_grad_(False)
    for call, error, words in [
        (lambda: fit(model, [], validate, settings()), TrainingError, "train has no batch"),
        (lambda: fit(model, train, [], settings()), TrainingError, "validate has no batch"),
        (lambda: fit(frozen, train, validate, settings()), TrainingError, "nothing to train"),
        (lambda: fit(model, train, validate, settings(checkpoint_every=3)), SettingError, "pass run_dir"),
        (
            lambda: fit(model, train, validate, settings(label_smoothing=0.1), loss=F.cross_entropy),
            SettingError,
            "label_smoothing",
        ),
    ]:
        with pytest.raises(error, match=words):
            call()
    assert toy.digest(model) == before


def test_a_metric_that_counts_nothing_is_refused(toy):
    with pytest.raises(TrainingError, match="counted no example"):
        fit(toy.Net(), *toy.loaders(), settings(), metric=lambda o, t: (0, 0), progress=False)


def test_progress_is_a_line_an_epoch_on_stderr(toy, capsys):
    fit(toy.Net(), *toy.loaders(), settings(), progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [text[:9] for text in shown.err.splitlines()] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    fit(toy.Net(), *toy.loaders(), settings(), progress=False)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(toy, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fit(toy.Net(), *toy.loaders(), settings(), progress=True)
    assert "epoch 3/3" in capsys.readouterr().err
