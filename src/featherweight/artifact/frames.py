"""Compressed frames: bytes in, the shortest of three forms out.

A plane of n bytes is stored as 1 byte (all n are that byte), as n bytes (raw), or as a zstd frame of any
other length. So the length alone, which the manifest holds, tells the form.

Gaps and values are nearly independent symbols: what can be had is a Huffman code, and every "match" that zstd
finds in them is chance and costs more than it saves. ``_SYMBOLS`` therefore asks for matches of 7 bytes and
more only (measured on gaps of a 90% sparse tensor: 1.2% above the entropy limit at 420 MB/s; level 3 is 8.5%
above, level 19 1.35% at 3 MB/s). Where little is at stake, or much repeats, level 19 is tried as well.
"""

from __future__ import annotations

import numpy as np
import zstandard

from featherweight.artifact.array import Bytes
from featherweight.artifact.errors import FrameError

_SYMBOLS = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_DFAST, min_match=7, window_log=20, hash_log=16, chain_log=16, search_log=1
)
_SMALL = 1 << 16  # bytes up to which level 19 is tried too
_REPETITIVE = 0.125  # compressed to raw below which level 19 is tried too


def compress(raw: bytes) -> bytes:
    """Return the shortest form of ``raw``; see the head of this file."""
    if not raw or raw.count(raw[:1]) == len(raw):
        return raw[:1]
    best = zstandard.ZstdCompressor(compression_params=_SYMBOLS).compress(raw)
    if len(raw) <= _SMALL or len(best) < _REPETITIVE * len(raw):
        best = min(best, zstandard.ZstdCompressor(level=19).compress(raw), key=len)
    return best if len(best) < len(raw) else raw


def decompress(frame: bytes | memoryview, size: int, where: str) -> Bytes:
    """Return the ``size`` bytes that ``compress`` made ``frame`` of, (size,) uint8.

    Raises:
        FrameError: the frame does not say that it holds ``size`` bytes, is damaged, or something follows it.
            What it says is looked at before anything is allocated.
    """
    if len(frame) == size:
        return np.frombuffer(frame, np.uint8)
    if len(frame) == 1 and size:
        return np.full(size, frame[0], np.uint8)
    return np.frombuffer(decompress_zstd(frame, size, where), np.uint8)


def decompress_zstd(frame: bytes | memoryview, size: int, where: str) -> bytes:
    """Return the contents of one zstd frame that must hold exactly ``size`` bytes."""
    claimed = frame_size(frame, where)
    if claimed != size:
        raise FrameError(
            f"{where}: the zstd frame says {claimed} bytes, expected {size}. The file is damaged."
        )
    try:
        raw = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FrameError(f"{where}: the zstd frame is damaged ({error}).") from error
    if len(raw) != size:
        raise FrameError(f"{where}: the zstd frame held {len(raw)} bytes, expected {size}.")
    return raw


def frame_size(frame: bytes | memoryview, where: str) -> int:
    """Return the content size that a zstd frame states; FrameError if it is no frame or states none."""
    try:
        size = zstandard.frame_content_size(frame)
    except zstandard.ZstdError as error:
        raise FrameError(f"{where}: not a zstd frame ({error}).") from error
    if size < 0:
        raise FrameError(f"{where}: the zstd frame does not state its content size, which it must.")
    return size
