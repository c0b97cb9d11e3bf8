"""Settings of the loss of a student: checked when they are made, and handed on."""

import pytest
import torch
from torch import nn

from featherweight.distillation.distiller import Distiller
from featherweight.distillation.losses.kd import SoftTargets
from featherweight.distillation.settings import DistillationSettings
from featherweight.errors import SettingError, UnknownNameError


def networks():
    torch.manual_seed(0)
    return nn.Linear(4, 3), nn.Linear(4, 3), (torch.randn(5, 4), torch.arange(5) % 3)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"loss": "kdd"}, UnknownNameError, "Did you mean 'kd'"),
        ({"loss": "kd + kd"}, SettingError, "comes twice"),
        ({"alpha": 1.5}, SettingError, "alpha is between 0 and 1"),
        ({"alpha": (0.5, -1)}, SettingError, "alpha is between 0 and 1"),
        ({"temperature": 0}, SettingError, "temperature is a finite number above 0"),
        ({"features": [("a", "b")]}, SettingError, "features"),
    ],
)
def test_what_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        DistillationSettings(**options)


def test_the_defaults_are_those_of_a_distiller():
    teacher, student, batch = networks()
    with (
        Distiller(teacher, student, batch) as plain,
        Distiller(teacher, student, batch, **DistillationSettings().arguments()) as ours,
    ):
        assert torch.equal(plain(batch), ours(batch))
        assert plain.fingerprint() == ours.fingerprint()


@pytest.mark.parametrize("options", [{"alpha": 0.9}, {"temperature": 1.0}, {"loss": "2*kd"}])
def test_every_setting_reaches_the_loss(options):
    teacher, student, batch = networks()
    values = []
    for settings in (DistillationSettings(), DistillationSettings(**options)):
        with Distiller(teacher, student, batch, **settings.arguments()) as distiller:
            values.append(float(distiller(batch).detach()))
    assert abs(values[0] - values[1]) > 1e-3


def test_a_loss_object_is_copied_for_each_distiller():
    own = SoftTargets(temperature=2.0)
    settings = DistillationSettings({own: 3.0})
    first, second = (next(iter(settings.arguments()["loss"])) for _ in range(2))
    assert first is not own
    assert first is not second
    assert first.temperature == 2.0
