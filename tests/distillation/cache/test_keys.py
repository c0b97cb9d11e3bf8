import numpy as np
import pytest
import torch

from featherweight.distillation.cache import keys_of
from featherweight.distillation.cache.keys import _C0, _C1, _C2, _SEED, _numbers
from featherweight.errors import DataError

WORD = (1 << 64) - 1


def tokens(ids, length, **more):
    """Sequences on the left of ``length`` places, padded with 0."""
    if not ids:
        return {"input_ids": torch.zeros(0, 3).long(), "attention_mask": torch.zeros(0, 3).long()}
    rows = [row + [0] * (length - len(row)) for row in ids]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask), **more}


def assert_all_differ(keys):
    assert len(keys.unique()) == len(keys)


def naive(row, kind):
    """The formula in the header of keys.py, in Python's whole numbers."""
    data = row.numpy().tobytes()
    data += bytes(-len(data) % 8)
    factors = [int(f) | 1 for f in np.random.PCG64(_SEED).random_raw(1024)]
    total = 0
    for place in range(len(data) // 8):
        word = int.from_bytes(data[8 * place : 8 * place + 8], "little")
        z = (word + _C0) * _C1 & WORD
        z = (z ^ z >> 32) * _C2 & WORD
        total += factors[place] * (z ^ z >> 29)
    odd, shift = _numbers(kind)
    return (total + shift) * odd & WORD


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.int64])
def test_a_key_is_what_the_formula_says(dtype):
    x = (torch.randn(4, 3, 5) * 50).to(dtype)
    got = [int(key) & WORD for key in keys_of(x)]
    assert got == [naive(row, f" {dtype} (3, 5)") for row in x]


def test_the_key_is_the_same_in_every_release():
    """Caches on disk are found by it: change the format's version with it."""
    assert keys_of(torch.arange(6.0).view(2, 3)).tolist() == PINNED


PINNED = [-930188854521389559, -2960574542069472455]


def test_200_000_small_examples_all_differ():
    """By chance: 200k examples of 64 random bits, and as many of ones among zeros, two of 28 pixels."""
    generator = torch.Generator().manual_seed(0)
    assert_all_differ(keys_of(torch.randn(200_000, 4, generator=generator)))
    numbers = torch.randperm(1 << 24, generator=generator)[:200_000]
    binary = (numbers[:, None] >> torch.arange(24) & 1).float()
    assert_all_differ(keys_of(binary))
    assert_all_differ(keys_of(binary * 2 - 1))  # signs alone
    assert_all_differ(keys_of(binary.bool()))


def test_a_key_depends_on_every_bit_of_an_example():
    x = torch.randn(1, 60)
    bits = torch.arange(60 * 32)
    flipped = x.view(torch.int32).repeat(len(bits), 1)
    flipped[bits, bits // 32] ^= torch.ones((), dtype=torch.int32) << (bits % 32).int()
    assert_all_differ(keys_of(torch.cat([x, flipped.view(torch.float32)])))


def test_half_of_the_bits_of_a_key_change_with_one_bit_of_the_example():
    x = torch.randn(1000, 8)
    changed = x.clone()
    changed.view(torch.int32)[:, 3] ^= 1
    difference = (keys_of(x) ^ keys_of(changed)).numpy().view(np.uint64)
    share = np.mean([int(word).bit_count() for word in difference]) / 64
    assert 0.3 < share < 0.7


def test_a_key_depends_on_the_order_of_values():
    values = torch.randn(64)
    orders = torch.stack([torch.randperm(64) for _ in range(5000)])
    assert_all_differ(keys_of(values[orders]))
    words = torch.randn(2)
    assert (
        len(keys_of(torch.stack([words.repeat(8).view(8, 2).flatten().roll(1), words.repeat(8)])).unique())
        == 2
    )


def test_a_key_does_not_depend_on_the_batch_or_the_layout_in_memory():
    x = torch.randn(9, 3, 5, 7)
    keys = keys_of(x)
    assert torch.equal(keys_of(x[[4, 1]]), keys[[4, 1]])
    assert torch.equal(keys_of(x[1:]), keys[1:])
    assert torch.equal(keys_of(x.to(memory_format=torch.channels_last)), keys)
    assert torch.equal(keys_of(x.transpose(0, 1).contiguous().transpose(0, 1)), keys)
    narrow = torch.randint(0, 255, (9, 13)).byte()[:, 3:11]
    assert torch.equal(keys_of(narrow[:1]), keys_of(narrow.clone())[:1])
    shifted = torch.cat([torch.zeros(1), torch.randn(4 * 6)])[1:].view(4, 6)  # words across the alignment
    assert torch.equal(keys_of(shifted), keys_of(shifted.clone()))


def test_a_key_does_not_depend_on_how_many_words_are_hashed_at_a_time(monkeypatch):
    x = torch.randn(50, 40)
    keys = keys_of(x)
    monkeypatch.setattr("featherweight.distillation.cache.keys._PIECE", 64)
    assert torch.equal(keys_of(x), keys)


def test_a_key_depends_on_shape_dtype_and_name():
    x = torch.zeros(1, 2, 6)
    others = [x, x.view(1, 12), x.view(1, 3, 4), x.int(), x.double()[:, :, :3], {"a": x}, {"b": x}, (x, x)]
    assert_all_differ(torch.cat([keys_of(inputs) for inputs in others]))


def test_short_rows_are_not_taken_for_others_with_zeros():
    rows = [torch.zeros(1, n, dtype=torch.uint8) for n in range(20)]
    assert_all_differ(torch.cat([keys_of(row) for row in rows]))
    assert keys_of(torch.zeros(0, 3)).tolist() == keys_of(tokens([], 0)).tolist() == []


def test_each_of_several_inputs_counts_and_they_cannot_be_swapped():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    pairs = [(a, b), (b, a), (a, a), (b, b), (a,)]
    assert_all_differ(torch.cat([keys_of(pair) for pair in pairs]))
    assert torch.equal(keys_of({"x": a, "y": b}), keys_of({"y": b, "x": a}))  # a mapping has no order
    assert torch.equal(keys_of({"x": a, "none": None}), keys_of({"x": a}))
    assert (keys_of({"x": a, "scale": 1.0}) != keys_of({"x": a, "scale": 2.0})).all()
    assert (keys_of({"x": a, "scale": torch.tensor(1)}) != keys_of({"x": a, "scale": torch.tensor(2)})).all()


# Sequences


IDS = [[5, 9, 2], [7], [5, 9, 2, 0], [0], [0, 0]]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_padding_on_the_right_leaves_the_key_as_it_is(dtype):
    short, long = tokens(IDS, 4), tokens(IDS, 11)
    long["input_ids"][long["attention_mask"] == 0] = 99  # whatever is there
    short["attention_mask"] = short["attention_mask"].to(dtype)
    long["attention_mask"] = long["attention_mask"].to(dtype)
    assert torch.equal(keys_of(short), keys_of(long))
    assert_all_differ(keys_of(short))  # a 0 that counts is not padding


def test_other_inputs_of_tokens_count_where_the_mask_is_set():
    plain = tokens(IDS, 5)
    types = {**plain, "token_type_ids": torch.zeros(5, 5, dtype=torch.long)}
    other = {**plain, "token_type_ids": 1 - plain["attention_mask"]}
    one = {**plain, "token_type_ids": plain["attention_mask"]}
    assert torch.equal(keys_of(types), keys_of(other))
    assert (keys_of(types) != keys_of(one)).all()
    embedded = torch.randn(5, 5, 3)
    padded = torch.cat([embedded, torch.randn(5, 2, 3)], 1)
    first, second = tokens(IDS, 5), tokens(IDS, 7)
    first["inputs_embeds"], second["inputs_embeds"] = embedded, padded
    assert torch.equal(keys_of(first), keys_of(second))


def test_images_beside_tokens_count_whole_whatever_their_shape():
    """A picture (n, 5, ...) is not tokens, though the mask is (n, 5)."""
    inputs = tokens(IDS, 5, pixel_values=torch.randn(5, 5, 4, 4))
    other = {**inputs, "pixel_values": inputs["pixel_values"].clone()}
    other["pixel_values"][:, 4] += 1  # where the mask is 0
    assert (keys_of(inputs) != keys_of(other)).all()


def test_a_mask_of_floats_hides_nothing():
    """0 may mean that a token counts."""
    inputs = tokens(IDS, 5)
    inputs["attention_mask"] = torch.zeros(5, 5)
    other = {**inputs, "input_ids": inputs["input_ids"] + 1}
    assert (keys_of(inputs) != keys_of(other)).all()


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"a": 1}, "no tensor"),
        (torch.tensor(3.0), "no tensor"),
        ((torch.zeros(2, 1), torch.zeros(3, 1)), "differ in the number"),
        ({"a": torch.zeros(2, 1), "b": object()}, "'b' is a object"),
    ],
)
def test_inputs_that_have_no_key_are_refused(inputs, what):
    with pytest.raises(DataError, match=what):
        keys_of(inputs)
