"""What is refused before a cache is filled, and while it is."""

import pytest
import torch
from tests.distillation.cache.functions import Function, Vectors, assert_same, filled
from torch.utils.data import DataLoader

from featherweight.distillation.cache import fill
from featherweight.distillation.cache import filling as filling_module
from featherweight.distillation.cache.arrays import HEADER
from featherweight.errors import DataError, SettingError


def test_an_example_that_is_not_there_is_an_error(tmp_path):
    data = Vectors()
    cache = filled(tmp_path / "c", data)
    x = data.x[:4].clone()
    x[2] += 1e-6
    with pytest.raises(DataError, match=r"1 of the 4 examples .* number 2\).*augmented afresh"):
        cache.views(x)


@pytest.mark.parametrize("kind", ["noise", "shuffled"])
def test_augmented_data_are_refused_before_anything_is_written(tmp_path, kind):
    class Shuffled(list):
        def __iter__(self):
            return iter([super(Shuffled, self).__getitem__(i) for i in torch.randperm(len(self))])

    if kind == "noise":
        loader = DataLoader(Vectors(noise=0.1), 8)
    else:
        loader = Shuffled((row[None], 0) for row in Vectors().x)
    teacher = Function()
    with pytest.raises(DataError, match="fetched twice, differ"):
        fill(teacher.teaching, loader, tmp_path / "c", progress=False)
    assert not list(tmp_path.iterdir())
    assert teacher.calls == 0


def test_augmentation_is_seen_though_the_first_example_is_the_same(tmp_path):
    class Rarely(Vectors):
        def __getitem__(self, index):
            return self.x[index] + (torch.rand(()) if index == 30 else 0), 0

    with pytest.raises(DataError, match="fetched twice, differ"):
        filled(tmp_path / "c", Rarely(), batch=4)


def test_values_beyond_fp16_are_refused_and_fit_fp32(tmp_path):
    big = Function(scale=1e5)
    with pytest.raises(DataError, match=r'reaches .* in batch 1, beyond the 6.55e\+04 of fp16.*dtype="fp32"'):
        filled(tmp_path / "c", teacher=big)
    assert not list(tmp_path.iterdir())
    x = Vectors().x
    cache = filled(tmp_path / "c", teacher=big, dtype="fp32")
    assert_same(cache.views(x)[0], big.view(x), rtol=0, atol=0)
    with pytest.raises(DataError, match="not finite in batch 1"):
        filled(tmp_path / "d", teacher=Function(scale=float("nan")))


def test_settings_are_checked_first(tmp_path):
    with pytest.raises(SettingError, match="dtype is one of fp16, fp32, got 'fp8'"):
        filled(tmp_path / "c", dtype="fp8")
    with pytest.raises(SettingError, match="epochs is a whole number"):
        filled(tmp_path / "c", epochs=0)
    with pytest.raises(SettingError, match="set_epoch"):
        filled(tmp_path / "c", epochs=2)
    with pytest.raises(DataError, match="no batch"):
        fill(Function().teaching, [], tmp_path / "c")
    with pytest.raises(DataError, match="has no length"):
        fill(Function().teaching, iter([]), tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_refused_with_the_size(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(filling_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"takes about 2\.4 KB \(37 examples of 64 bytes\).*has 1\.0 KB free"):
        filled(tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_the_size_is_told_before_and_is_what_it_takes(tmp_path, capsys):
    data = Vectors(30)
    fill(Function().teaching, DataLoader(data, 8), tmp_path / "c")
    said = capsys.readouterr().err
    assert "about 1.9 KB (30 examples of 64 bytes)" in said
    assert "is complete: 30 examples" in said
    arrays = [path for path in (tmp_path / "c").iterdir() if path.suffix == ".npy"]
    assert sum(path.stat().st_size - HEADER for path in arrays) == 30 * 64


def test_a_loader_whose_length_is_wrong_completes_nothing(tmp_path):
    class Short(list):
        def __len__(self):
            return 3

    loader = Short([(Vectors().x[:4], 0)])
    with pytest.raises(DataError, match="gave 1 batches where its length says 3"):
        fill(Function().teaching, loader, tmp_path / "c", progress=False)
    assert not list(tmp_path.iterdir())
