"""progressive_prune: a copy, pruned exactly, fine-tuned; better than one-shot; resumable."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.core.masks import Masks
from featherweight.errors import SettingError, UnknownNameError
from featherweight.sparsity import prune
from featherweight.sparsity.progressive import progressive_prune
from featherweight.sparsity.schedules import Cubic
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
