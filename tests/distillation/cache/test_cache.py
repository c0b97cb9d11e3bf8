"""Filling and reading a cache, without a Distiller: a teacher is a function of the batch."""

import json
import os
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler

from featherweight.distillation.cache import Identity, TeacherCache, Teaching, fill, fingerprint
from featherweight.distillation.cache import filling as filling_module
from featherweight.distillation.cache.arrays import HEADER, GrowingArray
from featherweight.distillation.cache.manifest import Manifest
from featherweight.distillation.losses import Heads, View
from featherweight.errors import DataError, SettingError

N = 37


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


class Vectors(Dataset):
    """N examples of 6 numbers; those of index n and n + 30 are equal. A copy an epoch, or noise, if asked."""

    def __init__(self, count=N, noise=0.0, copies=False):
        self.x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1)).repeat(2, 1)[:count]
        self.noise, self.copies, self.epoch, self.taken = noise, copies, 0, []
        if copies:
            self.set_epoch = lambda epoch: setattr(self, "epoch", epoch)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.taken.append(index)
        return self.x[index] + self.epoch + self.noise * torch.randn(6), index % 3


class Function:
    """A teacher: logits, a map and attention of each example; counts its calls."""

    def __init__(self, scale=1.0, taps=("a", "b"), stop_at=None, action=None):
        self.calls, self.scale, self.stop_at, self.action = 0, scale, stop_at, action
        self.identity = Identity(f"teacher {scale}", taps)

    def view(self, x):
        logits = x[:, :4] * self.scale
        heads = Heads(x.view(-1, 1, 3, 2), -x.view(-1, 1, 3, 2), x.view(-1, 1, 3, 2) ** 2)
        return View(logits, (x.view(-1, 2, 3, 1).relu(), logits), (heads,))

    def views(self, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            self.action()
        return [self.view(batch[0])]

    @property
    def teaching(self):
        return Teaching(self.identity, lambda batch: batch[0], self.views)


def crash():
    raise OSError("the machine went away")


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def filled(folder, data=None, teacher=None, batch=8, **settings):
    loader = DataLoader(Vectors() if data is None else data, batch, shuffle=True, drop_last=True)
    return fill((teacher or Function()).teaching, loader, folder, progress=False, **settings)


def assert_same(view, wanted, **tolerance):
    pairs = [(view.logits, wanted.logits), *zip(view.features, wanted.features, strict=True)]
    for a, b in zip(view.attention, wanted.attention, strict=True):
        pairs += [(a.query, b.query), (a.key, b.key), (a.value, b.value)]
    for got, want in pairs:
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, **tolerance)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Outputs


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 2**-11), ("fp32", 0.0)])
def test_outputs_are_the_teachers_for_any_batch_of_the_data(tmp_path, dtype, tolerance):
    data, teacher = Vectors(), Function()
    filled(tmp_path / "c", data, teacher, dtype=dtype)
    cache = TeacherCache.open(tmp_path / "c", teacher.identity)
    for seed in range(5):
        x = data.x[torch.randperm(N, generator=torch.Generator().manual_seed(seed))[: 5 * seed + 1]]
        assert_same(cache.views(x)[0], teacher.view(x), rtol=tolerance, atol=1e-7)
    assert len(cache) == 30  # equal examples once
    cache.verify()


def test_the_cache_is_not_the_mean_or_the_first_of_all(tmp_path):
    """Sabotage: outputs of another example are told from the right ones by the test above."""
    data, teacher = Vectors(), Function()
    cache = filled(tmp_path / "c", data, teacher)
    with pytest.raises(AssertionError):
        assert_same(cache.views(data.x[:8])[0], teacher.view(data.x[:8].flip(0)), rtol=2**-11, atol=1e-7)


def test_a_tensor_that_is_shown_twice_is_stored_once(tmp_path):
    cache = filled(tmp_path / "c")
    names = {path.name for path in cache.folder.iterdir()}
    arrays = ["0.logits", "1.features", "2.query", "3.key", "4.value", "keys"]
    assert names == {"manifest.json", *(f"{name}.npy" for name in arrays)}
    assert np.load(cache.folder / "0.logits.npy").dtype == np.float16
    assert np.load(cache.folder / "1.features.npy").shape == (30, 2, 3, 1)


def test_equal_examples_in_one_batch_are_stored_once(tmp_path):
    data = Vectors()
    data.x[:] = data.x[0]
    assert len(filled(tmp_path / "c", data)) == 1


def test_several_teachers_and_views_without_logits(tmp_path):
    teaching = Teaching(
        Identity("two"),
        lambda batch: batch,
        lambda x: [View(None, (x * 2,)), View(x + 1), View(None, (x * 3,))],
    )
    batches = [torch.randn(4, 5), torch.randn(2, 5)]
    cache = fill(teaching, batches, tmp_path / "c", progress=False)
    first, second, third = cache.views(batches[1].flip(0))
    assert first.logits is None
    wanted = batches[1].flip(0)
    torch.testing.assert_close(first.features[0], wanted * 2, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(second.logits, wanted + 1, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(third.features[0], wanted * 3, rtol=1e-3, atol=1e-3)


def test_a_complete_cache_is_opened_without_running_the_teacher(tmp_path):
    filled(tmp_path / "c")
    before, teacher = contents(tmp_path / "c"), Function()
    filled(tmp_path / "c", teacher=teacher, batch=5)
    assert teacher.calls == 0
    assert contents(tmp_path / "c") == before


def test_nothing_is_left_beside_the_cache(tmp_path):
    filled(tmp_path / "deep" / "c")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["c"]


# Loaders


def test_the_data_set_is_gone_through_in_order_and_to_its_end(tmp_path):
    data = Vectors()
    filled(tmp_path / "c", data)
    assert data.taken[-N:] == list(range(N))


def test_loaders_of_every_kind(tmp_path):
    data = Vectors()
    kinds = {
        "workers": DataLoader(data, 16, num_workers=1),
        "sampler": DataLoader(data, 8, sampler=SubsetRandomSampler([1, 2, 3])),
        "batches": DataLoader(data, batch_sampler=[[3, 1], [2]]),
        "list": [(data.x[:20], 0), (data.x[20:], 0)],
    }
    for name, loader in kinds.items():
        cache = fill(Function().teaching, loader, tmp_path / name, progress=False)
        assert_same(cache.views(data.x)[0], Function().view(data.x), rtol=1e-3, atol=1e-6)


def test_an_iterable_data_set_is_iterated_as_it_is(tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(Vectors().x)

        def __len__(self):
            return N

    teaching = Teaching(Identity("t"), lambda x: x, lambda x: [View(x)])
    assert len(fill(teaching, DataLoader(Stream(), 10), tmp_path / "c", progress=False)) == 30


def test_filling_draws_nothing_from_the_callers_generators(tmp_path):
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    filled(tmp_path / "c", Vectors(noise=0.0))
    assert torch.equal(torch.rand(1), wanted)


def test_fixed_copies_of_several_epochs(tmp_path):
    data = Vectors(copies=True)
    cache = filled(tmp_path / "c", data, epochs=3)
    assert len(cache) == 90
    for epoch in range(3):
        assert_same(cache.views(data.x + epoch)[0], Function().view(data.x + epoch), rtol=1e-3, atol=1e-6)
    with pytest.raises(DataError, match="not among"):
        cache.views(data.x + 3)
    assert len(filled(tmp_path / "c", data, epochs=2)) == 90  # more than is asked
    with pytest.raises(DataError, match="epochs=3, less than 'fp16' and 4"):
        filled(tmp_path / "c", data, epochs=4)


# Refusals


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


# Sequences


def sequences(lengths, length):
    mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    ids = (torch.arange(1, length + 1) + 10 * torch.tensor(lengths)[:, None]) * mask
    return {"input_ids": ids, "attention_mask": mask.long()}


def mapping(per_token):
    def views(batch):
        values = (batch["input_ids"] * batch["attention_mask"]).float()
        return [View(values[:, :, None] if per_token else values.sum(1, keepdim=True))]

    return Teaching(Identity("t"), lambda batch: batch, views)


def test_sequences_of_any_padding_share_one_row_of_logits(tmp_path):
    batches = [sequences([3, 2], 4), sequences([5, 1], 6)]
    cache = fill(mapping(False), batches, tmp_path / "c", progress=False)
    again = sequences([1, 5, 3, 2], 9)
    torch.testing.assert_close(cache.views(again)[0].logits, mapping(False).views(again)[0].logits)


def test_outputs_per_token_are_of_one_length(tmp_path):
    with pytest.raises(DataError, match=r"\(4, 1\) per example in the first batch and \(6, 1\)"):
        fill(mapping(True), [sequences([3], 4), sequences([5], 6)], tmp_path / "c", progress=False)
    assert not list(tmp_path.iterdir())
    cache = fill(mapping(True), [sequences([3, 2], 6), sequences([5, 1], 6)], tmp_path / "c", progress=False)
    torch.testing.assert_close(
        cache.views(sequences([5], 6))[0].logits, mapping(True).views(sequences([5], 6))[0].logits
    )
    with pytest.raises(DataError, match="each of 6 tokens, and this batch has sequences of 5"):
        cache.views(sequences([5], 5))


# Interruption


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(filling_module, "COMMIT_EVERY", 2)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(("epochs", "call"), [(1, 2), (1, 4), (1, 6), (3, 3), (3, 5)])
def test_a_run_that_dies_goes_on_from_what_is_on_the_disk(tmp_path, call, epochs):
    """The teacher is called once for the shapes, then 5 times an epoch; every 2nd batch is committed."""
    call += 5 * (epochs - 1)
    settings = {"data": Vectors(copies=epochs > 1), "epochs": epochs}
    with pytest.raises(OSError, match="went away"):
        filled(tmp_path / "c", teacher=Function(stop_at=call, action=crash), **settings)
    assert not (tmp_path / "c").exists()
    done = (call - 2) // 2 * 2
    with pytest.raises(DataError, match="not complete" if done else "no cache"):
        TeacherCache.open(tmp_path / "c")
    teacher = Function()
    filled(tmp_path / "c", teacher=teacher, **settings)
    assert teacher.calls == 1 + 5 * epochs - done
    filled(tmp_path / "whole", **settings)
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def test_ctrl_c_saves_the_batch_that_was_running(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fill(Function(stop_at=4, action=ctrl_c).teaching, DataLoader(Vectors(), 8), tmp_path / "c")
    assert "Interrupted; 3 batches are saved" in capsys.readouterr().err
    teacher = Function()
    data = Vectors()
    fill(teacher.teaching, DataLoader(data, 8), tmp_path / "c")
    assert teacher.calls == 1 + 2
    assert "going on after batch 3" in capsys.readouterr().err
    assert data.taken[-(N - 24) :] == list(range(24, N))  # what is done is not loaded again
    assert_same(
        TeacherCache.open(tmp_path / "c").views(data.x)[0], Function().view(data.x), rtol=1e-3, atol=1e-6
    )


@pytest.mark.usefixtures("often")
def test_a_machine_that_dies_at_the_very_end(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("os.rename", lambda *_: crash())
        with pytest.raises(OSError, match="went away"):
            filled(tmp_path / "c")
    teacher = Function()
    filled(tmp_path / "c", teacher=teacher)
    assert teacher.calls == 1
    filled(tmp_path / "whole")
    assert contents(tmp_path / "c") == contents(tmp_path / "whole")


def interrupted(folder, **settings):
    with pytest.raises(OSError, match="went away"):
        filled(folder, teacher=Function(stop_at=5, action=crash), **settings)
    return folder.with_name(f".{folder.name}.partial")


@pytest.mark.usefixtures("often")
def test_what_another_run_has_left_is_not_gone_on_with(tmp_path):
    partial = interrupted(tmp_path / "c")
    before = contents(partial)
    other = Vectors()
    other.x[0] += 1
    for settings in ({"teacher": Function(2.0)}, {"dtype": "fp32"}, {"batch": 4}, {"data": other}):
        with pytest.raises(DataError, match=r"not to be gone on with.*overwrite=True"):
            filled(tmp_path / "c", **settings)
        assert contents(partial).keys() == before.keys()
    teacher = Function(2.0)
    filled(tmp_path / "c", teacher=teacher, overwrite=True)
    assert teacher.calls == 6
    assert not partial.exists()


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", ["keys.npy", "1.features.npy", "manifest.json"])
def test_what_is_left_damaged_is_not_gone_on_with(tmp_path, name):
    file = interrupted(tmp_path / "c") / name
    file.write_bytes(file.read_bytes()[:270])
    with pytest.raises(DataError, match="damaged"):
        filled(tmp_path / "c")
    filled(tmp_path / "c", overwrite=True).verify()


def test_a_second_process_waits_for_the_first(tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def wait():
        begun.set()
        assert go_on.wait(10)

    first = threading.Thread(target=filled, args=(tmp_path / "c", None, Function(stop_at=3, action=wait)))
    second_teacher = Function()
    second = threading.Thread(target=filled, args=(tmp_path / "c", None, second_teacher))
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.1)
    assert second.is_alive()
    go_on.set()
    first.join(10)
    second.join(10)
    assert second_teacher.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


# What is in the folder


def test_a_cache_of_another_teacher_or_taps_is_refused_and_stays(tmp_path):
    filled(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(DataError, match=r"of another teacher.*overwrite=True"):
        filled(tmp_path / "c", teacher=Function(2.0))
    with pytest.raises(
        DataError, match=r"of other outputs: it has \('a', 'b'\), and the losses read \('a',\)"
    ):
        filled(tmp_path / "c", teacher=Function(taps=("a",)))
    with pytest.raises(DataError, match="less than 'fp32'"):
        filled(tmp_path / "c", dtype="fp32")
    with pytest.raises(DataError, match="of another teacher"):
        TeacherCache.open(tmp_path / "c", Identity("other", ("a", "b")))
    assert contents(tmp_path / "c") == before
    cache = filled(tmp_path / "c", teacher=Function(2.0), overwrite=True)
    assert_same(cache.views(Vectors().x)[0], Function(2.0).view(Vectors().x), rtol=1e-3, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_overwriting_fails_without_loss(tmp_path):
    filled(tmp_path / "c")
    before = contents(tmp_path / "c")
    with pytest.raises(DataError, match="fetched twice"):
        filled(tmp_path / "c", Vectors(noise=1.0), overwrite=True)
    with pytest.raises(OSError, match="went away"):
        filled(tmp_path / "c", teacher=Function(stop_at=3, action=crash), overwrite=True)
    assert contents(tmp_path / "c") == before


@pytest.mark.parametrize("names", [["thesis.txt"], ["manifest.json", "thesis.txt"], ["weights.npy"]])
def test_a_folder_of_other_things_is_never_overwritten(tmp_path, names):
    (tmp_path / "c").mkdir()
    for name in names:
        (tmp_path / "c" / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"not a cache|damaged"):
            filled(tmp_path / "c", overwrite=overwrite)
    assert {path.name: path.read_text() for path in (tmp_path / "c").iterdir()} == dict.fromkeys(
        names, "mine"
    )
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="not a cache"):
        filled(tmp_path / "file", overwrite=True)


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    (tmp_path / "c").mkdir()
    assert len(filled(tmp_path / "c")) == 30


def test_no_cache_is_an_error_that_says_so(tmp_path):
    with pytest.raises(DataError, match="There is no cache"):
        TeacherCache.open(tmp_path / "nowhere")
    filled(tmp_path / "c")
    manifest = Manifest.read(tmp_path / "c")
    replace(manifest, complete=False).write(tmp_path / "c")
    with pytest.raises(DataError, match="not complete"):
        TeacherCache.open(tmp_path / "c")


def test_no_flipped_byte_of_the_manifest_goes_unseen(tmp_path):
    filled(tmp_path / "c")
    file = tmp_path / "c" / "manifest.json"
    whole = file.read_bytes()
    seen = json.loads(whole)
    for at in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        file.write_bytes(changed)
        try:
            TeacherCache.open(tmp_path / "c")
        except DataError:
            continue
        assert json.loads(bytes(changed)) == seen  # a blank that is another blank
    for at in (0, 1, 100, len(whole) - 3):
        file.write_bytes(whole[:at])
        with pytest.raises(DataError, match="damaged"):
            TeacherCache.open(tmp_path / "c")


def test_a_manifest_of_another_version_or_form_is_refused(tmp_path, monkeypatch):
    filled(tmp_path / "c")
    manifest = Manifest.read(tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr("featherweight.distillation.cache.manifest.VERSION", 3)
        with pytest.raises(DataError, match="format version 2; this release reads 3"):
            TeacherCache.open(tmp_path / "c")
    replace(manifest, layout=replace(manifest.layout, shapes="none")).write(tmp_path / "c")
    with pytest.raises(DataError, match="damaged"):
        TeacherCache.open(tmp_path / "c")


@pytest.mark.parametrize("name", ["keys.npy", "1.features.npy"])
@pytest.mark.parametrize("change", ["missing", "cut", "longer", "header", "other"])
def test_a_damaged_array_is_refused(tmp_path, name, change):
    filled(tmp_path / "c")
    file = tmp_path / "c" / name
    whole = file.read_bytes()
    if change == "missing":
        file.unlink()
    elif change == "other":
        np.save(file, np.zeros(3))
    else:
        file.write_bytes({"cut": whole[:-1], "longer": whole + b"0", "header": b"1" + whole[1:]}[change])
    with pytest.raises(DataError, match=rf"damaged: .*{name}.*overwrite=True"):
        TeacherCache.open(tmp_path / "c")


def test_flipped_bits_of_keys_are_seen_at_once_and_those_of_outputs_when_verified(tmp_path):
    cache = filled(tmp_path / "c")
    for name in ("keys.npy", "1.features.npy"):
        file = tmp_path / "c" / name
        data = bytearray(file.read_bytes())
        data[-5] ^= 4
        file.write_bytes(data)
    with pytest.raises(DataError, match=r"checksum of keys\.npy"):
        TeacherCache.open(tmp_path / "c")
    with pytest.raises(DataError, match=r"checksum of 1\.features\.npy"):
        cache.verify()


def test_what_was_written_is_a_numpy_file(tmp_path):
    array = GrowingArray(tmp_path / "a.npy", "<f4", (2, 3))
    rows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    array.append(rows[:3])
    array.append(rows[3:])
    array.finish()
    array.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)


# Fingerprints


def test_a_fingerprint_differs_where_class_weights_or_buffers_do():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = fingerprint(network)
    assert before == fingerprint(network)
    network[1].running_mean[2] += 1e-6
    assert fingerprint(network) != before
    network[1].running_mean[2] = 0
    assert fingerprint(network) == before

    class Other(nn.Sequential):
        pass

    assert fingerprint(Other(*network)) != before
    assert fingerprint(network.to(torch.float64)) != before
    assert len(fingerprint(nn.ReLU())) == 32
