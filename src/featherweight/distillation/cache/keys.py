"""A 64-bit key of each example of a batch, from the bits of its inputs.

An input of an example is a row of 64-bit words w_1 ... w_m (its bytes in order, zeros up to a whole word).
With fixed random odd numbers a_i, all modulo 2^64::

    key(row)     = sum over i of a_i * mix(w_i)
    mix(w)       = fold29(C2 * fold32(C1 * (w + C0)))    where fold_s(z) = z xor (z >> s), unsigned
    key(example) = sum over its inputs of o * (key(row) + s)    o odd, s random, from name, dtype and shape

``mix`` is a bijection, and so is a product with an odd number: two examples that differ in a single word
never share a key. Any two others share it with a chance of about 2^-64, so that N examples have a collision
with N^2 / 2^65: 4e-8 for 1.2 million. Without ``mix``, words that differ in their high bits only (signs, ones
among zeros) would have differences with many trailing zeros, and those are lost in the sum.

Where a mapping has an attention mask (n, tokens), it and the inputs of each token (ids, types, positions,
embeddings) are covered only where it is not zero, and whole numbers by value: padding on the right, of any
length, leaves the key as it is. The numbers are part of the cache's format: a change here is a new version.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from featherweight.errors import DataError

_MASK = "attention_mask"
_OF_TOKENS = (_MASK, "input_ids", "token_type_ids", "position_ids", "inputs_embeds")
_C0, _C1, _C2 = 0x1F83D9ABFB41BD6B, 0x5851F42D4C957F2D, 0x14057B7EF767814F  # any odd numbers with mixed bits
_SEED = 20201
_PIECE = 1 << 19  # words hashed at a time: what is computed in between stays within the caches
_multipliers: dict[torch.device, Tensor] = {}


@torch.no_grad()
def keys_of(inputs: Any) -> Tensor:
    """Return the key of each example, (n,) int64, on the device of ``inputs``.

    Args:
        inputs: what a network is given of a batch: a tensor (n, ...), a tuple or list of them, or a mapping
            of names to them; numbers, strings and None in it are taken to hold for every example.

    Raises:
        DataError: there is no tensor among them, they differ in n, or an input is of another type.
    """
    named = dict(_named(inputs))
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor) and value.ndim}
    count, mask = _count(tensors), mask_of(inputs)
    total = next(iter(tensors.values())).new_zeros(count, dtype=torch.int64)
    for name, value in named.items():
        if name in tensors:
            total += _keys_of_tensor(name, tensors[name], mask)
        elif value is not None:
            total += _numbers(f"{name} {_constant(name, value)}")[1]
    return total


def mask_of(inputs: Any) -> Tensor | None:
    """Return the mask (n, tokens) in ``inputs``, not zero where a token counts; None where there is none."""
    if not isinstance(inputs, Mapping):
        return None
    mask = cast("Mapping[str, Any]", inputs).get(_MASK)
    fits = isinstance(mask, Tensor) and mask.ndim == 2 and _is_whole(mask)  # of others 0 may mean "counts"
    return mask if fits else None


def _is_whole(value: Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex())


def _named(inputs: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the parts of ``inputs`` under names that do not depend on the order of a mapping."""
    if isinstance(inputs, Mapping):
        entries = cast("Mapping[str, Any]", inputs)
        parts = [(str(key), entries[key]) for key in sorted(entries, key=str)]
    elif isinstance(inputs, (tuple, list)):
        parts = [(str(number), part) for number, part in enumerate(cast("Sequence[Any]", inputs))]
    else:
        yield name, inputs
        return
    for key, part in parts:
        yield from _named(part, f"{name}/{key}" if name else key)


def _count(tensors: Mapping[str, Tensor]) -> int:
    counts = {name: len(value) for name, value in tensors.items()}
    if not counts:
        raise DataError("The inputs of a batch have no tensor (n, ...) to find examples by.")
    if len(set(counts.values())) > 1:
        raise DataError(f"The inputs of a batch differ in the number of examples (first size): {counts}.")
    return next(iter(counts.values()))


def _constant(name: str, value: Any) -> str:
    """Return an input that is not per example in words."""
    if isinstance(value, Tensor):
        return repr(value.item())
    if isinstance(value, (bool, int, float, str)):
        return repr(value)
    raise DataError(
        f"The input {name!r} is a {type(value).__name__}; a cache finds examples by tensors (n, ...), "
        f"numbers and strings. Leave it out of the batch, or train without a cache."
    )


def _keys_of_tensor(name: str, value: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None and name in _OF_TOKENS and value.shape[:2] == mask.shape:
        value = value.long() if _is_whole(value) else value
        covered, kind = mask != 0, f"{name} {value.dtype} tokens {tuple(value.shape[2:])}"
        words = _words(value, mask.shape[1])
    else:
        covered, kind = None, f"{name} {value.dtype} {tuple(value.shape[1:])}"
        words = _words(value, 1)
    odd, shift = _numbers(kind)
    return _sums(words, covered).add_(shift).mul_(odd)


def _words(value: Tensor, tokens: int) -> Tensor:
    """Return the bytes of (n, ...) as (n, tokens, words) of int64, each token's padded with zeros."""
    count = len(value)
    if not value.numel():
        return value.new_zeros((count, tokens, 0), dtype=torch.int64)
    raw = value.contiguous().view(-1).view(torch.uint8).view(count, tokens, -1)
    if rest := -raw.shape[-1] % 8:
        raw = torch.nn.functional.pad(raw, (0, rest))
    elif raw.storage_offset() % 8:
        raw = raw.clone()
    return raw.view(-1).view(torch.int64).view(count, tokens, -1)


def _sums(words: Tensor, covered: Tensor | None) -> Tensor:
    """Return the sum over the words (n, tokens, words) of each row, where its token is covered."""
    count, tokens, width = words.shape
    factors = _factors(tokens * width, words.device)
    rows = max(1, _PIECE // max(1, tokens * width))
    sums: list[Tensor] = []
    for start in range(0, count, rows):
        mixed = _mix(words[start : start + rows]).flatten(1).mul_(factors)
        if covered is not None:
            mixed = mixed.view(-1, tokens, width).mul_(covered[start : start + rows, :, None]).flatten(1)
        sums.append(mixed.sum(1))
    return torch.cat(sums) if sums else words.new_zeros(0)


def _mix(words: Tensor) -> Tensor:
    mixed = words.add(_C0).mul_(_C1)
    mixed ^= (mixed >> 32).bitwise_and_((1 << 32) - 1)  # the shift of int64 drags the sign along
    mixed.mul_(_C2)
    mixed ^= (mixed >> 29).bitwise_and_((1 << 35) - 1)
    return mixed


def _factors(count: int, device: torch.device) -> Tensor:
    """Return the first ``count`` odd numbers, the same on every machine."""
    kept = _multipliers.get(device)
    if kept is None or len(kept) < count:
        raw = np.random.PCG64(_SEED).random_raw(max(1024, 1 << (count - 1).bit_length()) if count else 1024)
        kept = torch.from_numpy((raw | np.uint64(1)).view(np.int64)).to(device)
        _multipliers[device] = kept
    return kept[:count]


@functools.lru_cache(256)
def _numbers(text: str) -> tuple[int, int]:
    """Return an odd number and another one, both in int64, that belong to ``text``."""
    raw = np.random.PCG64(zlib.crc32(text.encode())).random_raw(2).view(np.int64)
    return int(raw[0]) | 1, int(raw[1])
