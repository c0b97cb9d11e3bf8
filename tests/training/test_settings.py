"""Settings are checked when they are made."""

import pytest
from torch import nn

from featherweight.errors import SettingError, TrainingError
from featherweight.training import TrainingSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"rate": "step"},
        {"warmup": 1.1},
        {"optimizer": "adam"},
        {"weight_decay": -1e-4},
        {"label_smoothing": 2.0},
        {"clip": 0.0},
        {"accumulate": 0},
        {"precision": "fp16"},
        {"seed": -1},
        {"checkpoint_every": 0},
        {"ema_decay": 0},
        {"ema_decay": 1.0},
        {"ema_decay": float("nan")},
    ],
)
def test_a_wrong_value_is_named_and_shown(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(SettingError, match=f"{name} .*{value}"):
        TrainingSettings(**wrong)


def test_norms_and_biases_are_not_decayed():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decayed, spared = TrainingSettings(weight_decay=0.1).make_optimizer(model).param_groups
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)


def test_frozen_parameters_stay_out_and_a_frozen_model_is_refused():
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    (group,) = TrainingSettings().make_optimizer(model).param_groups
    assert group["params"] == [model.bias]
    model.bias.requires_grad_(False)
    with pytest.raises(TrainingError, match="nothing to train"):
        TrainingSettings().make_optimizer(model)


def test_how_often_a_run_is_saved_is_not_part_of_what_it_is():
    assert TrainingSettings(checkpoint_every=3).identity() == TrainingSettings().identity()
    assert TrainingSettings(seed=3).identity() != TrainingSettings().identity()
