"""Distillation on a GPU; skipped where torch sees none."""

import pytest
import torch
from tests.sparsity.test_on_gpu import loader
from torch import nn

import featherweight as fw
from featherweight.distillation.losses import losses

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


def network(width):
    torch.manual_seed(width)
    first = nn.Linear(8, width), nn.ReLU()
    return nn.Sequential(*first, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("loss", ["kd", "dkd", "dist", "hints", "rkd", "crd"])
def test_a_student_learns(loss, cached, tmp_path):
    assert loss in losses
    teacher, student = network(32), network(16)
    settings = fw.TrainingSettings(epochs=12, learning_rate=0.2)
    fw.fit(teacher, loader(0), None, settings, progress=False)
    found = fw.distill(
        teacher,
        student,
        loader(0),
        loader(1),
        loss=loss,
        features=[("2", "2")] if loss == "hints" else "auto",
        settings=settings,
        cache=tmp_path if cached else None,
        progress=False,
    )
    assert fw.evaluate(found, loader(2)) > 0.5
