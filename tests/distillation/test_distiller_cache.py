"""A cache in the place of a Distiller's teachers."""

import pytest
import torch
from tests.distillation.distilling import Near, Net, batch, distiller
from torch import nn

from featherweight.errors import DataError


def test_a_cache_takes_the_teachers_place(tmp_path):
    teachers, student, (x, y) = [Net(8, seed=1), Net(9, seed=2)], Net().eval(), batch(8)
    d = distiller(teachers, student, (x, y), loss={"kd": 1.0, Near(): 1.0}).eval()
    expected = d((x, y))
    d.fill_cache([(x[:3], y[:3]), (x[3:], y[3:])], tmp_path / "cache", dtype="fp32", progress=False)
    with torch.no_grad():
        heads = [teacher.head.weight.clone() for teacher in teachers]
        for teacher in teachers:
            teacher.head.weight.zero_()
        torch.testing.assert_close(d((x.flip(0), y.flip(0))), expected)
    with pytest.raises(DataError, match="augmented"):
        d((x + 1, y))
    with pytest.raises(DataError, match="another teacher"):
        distiller(teachers, student, loss={"kd": 1.0, Near(): 1.0}, cache=tmp_path / "cache")
    with torch.no_grad():
        for teacher, weight in zip(teachers, heads, strict=True):
            teacher.head.weight.copy_(weight)
    with pytest.raises(DataError, match="other outputs"):
        distiller(teachers, student, cache=tmp_path / "cache")
    again = distiller(teachers, student, loss={"kd": 1.0, Near(): 1.0}, cache=tmp_path / "cache").eval()
    again.load_state_dict(d.state_dict())
    torch.testing.assert_close(again((x, y)), expected)


def test_teachers_have_their_layout_again_after_a_cache_was_filled(tmp_path):
    def net():
        return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))

    teacher, images = net(), torch.randn(4, 2, 4, 4)
    with distiller(teacher, net(), images, alpha=1.0) as d:
        assert not teacher[0].weight.is_contiguous()
        d.fill_cache([images], tmp_path / "c", progress=False)
        assert teacher[0].weight.is_contiguous()
