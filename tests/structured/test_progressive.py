"""Structured pruning in steps: it learns in between, resumes, and its parts do what they say."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import ResumeError, SettingError
from featherweight.structured.batch_norm import reestimate_batch_norm
from featherweight.structured.penalty import GrowingPenalty
from featherweight.structured.progressive import progressive_prune_structured
from featherweight.structured.prune import prune_structured

TUNING = fw.TrainingSettings(epochs=3, learning_rate=0.1)
BETWEEN = fw.TrainingSettings(epochs=2, learning_rate=0.1)


class Net(nn.Module):
    """Convolutions with batch norm; with ``written``, a width in the forward."""

    def __init__(self, written=False):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 24, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(24)])
        self.head, self.written = nn.Linear(24, 3), written

    def forward(self, x):
        x = torch.relu(self.norms[0](self.a(x)))
        x = torch.relu(self.norms[1](self.b(x))).mean((2, 3))
        return self.head(x.reshape(-1, 24) if self.written else x)


def data(seed, size):
    """Stripes down, across or slanting, under noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (size,), generator=generator)
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    stripes = torch.stack([row % 2, column % 2, (row + column) % 2]).float()
    return TensorDataset(
        (stripes[kinds] + 0.4 * torch.randn(size, 6, 6, generator=generator))[:, None], kinds
    )


TRAIN, VALIDATE = DataLoader(data(0, 480), batch_size=32), DataLoader(data(1, 120), batch_size=60)
EXAMPLE = torch.randn(2, 1, 6, 6)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = Net()
    fw.fit(model, TRAIN, VALIDATE, fw.TrainingSettings(epochs=4, learning_rate=0.1), progress=False)
    assert fw.evaluate(model, VALIDATE) > 0.9
    return model.eval()


def run(model, **options):
    options = {"macs": 0.25, "train": TRAIN, "validate": VALIDATE, "settings": TUNING, **options}
    options = {"between": BETWEEN, "progress": False, **options}
    return progressive_prune_structured(model, EXAMPLE, **options)


def params(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("penalty", [None, 1.0])
def test_it_reaches_the_target_and_keeps_the_accuracy(trained, penalty):
    before = copy.deepcopy(trained.state_dict())
    small, steps = run(trained, penalty=penalty, steps=2)
    assert [round(step.left, 1) for step in steps] == [0.5, 0.2]
    assert steps[-1].left <= 0.25
    assert steps[-1].params == params(small)
    assert fw.evaluate(small, VALIDATE) == steps[-1].tuned > 0.9
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_fine_tuning_is_what_keeps_it(trained):
    """Sabotage: with a rate of nearly nothing, the accuracy stays lost."""
    still = fw.TrainingSettings(epochs=1, learning_rate=1e-9)
    _, lost = run(trained, macs=0.05, between=still, settings=still, criterion="random")
    _, kept = run(trained, macs=0.05, criterion="random")
    assert kept[-1].tuned > lost[-1].tuned + 0.1


def test_other_targets_and_a_clock(trained):
    clock = params
    _, steps = run(trained, macs=None, latency=0.4, clock=clock, steps=2)
    assert 0.3 < steps[-1].left <= 0.4
    _, steps = run(trained, macs=None, keep=0.5, steps=2)
    assert steps[-1].left == pytest.approx(0.5, abs=0.02)


def test_random_channels_depend_on_the_seed(trained):
    tunings = [fw.TrainingSettings(epochs=1, seed=seed, learning_rate=1e-9) for seed in (0, 0, 1)]
    weights = [run(trained, criterion="random", steps=1, settings=tuning)[0].a.weight for tuning in tunings]
    assert torch.equal(weights[0], weights[1])
    assert weights[0].shape != weights[2].shape or not torch.equal(weights[0], weights[2])


def test_gradients_come_from_the_training_data(trained):
    _, steps = run(trained, criterion="taylor", steps=1)
    assert steps[-1].tuned > 0.9


def test_a_stopped_run_goes_on(trained, tmp_path):
    whole, steps = run(trained, run_dir=tmp_path / "whole", steps=2)

    class Stopping:
        """A loader that is interrupted in the third of its epochs that train."""

        def __init__(self):
            self.epochs = 0

        def __len__(self):
            return len(TRAIN)

        def __iter__(self):
            for number, batch in enumerate(TRAIN):
                self.epochs += number == 4
                if self.epochs == 5 and number == 6:
                    raise KeyboardInterrupt
                yield batch

    with pytest.raises(KeyboardInterrupt):
        run(trained, run_dir=tmp_path / "cut", steps=2, train=Stopping())
    assert list((tmp_path / "cut").glob("cut-*.json"))
    again, resumed = run(trained, run_dir=tmp_path / "cut", steps=2)
    assert resumed == steps
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)
    with pytest.raises(ResumeError, match="holds a run with other settings"):
        run(trained, run_dir=tmp_path / "cut", steps=2, macs=0.3)


def test_what_is_wrong_is_said_before_anything_is_done(trained):
    with pytest.raises(SettingError, match="steps is the number of cuts"):
        run(trained, steps=0)
    with pytest.raises(SettingError, match="both train= and validate="):
        run(trained, train=None)
    with pytest.raises(SettingError, match=r"keep=0\.1 cannot be reached"):
        run(trained, macs=None, keep=0.1, min_keep=8, steps=1)
    with pytest.raises(SettingError, match="strength of a growing penalty"):
        run(trained, penalty=0.0)


def test_a_target_out_of_reach_is_refused_before_anything_is_trained(trained):
    class Unread:
        def __iter__(self):
            raise AssertionError("trained")

    with pytest.raises(SettingError, match=r"keep=0\.1 cannot be reached.* left"):
        run(trained, macs=None, keep=0.1, min_keep=8, steps=3, train=Unread())
    with pytest.raises(SettingError, match=r"macs=0\.01 cannot be reached.* left"):
        run(trained, macs=0.01, min_keep=8, steps=2, penalty=1.0, train=Unread())


def test_the_penalty_shrinks_what_will_go_and_nothing_else(trained):
    model = copy.deepcopy(trained)
    goes = torch.zeros(16, dtype=torch.bool)
    goes[3:9] = True
    kept = {"a.weight": {0: ~goes.numpy()}}
    growing = GrowingPenalty(model, kept, 3.0)
    fw.fit(
        model, TRAIN, None, fw.TrainingSettings(epochs=3, learning_rate=0.1), pruner=growing, progress=False
    )
    norms = model.a.weight.flatten(1).norm(dim=1) / trained.a.weight.flatten(1).norm(dim=1)
    assert norms[goes].max() < 0.05
    assert norms[~goes].min() > 0.5
    assert growing.ready


@pytest.mark.parametrize("written", [False, True])
def test_batch_norm_is_estimated_anew(trained, written):
    model = Net(written)
    model.load_state_dict(trained.state_dict())
    small, surgery = prune_structured(model.eval(), EXAMPLE, keep=0.5)
    assert (surgery.attributes is None) is written
    for place in (0, 1):
        small.get_buffer(f"norms.{place}.running_mean").add_(3)
    wrong = fw.evaluate(small, VALIDATE)
    weights = copy.deepcopy(dict(small.named_parameters()))
    assert reestimate_batch_norm(small, TRAIN) == 2
    assert not small.training
    assert fw.evaluate(small, VALIDATE) > wrong + 0.2
    assert all(torch.equal(parameter, weights[name]) for name, parameter in small.named_parameters())
    first = torch.cat([x for x, _ in TRAIN])
    mean = nn.functional.conv2d(first, small.a.weight, small.a.bias, padding=1).mean((0, 2, 3))
    torch.testing.assert_close(small.get_buffer("norms.0.running_mean"), mean, rtol=1e-3, atol=1e-4)


def test_batch_norm_needs_batches(trained):
    with pytest.raises(SettingError, match="gave no batch"):
        reestimate_batch_norm(copy.deepcopy(trained), [])
    assert reestimate_batch_norm(nn.Linear(2, 2), []) == 0
