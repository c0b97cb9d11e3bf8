"""Stepwise pruning removes blocks in its first step, and resumes with them gone."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import ResumeError, SettingError
from featherweight.structured.depth import Skipped
from featherweight.structured.progressive import progressive_prune_structured

TUNING = fw.TrainingSettings(epochs=2, learning_rate=0.05)
EXAMPLE = torch.randn(2, 3, 6, 6)


def data(seed, size):
    """Stripes down, across or slanting, under noise."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 3, (size,), generator=generator)
    row, column = torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")
    stripes = torch.stack([row % 2, column % 2, (row + column) % 2]).float()
    images = stripes[kinds] + 0.4 * torch.randn(size, 6, 6, generator=generator)
    return TensorDataset(images[:, None].expand(-1, 3, -1, -1).contiguous(), kinds)


TRAIN, VALIDATE = DataLoader(data(0, 320), batch_size=32), DataLoader(data(1, 120), batch_size=60)


@pytest.fixture(scope="module")
def trained(networks):
    torch.manual_seed(0)
    model = networks.PreActivationNet()
    settings = fw.TrainingSettings(epochs=3, learning_rate=0.1)
    fw.fit(model, TRAIN, VALIDATE, settings, progress=False)
    return model.eval()


def run(model, **options):
    options = {"macs": 0.4, "train": TRAIN, "validate": VALIDATE, "settings": TUNING, "steps": 2, **options}
    options = {"between": TUNING, "progress": False, "blocks": 1, **options}
    return progressive_prune_structured(model, EXAMPLE, **options)


def skipped(model):
    return [name for name, module in model.named_modules() if isinstance(module, Skipped)]


def test_blocks_go_first_and_width_follows(trained):
    before = copy.deepcopy(trained.state_dict())
    small, steps = run(trained)
    assert len(skipped(small)) == 1
    assert steps[0].left <= 0.4**0.5
    assert steps[1].left <= 0.4
    assert steps[1].params == sum(parameter.numel() for parameter in small.parameters())
    assert steps[1].macs == fw.profile(small, EXAMPLE).macs
    assert steps[1].tuned > 0.9
    assert trained.state_dict().keys() == before.keys()
    assert not skipped(trained)


def test_depth_that_is_ahead_of_the_first_step(trained):
    small, steps = run(trained, blocks=3)
    assert len(skipped(small)) == 3
    assert steps[0].left < 0.4
    assert steps[1].left == steps[0].left
    assert steps[1].params == steps[0].params


def test_as_many_as_are_best(trained):
    small, steps = run(trained, blocks="only", macs=0.6, steps=1)
    assert len(skipped(small)) == 2
    assert 0.4 < steps[0].left <= 0.6


def test_a_number_of_blocks_is_enough(trained, tmp_path):
    small, steps = run(trained, blocks=2, macs=None, steps=3, run_dir=tmp_path / "run")
    assert len(skipped(small)) == 2
    (step,) = steps
    assert step.left == step.predicted
    assert 0 < step.left < 1
    assert step.params == sum(parameter.numel() for parameter in small.parameters())
    assert step.tuned > 0.9
    again, resumed = run(trained, blocks=2, macs=None, steps=3, run_dir=tmp_path / "run")
    assert resumed == steps
    assert skipped(again) == skipped(small)
    for options in ({"penalty": 1.0}, {"clock": lambda module: 1.0}):
        with pytest.raises(SettingError, match="with blocks= alone they would do nothing"):
            run(trained, blocks=2, macs=None, **options)


def test_a_run_goes_on_without_its_blocks(trained, tmp_path):
    whole, steps = run(trained, run_dir=tmp_path / "whole")

    class Stopping:
        """A loader that is interrupted in the first fine-tuning."""

        def __len__(self):
            return len(TRAIN)

        def __iter__(self):
            for number, batch in enumerate(TRAIN):
                if (tmp_path / "cut" / "cut-1.json").exists() and number == 4:
                    raise KeyboardInterrupt
                yield batch

    with pytest.raises(KeyboardInterrupt):
        run(trained, run_dir=tmp_path / "cut", train=Stopping())
    again, resumed = run(trained, run_dir=tmp_path / "cut")
    assert resumed == steps
    assert skipped(again) == skipped(whole) != []
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor)
    with pytest.raises(ResumeError, match="holds a run with other settings"):
        run(trained, run_dir=tmp_path / "cut", blocks=2)


def test_settings_are_checked_first():
    with pytest.raises(SettingError, match="0 or more, 'auto' or 'only'"):
        run(nn.Linear(2, 2), blocks="few")
    with pytest.raises(SettingError, match="would do nothing"):
        run(nn.Linear(2, 2), blocks=0, block_unit="branch")
