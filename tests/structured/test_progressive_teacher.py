"""progressive_prune_structured with a teacher: every training learns from it, over every cut."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.distillation.settings import DistillationSettings
from featherweight.errors import ModelError, ResumeError, SettingError
from featherweight.structured.progressive import progressive_prune_structured

TUNING = fw.TrainingSettings(epochs=4, learning_rate=0.05, precision="fp32")
BETWEEN = fw.TrainingSettings(epochs=2, learning_rate=0.05, precision="fp32")
ALL_TEACHER = DistillationSettings(alpha=1.0)


class Net(nn.Module):
    """Convolutions with a norm; with ``written``, a width in the forward, which makes the cut one a graph."""

    def __init__(self, written=False, outputs=3):
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24)
        self.b, self.head, self.written = nn.Linear(24, 24), nn.Linear(24, outputs), written

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x))).mean((2, 3))
        x = torch.relu(self.b(x))
        return self.head(x.reshape(-1, 24) if self.written else x)


def loader(seed, size, shift=0):
    """Stripes down, across or slanting, under noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (size,), generator=generator)
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    stripes = torch.stack([row % 2, column % 2, (row + column) % 2]).float()
    noise = 0.4 * torch.randn(size, 6, 6, generator=generator)
    return DataLoader(TensorDataset((stripes[kinds] + noise)[:, None], (kinds + shift) % 3), 32)


TRAIN, VALIDATE = loader(0, 320), loader(1, 96)
EXAMPLE = torch.randn(2, 1, 6, 6)


def dense_of(written):
    torch.manual_seed(0)
    model = Net(written)
    fw.fit(model, TRAIN, VALIDATE, fw.TrainingSettings(epochs=8, learning_rate=0.1), progress=False)
    return model.eval()


@pytest.fixture(scope="module")
def dense():
    return dense_of(written=False)


def run(model, **options):
    options = {"macs": 0.4, "train": TRAIN, "validate": VALIDATE, "settings": TUNING, **options}
    options = {"between": BETWEEN, "steps": 2, "progress": False, **options}
    return progressive_prune_structured(model, EXAMPLE, **options)


def rolled(dense):
    """Return a teacher with its classes in another order."""
    other = copy.deepcopy(dense)
    with torch.no_grad():
        other.head.weight.copy_(other.head.weight.roll(1, 0))
        other.head.bias.copy_(other.head.bias.roll(1, 0))
    return other


def agreement(first, second):
    """Return the fraction of the validation data on which two networks tell the same class."""
    with torch.no_grad():
        return float(
            torch.cat([first(x).argmax(1) == second(x).argmax(1) for x, _ in VALIDATE]).float().mean()
        )


def same(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def hooks(model):
    return [part for part in model.modules() if part._forward_hooks or part._forward_pre_hooks]


def test_the_dense_network_teaches_every_step(dense):
    before = copy.deepcopy(dense.state_dict())
    small, steps = run(dense, teacher=True)
    assert steps[-1].left <= 0.4
    assert len(steps) == 2
    assert steps[-1].tuned > 0.85
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert not hooks(dense) + hooks(small)
    assert not same(small, run(dense)[0])


@pytest.mark.parametrize("written", [False, True])
def test_it_follows_its_teacher_and_not_the_labels(written):
    """Sabotage: a teacher with its classes in another order; also where the cut network is a new graph."""
    dense = dense_of(written)
    other = rolled(dense)
    small, _ = run(
        dense,
        teacher=other,
        distillation=ALL_TEACHER,
        validate=loader(1, 96, shift=1),  # the epoch is chosen by what it teaches
        settings=fw.TrainingSettings(epochs=5, learning_rate=0.05, precision="fp32"),
    )
    assert agreement(small.eval(), other) > 0.8
    assert agreement(small, dense) < 0.2


def test_one_cut_and_its_fine_tuning(dense):
    small, steps = run(dense, teacher=True, steps=1)
    assert len(steps) == 1
    assert not same(small, run(dense, steps=1)[0])


def test_the_growing_penalty_learns_from_it_too(dense):
    still = fw.TrainingSettings(epochs=1, learning_rate=1e-9, precision="fp32")
    options = {"penalty": 1.0, "steps": 1, "settings": still, "criterion": "random"}
    plain, taught = run(dense, **options)[0], run(dense, teacher=rolled(dense), **options)[0]
    assert not torch.allclose(plain.head.bias, taught.head.bias, atol=1e-4)


def test_without_a_teacher_nothing_is_new(dense):
    labels = DistillationSettings(alpha=0.0)
    assert same(run(dense)[0], run(dense, teacher=True, distillation=labels)[0])


def test_a_run_goes_on_and_one_of_another_teacher_is_refused(dense, tmp_path):
    whole, steps = run(dense, teacher=True, run_dir=tmp_path)
    metrics = (tmp_path / "step-2" / "metrics.jsonl").read_bytes()
    again, repeated = run(dense, teacher=True, run_dir=tmp_path)
    assert same(whole, again)
    assert steps == repeated
    assert (tmp_path / "step-2" / "metrics.jsonl").read_bytes() == metrics
    for options in ({}, {"teacher": rolled(dense)}, {"teacher": True, "distillation": ALL_TEACHER}):
        with pytest.raises(ResumeError):
            run(dense, run_dir=tmp_path, **options)


def test_a_stopped_run_goes_on_from_its_cut(dense, tmp_path):
    whole, steps = run(dense, teacher=True, run_dir=tmp_path / "whole")

    class Stopping:
        """A loader that fails in its third epoch that trains: after the second cut."""

        def __init__(self):
            self.epochs = 0

        def __len__(self):
            return len(TRAIN)

        def __iter__(self):
            self.epochs += 1
            for number, batch in enumerate(TRAIN):
                if (tmp_path / "cut" / "cut-2.json").exists() and number == 5:
                    raise InterruptedError
                yield batch

    with pytest.raises(InterruptedError):
        run(dense, teacher=True, train=Stopping(), run_dir=tmp_path / "cut")
    again, repeated = run(dense, teacher=True, run_dir=tmp_path / "cut")
    assert steps == repeated
    assert same(whole, again)


def test_what_does_not_fit_is_refused_before_a_cut(dense, tmp_path):
    cases = [
        ({"distillation": ALL_TEACHER}, SettingError, "would do nothing without teacher="),
        ({"teacher": "dense"}, SettingError, "teacher is None, True"),
        ({"teacher": Net(outputs=4)}, ModelError, "logits"),
        ({"teacher": True, "between": fw.TrainingSettings(label_smoothing=0.1)}, SettingError, "smoothing"),
    ]
    for options, error, says in cases:
        with pytest.raises(error, match=says):
            run(dense, run_dir=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()
    assert not hooks(dense)


def test_losses_on_features_have_projectors_of_their_own_after_each_cut(dense):
    """Widths differ from the teacher's, and after each cut from the last."""
    pairs = DistillationSettings(loss="kd + hints", features=[("b", "b")])
    small, steps = run(dense, teacher=True, distillation=pairs)
    assert small.b.out_features < 24
    assert len(steps) == 2
    assert not hooks(dense) + hooks(small)
    assert not same(small, run(dense, teacher=True)[0])


def test_a_graph_has_no_features_to_compare():
    with pytest.raises(ModelError, match=r"cut to a graph.*whose features hints could compare.*such as kd"):
        run(
            dense_of(written=True),
            teacher=True,
            distillation=DistillationSettings(loss="kd + hints", features=[("b", "b")]),
        )
