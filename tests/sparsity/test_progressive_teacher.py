"""progressive_prune with a teacher: it teaches, the masks hold, and nothing of it stays behind."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.core.masks import Masks
from featherweight.distillation.settings import DistillationSettings
from featherweight.errors import ModelError, ResumeError, SettingError
from featherweight.sparsity.progressive import progressive_prune
from featherweight.training import TrainingSettings, fit

SETTINGS = TrainingSettings(epochs=4, learning_rate=0.1, precision="fp32")
ALL_TEACHER = DistillationSettings(alpha=1.0)


def loader(seed, size=200, shift=0):
    x = torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(x, (x[:, :4].argmax(1) + shift) % 4), 20)


TRAIN, VALIDATE = loader(0), loader(1)


def network(seed=0, outputs=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, outputs))


@pytest.fixture(scope="module")
def dense():
    model = network()
    fit(model, TRAIN, VALIDATE, TrainingSettings(epochs=6, learning_rate=0.1), progress=False)
    return model.eval()


def run(model, **options):
    options = {"train": TRAIN, "validate": VALIDATE, "settings": SETTINGS, "progress": False, **options}
    return progressive_prune(model, 0.6, **options)


def apart(first, second):
    """Return how far the outputs of two networks are from each other on the validation data."""
    with torch.no_grad():
        pairs = [(first(x).softmax(1) - second(x).softmax(1)).abs().mean() for x, _ in VALIDATE]
    return float(torch.stack(pairs).mean())


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_the_dense_network_teaches_and_is_given_back(dense):
    before, mode = copy.deepcopy(dense.state_dict()), dense.training
    sparse = run(dense, teacher=True, distillation=ALL_TEACHER)
    masks = Masks.from_zeros(sparse)
    assert masks.kept == round(0.4 * masks.numel)
    assert all(torch.equal(before[name], value) for name, value in dense.state_dict().items())
    assert dense.training is mode
    for model in (dense, sparse):
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert apart(sparse, dense) < 0.9 * apart(run(dense), dense), "it does what its teacher does"


def test_another_teacher_teaches_something_else(dense):
    """Sabotage: classes in another order; the sparse network follows its teacher, and not the labels."""
    other = copy.deepcopy(dense)
    with torch.no_grad():
        other[2].weight.copy_(other[2].weight.roll(1, 0))
        other[2].bias.copy_(other[2].bias.roll(1, 0))
    validate = loader(1, shift=1)  # the epoch is chosen by what it teaches
    rolled = run(dense, teacher=other, distillation=ALL_TEACHER, validate=validate)
    assert apart(rolled, other) < 0.5 * apart(rolled, dense)
    masks = Masks.from_zeros(rolled)
    assert masks.kept == round(0.4 * masks.numel)


def test_true_is_the_network_itself(dense):
    assert same(run(dense, teacher=True), run(dense, teacher=copy.deepcopy(dense)))


def test_without_a_teacher_nothing_is_new(dense, monkeypatch):
    """As before there were teachers: the very call of fit, without guidance."""
    plain = run(dense)
    calls = []

    def spy(*args, **options):
        calls.append(options)
        return fit(*args, **options)

    monkeypatch.setattr("featherweight.sparsity.progressive.fit", spy)
    assert same(run(dense, teacher=None), plain)
    assert calls[0]["guidance"] is None
    assert not same(run(dense, teacher=True), plain)


def test_alpha_zero_is_the_labels_alone(dense):
    assert same(run(dense, teacher=True, distillation=DistillationSettings(alpha=0.0)), run(dense))


def test_a_loss_of_ones_own_is_that_on_the_labels(dense):
    def loss(outputs, targets):
        return 3 * nn.functional.cross_entropy(outputs, targets)

    only_labels = DistillationSettings(alpha=0.0)
    assert same(run(dense, teacher=True, loss=loss, distillation=only_labels), run(dense, loss=loss))


def test_a_run_is_resumed_and_one_of_another_teacher_is_refused(dense, tmp_path):
    first = run(dense, teacher=True, run_dir=tmp_path)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    assert same(run(dense, teacher=True, run_dir=tmp_path), first)
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    for options in ({}, {"teacher": network(5)}, {"teacher": True, "distillation": ALL_TEACHER}):
        with pytest.raises(ResumeError):
            run(dense, run_dir=tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"distillation": DistillationSettings()}, SettingError, "would do nothing without teacher="),
        ({"teacher": "dense"}, SettingError, "teacher is None, True"),
        ({"teacher": False}, SettingError, "got False"),
        ({"teacher": network(outputs=3)}, ModelError, r"logits are .*4\) and those of the teacher .*3\)"),
        (
            {"teacher": True, "settings": TrainingSettings(label_smoothing=0.1)},
            SettingError,
            "label_smoothing",
        ),
    ],
)
def test_what_is_refused(dense, options, error, says):
    with pytest.raises(error, match=says):
        run(dense, **options)
