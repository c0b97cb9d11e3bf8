"""progressive_prune: a copy, pruned exactly, fine-tuned; better than one-shot; resumable."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.core.masks import Masks
from featherweight.errors import SettingError, UnknownNameError
from featherweight.sparsity import Pruner, prune
from featherweight.sparsity.progressive import progressive_prune
from featherweight.sparsity.schedules import ACDC, SET, Cubic, OneShot, RigL
from featherweight.training import TrainingSettings, fit

SETTINGS = TrainingSettings(epochs=6, learning_rate=0.1, precision="fp32")


def blobs(count, seed):
    """Ten classes, told apart by which of ten directions is largest after a fixed rotation."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 16, generator=rng)
    rotation = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(7))).Q
    return TensorDataset(x, (x @ rotation)[:, :10].argmax(1))


@pytest.fixture(scope="module")
def loaders():
    return DataLoader(blobs(4000, 0), 100, shuffle=True), DataLoader(blobs(1000, 1), 500)


@pytest.fixture(scope="module")
def dense(loaders):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 10))
    fit(model, *loaders, SETTINGS, progress=False)
    return model.eval()


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
    return right / len(loader.dataset)


def test_returns_a_pruned_copy_and_leaves_the_original_alone(dense, loaders):
    before = copy.deepcopy(dense.state_dict())
    sparse = progressive_prune(
        dense, 0.9, train=loaders[0], validate=loaders[1], settings=SETTINGS, progress=False
    )
    assert all(torch.equal(before[k], v) for k, v in dense.state_dict().items())
    found = Masks.from_zeros(sparse)
    assert found.kept == round(0.1 * found.numel)


def test_beats_one_shot_and_random_at_the_same_sparsity(dense, loaders):
    train, validate = loaders
    keep = {"train": train, "validate": validate, "settings": SETTINGS, "progress": False}
    gradual = accuracy(progressive_prune(dense, 0.9, **keep), validate)
    random = accuracy(progressive_prune(dense, 0.9, criterion="random", **keep), validate)
    oneshot = copy.deepcopy(dense)
    prune(oneshot, 0.9)
    assert gradual > accuracy(oneshot, validate) + 0.05
    assert gradual > random + 0.02


def test_a_run_in_the_same_folder_is_resumed_not_repeated(dense, loaders, tmp_path):
    keep = {"train": loaders[0], "validate": loaders[1], "settings": SETTINGS, "progress": False}
    first = progressive_prune(dense, 0.8, run_dir=tmp_path, **keep)
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    again = progressive_prune(dense, 0.8, run_dir=tmp_path, **keep)
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_starts_from_the_zeros_that_are_there(dense, loaders):
    half = copy.deepcopy(dense)
    masks = prune(half, 0.5)
    sparse = progressive_prune(
        half, 0.8, train=loaders[0], validate=loaders[1], settings=SETTINGS, progress=False
    )
    masks.check(sparse)


def test_a_schedule_that_ends_after_the_run_is_refused(dense, loaders):
    keep = {"train": loaders[0], "validate": loaders[1], "settings": SETTINGS, "progress": False}
    with pytest.raises(SettingError, match="after 241 steps, but the run has 240"):
        progressive_prune(dense, 0.8, schedule=Cubic(begin=0, end=241), **keep)


def test_settings_are_checked_before_anything_is_trained(dense, loaders):
    with pytest.raises(SettingError, match="both train= and validate="):
        progressive_prune(dense, 0.9, train=loaders[0])
    with pytest.raises(UnknownNameError, match="Did you mean 'cubic'"):
        progressive_prune(dense, 0.9, train=loaders[0], validate=loaders[1], schedule="cubik")
    with pytest.raises(SettingError, match="load"):
        progressive_prune(dense, 0.9)


def test_a_schedule_that_moves_weights_after_the_run_is_refused(dense, loaders):
    keep = {"train": loaders[0], "validate": loaders[1], "settings": SETTINGS, "progress": False}
    with pytest.raises(
        SettingError, match="moves weights for the last time after 241 steps, but the run has 240"
    ):
        progressive_prune(dense, 0.8, schedule=RigL(begin=0, end=241), **keep)


@pytest.mark.parametrize("schedule", ["set", "rigl", "acdc"])
def test_from_a_trained_network_weights_may_come_back(dense, loaders, schedule):
    keep = {"train": loaders[0], "validate": loaders[1], "settings": SETTINGS, "progress": False}
    sparse = progressive_prune(dense, 0.9, schedule=schedule, **keep)
    found = Masks.from_zeros(sparse)
    assert 0.08 * found.numel < found.kept <= round(0.1 * found.numel)  # of units that never fire some stay 0
    oneshot = copy.deepcopy(dense)
    masks = prune(oneshot, 0.9)
    assert any(bool((found[name].keep & ~masks[name].keep).any()) for name in masks), "no weight came back"
    assert accuracy(sparse, loaders[1]) > accuracy(oneshot, loaders[1]) + 0.05


def from_scratch(loaders, schedule, run_dir=None, epochs=6, **more):
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 10))
    settings = TrainingSettings(epochs=epochs, learning_rate=0.1, precision="fp32", **more)
    pruner = Pruner(model, 0.9, criterion="random", allocation="erk", schedule=schedule)
    first = {}
    history = fit(model, *loaders, settings, pruner=_Notes(pruner, first), progress=False, run_dir=run_dir)
    pruner.masks.check(model)
    return model, pruner, first, history


class _Notes:
    """The pruner, which notes the masks that it begins with."""

    def __init__(self, pruner, first):
        self._pruner, self._first = pruner, first

    def __getattr__(self, name):
        return getattr(self._pruner, name)

    def attach(self, optimizer):
        self._pruner.attach(optimizer)
        self._first.update({name: mask.keep.clone() for name, mask in self._pruner.masks.items()})


@pytest.fixture(scope="module")
def static(loaders):
    return accuracy(from_scratch(loaders, OneShot(), epochs=4)[0], loaders[1])


@pytest.mark.parametrize("schedule", [SET(every=10), RigL(every=10)])
def test_a_network_is_trained_from_scratch_sparse_all_the_way(loaders, static, schedule):
    model, pruner, first, history = from_scratch(loaders, schedule, epochs=4)
    assert {record.sparsity for record in history.epochs} == {pruner.sparsity}
    assert all(record.ready for record in history.epochs)
    assert {name: int(keep.sum()) for name, keep in first.items()} == {
        name: mask.kept for name, mask in pruner.masks.items()
    }
    assert not torch.equal(first["0.weight"], pruner.masks["0.weight"].keep)
    assert accuracy(model, loaders[1]) > static


def test_alternating_phases_end_sparse_and_no_decompressed_epoch_is_chosen(loaders):
    schedule = ACDC(begin=30, end=190, every=60)  # 40 steps an epoch: decompressed at the ends of 3 to 4
    _, pruner, _, history = from_scratch(loaders, schedule)
    assert [record.ready for record in history.epochs] == [True, True, False, False, True, True]
    assert history.best.ready
    assert pruner.sparsity == pytest.approx(0.9, abs=1e-3)


def test_a_run_that_broke_off_goes_on_to_the_same_bits(loaders, tmp_path):
    class BreaksOffError(Exception):
        pass

    class Breaks(RigL):
        def growth_at(self, step):
            if step == 130:
                raise BreaksOffError
            return super().growth_at(step)

    Breaks.__name__ = Breaks.__qualname__ = "RigL"
    whole, pruner, _, _ = from_scratch(loaders, RigL(every=15), epochs=4)
    with pytest.raises(BreaksOffError):
        from_scratch(loaders, Breaks(every=15), tmp_path, epochs=4)
    again, same, _, history = from_scratch(loaders, RigL(every=15), tmp_path, epochs=4)
    assert history.resumed_from == (3, 0)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    assert all(torch.equal(mask.keep, same.masks[name].keep) for name, mask in pruner.masks.items())


def test_zeros_that_are_all_that_was_asked_for_leave_nothing_to_grow(dense, loaders):
    sparse = copy.deepcopy(dense)
    prune(sparse, 0.9)
    with pytest.raises(SettingError, match="Nothing could grow"):
        progressive_prune(sparse, 0.9, schedule="rigl", train=loaders[0], validate=loaders[1])
