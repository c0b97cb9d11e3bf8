"""Streams: elements of one width from many tensors, cut into chunks, each chunk into byte planes.

Plane p of a chunk holds byte p of each of its elements, so that sign, exponent and the top of the
mantissa, which have structure, are coded apart from the lower mantissa, which has none and is stored raw.
Every plane is a frame of its own (frames.py), of at most 1 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featherweight.artifact import frames
from featherweight.artifact.array import Bytes

CHUNK = 1 << 20  # elements
WIDTHS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Stream:
    """A stream as the manifest describes it.

    Attributes:
        width: bytes per element.
        elements: number of elements.
        frames: bytes of each frame on disk; chunk by chunk, in a chunk from the lowest byte's plane up.
    """

    width: int
    elements: int
    frames: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded stream."""
        return self.width * self.elements

    @property
    def stored(self) -> int:
        """Bytes on disk."""
        return sum(self.frames)


def frame_count(width: int, elements: int) -> int:
    """Return how many frames a stream of ``elements`` of ``width`` bytes has."""
    return width * -(-elements // CHUNK)


def encode(data: Bytes, width: int) -> list[bytes]:
    """Return the frames of a stream whose elements are ``data`` (elements * width,)."""
    elements = data.reshape(-1, width)
    return [
        frames.compress(elements[start : start + CHUNK, plane].tobytes())
        for start in range(0, len(elements), CHUNK)
        for plane in range(width)
    ]


def decode(stream: Stream, stored: memoryview, where: str) -> Bytes:
    """Return the elements (elements * width,) of a stream whose frames follow each other in ``stored``.

    Raises FrameError. ``stored`` has ``stream.stored`` bytes, and the number of frames has been checked.
    """
    out = np.empty((stream.elements, stream.width), np.uint8)
    at = 0
    for number, length in enumerate(stream.frames):
        chunk, plane = divmod(number, stream.width)
        rows = out[chunk * CHUNK : (chunk + 1) * CHUNK, plane]
        rows[:] = frames.decompress(stored[at : at + length], rows.size, f"{where}, frame {number}")
        at += length
    return out.reshape(-1)
