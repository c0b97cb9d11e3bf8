"""A cache in the place of the teacher: the same losses, the same training, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.distillation.cache import TeacherCache
from featherweight.distillation.losses import DistillationLoss
from featherweight.errors import DataError
from featherweight.training import TrainingSettings

FAST = TrainingSettings(epochs=2, learning_rate=0.05, precision="fp32")


class Counted(nn.Sequential):
    """Counts its passes."""

    def forward(self, x):
        self.passes = getattr(self, "passes", 0) + 1
        return super().forward(x)


def net(width, seed, kind=nn.Sequential):
    torch.manual_seed(seed)
    return kind(
        nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(width, width, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(width, 3),
    )  # fmt: skip


def images(count=40, shuffle=True):
    x = torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x.mean((1, 2, 3)).gt(0).long()), 8, shuffle=shuffle)


class Distance(DistillationLoss):
    """Between features, and between queries, keys and values."""

    def forward(self, student, teacher, lesson):
        pairs = list(zip(student.features, teacher.features, strict=True))
        for own, goal in zip(student.attention, teacher.attention, strict=True):
            pairs += [(own.query, goal.query), (own.key, goal.key), (own.value, goal.value)]
        return sum((own - goal).pow(2).mean() for own, goal in pairs)


class OfFeatures(Distance):
    features = "stages"


class OfAttention(Distance):
    attention = "all"


def both(tmp_path, teachers, student, example, loader, **settings):
    """A Distiller that runs the teachers, and one that reads their outputs."""
    plain = fw.distill.Distiller(teachers, student, example, precision="fp32", **settings)
    cached = fw.distill.Distiller(teachers, student, example, precision="fp32", **settings)
    cached.fill_cache(loader, tmp_path / "c", progress=False)
    return plain, cached


@pytest.mark.parametrize("loss", ["kd", {"kd": 1.0, OfFeatures(): 3.0}, OfFeatures()])
@pytest.mark.parametrize("count", [1, 2])
def test_the_loss_and_its_gradient_are_those_without_a_cache(tmp_path, loss, count):
    teachers = [net(4, seed, Counted) for seed in range(1, 1 + count)]
    student, loader = net(4, 9), images()
    batch = next(iter(loader))
    plain, cached = both(tmp_path, teachers, student, batch, loader, loss=loss)
    values, gradients = [], []
    for distiller in (plain, cached):
        student.zero_grad()
        before = teachers[0].passes
        value = distiller(batch)
        value.backward()
        values.append(value.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in student.parameters()]))
        assert teachers[0].passes - before == (distiller is plain)
        distiller.close()
    torch.testing.assert_close(values[1], values[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-2, atol=1e-3)


def test_outputs_of_other_examples_would_be_seen(tmp_path, monkeypatch):
    """Sabotage of the test above: the rows that are read are shifted by one."""
    teacher, student, loader = net(4, 1), net(4, 9), images()
    batch = next(iter(loader))
    plain, cached = both(tmp_path, teacher, student, batch, loader)
    rows = TeacherCache._rows
    monkeypatch.setattr(TeacherCache, "_rows", lambda self, keys: rows(self, keys) - 1)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(cached(batch), plain(batch), rtol=1e-3, atol=1e-4)


def test_logits_are_stored_only_where_a_loss_reads_them(tmp_path):
    teacher, student, loader = net(4, 1), net(4, 9), images()
    batch = next(iter(loader))
    with fw.distill.Distiller(teacher, student, batch, loss=OfFeatures()) as distiller:
        cache = distiller.fill_cache(loader, tmp_path / "c", progress=False)
    assert cache.views(batch[0])[0].logits is None
    with pytest.raises(DataError, match="of other outputs"):
        fw.distill.Distiller(teacher, student, batch, loss="kd", cache=tmp_path / "c")


def test_training_with_a_cache_is_training_without(tmp_path):
    teacher, student = net(6, 1, Counted), net(3, 9)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    settings = {"settings": FAST, "alpha": 0.9, "progress": False}
    wanted = fw.distill(teacher, student, images(), **settings)
    passes = teacher.passes
    got = fw.distill(teacher, student, images(), cache=tmp_path / "c", **settings)
    during = teacher.passes - passes
    again = fw.distill(teacher, student, images(), cache=TeacherCache.open(tmp_path / "c"), **settings)
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(got.state_dict()[name], value, rtol=1e-2, atol=1e-3)
        assert torch.equal(again.state_dict()[name], got.state_dict()[name])
        assert not torch.equal(value, start[name])
    examining = teacher.passes - passes - during  # the Distiller's passes over its example
    assert during == examining + 5 + 1  # 5 batches, the first of them once more for its shapes
    other = fw.distill(net(6, 2), student, images(), **settings)
    assert any((other.state_dict()[n] - v).abs().max() > 1e-2 for n, v in wanted.state_dict().items())


def test_a_folder_is_filled_once(tmp_path):
    teacher, student = net(4, 1, Counted), net(3, 9)
    settings = {"settings": FAST, "progress": False, "cache": tmp_path / "c"}
    first = fw.distill(teacher, student, images(), **settings)
    counts = []
    for _ in range(2):
        before = teacher.passes
        second = fw.distill(teacher, student, images(), **settings)
        counts.append(teacher.passes - before)
    assert counts[0] == counts[1] < 5
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_cache_of_another_teacher_is_refused(tmp_path):
    teacher, student, loader = net(4, 1), net(3, 9), images()
    batch = next(iter(loader))
    with fw.distill.Distiller(teacher, student, batch) as distiller:
        cache = distiller.fill_cache(loader, tmp_path / "c", progress=False)
    with torch.no_grad():
        teacher[0].weight[0, 0, 0, 0] += 1e-3
    for given in (cache, tmp_path / "c", str(tmp_path / "c")):
        with pytest.raises(DataError, match="of another teacher"):
            fw.distill.Distiller(teacher, student, batch, cache=given)
    assert not teacher[0]._forward_hooks
    assert not student[0]._forward_hooks
    with pytest.raises(DataError, match="There is no cache"):
        fw.distill.Distiller(teacher, student, batch, cache=tmp_path / "nowhere")


class Noisy(TensorDataset):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + 0.01 * torch.randn_like(x), y


def test_augmented_data_are_refused_before_training_and_nothing_is_left(tmp_path):
    teacher, student = net(4, 1), net(3, 9)
    before = [value.clone() for value in teacher.state_dict().values()]
    loader = DataLoader(Noisy(*images().dataset.tensors), 8)
    with pytest.raises(DataError, match="fetched twice"):
        fw.distill(teacher, student, loader, settings=FAST, progress=False, cache=tmp_path / "c")
    assert not list(tmp_path.iterdir())
    assert not teacher[0]._forward_hooks
    assert teacher.training
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))


class ByEpoch(TensorDataset):
    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + self.epoch, y


@pytest.mark.parametrize("epochs", [1, 2])
def test_augmentation_by_epoch_is_refused_before_the_teacher_runs_unless_one_epoch_is_all(tmp_path, epochs):
    teacher, student = net(4, 1), net(3, 9)
    loader = DataLoader(ByEpoch(*images().dataset.tensors), 8)
    arguments = {"settings": replace(FAST, epochs=epochs), "progress": False, "cache": tmp_path / "c"}
    if epochs == 1:
        fw.distill(teacher, student, loader, **arguments)
        return
    with pytest.raises(DataError, match="augmented afresh in every epoch"):
        fw.distill(teacher, student, loader, **arguments)
    assert not list(tmp_path.iterdir())


def test_an_example_that_was_not_cached_stops_the_training(tmp_path):
    teacher, student = net(4, 1), net(3, 9)
    batch = next(iter(images()))
    with fw.distill.Distiller(teacher, student, batch, precision="fp32") as distiller:
        cache = distiller.fill_cache(images(24), tmp_path / "c", progress=False)
    with pytest.raises(DataError, match="not among the 24"):
        fw.distill(teacher, student, images(40), settings=FAST, progress=False, cache=cache)


# Sequences


class Layer(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.num_heads = 2
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        return x + scores.softmax(-1) @ self.value(x)


class Texts(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.words, self.layer, self.head = nn.Embedding(20, 4), Layer(4), nn.Linear(4, 3)

    def forward(self, input_ids, attention_mask, labels=None):
        x = self.layer(self.words(input_ids) * attention_mask[:, :, None])
        logits = self.head((x * attention_mask[:, :, None]).sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SimpleNamespace(logits=logits, loss=loss)


def texts(rows, length, labels=True):
    """Batches of mappings: sequences of 2 to 5 tokens, padded to ``length``."""
    sizes = 2 + torch.arange(rows) % 4
    mask = (torch.arange(length) < sizes[:, None]).long()
    ids = (1 + torch.arange(rows)[:, None] + torch.arange(length)) % 19 * mask
    batch = {"input_ids": ids, "attention_mask": mask}
    return {**batch, "labels": torch.arange(rows) % 3} if labels else batch


def test_mappings_are_found_without_their_labels(tmp_path):
    teacher, student, batch = Texts(1), Texts(2), texts(6, 5)
    plain, cached = both(
        tmp_path, teacher, student, batch, [texts(6, 5)], loss={"kd": 1.0, OfAttention(): 1.0}, alpha=1.0
    )
    torch.testing.assert_close(cached(batch), plain(batch), rtol=1e-3, atol=1e-4)
    unlabelled = texts(6, 5, labels=False)
    torch.testing.assert_close(cached(unlabelled), plain(unlabelled), rtol=1e-3, atol=1e-4)
    with pytest.raises(DataError, match="each of 5 tokens, and this batch has sequences of 7"):
        cached(texts(6, 7))


@pytest.mark.parametrize(("has", "asks", "fits"), [("bf16", "fp32", False), ("fp32", "bf16", True)])
def test_a_cache_of_a_teacher_that_was_rounded_is_refused_where_it_is_not_to_be(tmp_path, has, asks, fits):
    loader = images()
    batch = next(iter(loader))
    with fw.distill.Distiller(net(4, 1), net(4, 9), batch, precision=has) as distiller:
        distiller.fill_cache(loader, tmp_path / "c", progress=False)
    settings = {"precision": asks, "cache": tmp_path / "c"}
    if fits:
        fw.distill.Distiller(net(4, 1), net(4, 9), batch, **settings).close()
        return
    with pytest.raises(DataError, match=r"ran in bf16, and it runs in fp32 here.*delete it"):
        fw.distill.Distiller(net(4, 1), net(4, 9), batch, **settings)
