"""Filling and reading a cache, without a Distiller: a teacher is a function of the batch."""

import numpy as np
import pytest
import torch
from tests.distillation.cache.functions import Function, N, Vectors, assert_same, contents, filled
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, SubsetRandomSampler

from featherweight.core.fingerprint import fingerprint
from featherweight.distillation.cache import Identity, TeacherCache, Teaching, fill
from featherweight.distillation.losses import View
from featherweight.errors import DataError

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
