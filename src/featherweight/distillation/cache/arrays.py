"""Arrays on disk that grow by rows: .npy files whose header is rewritten when they are done."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from featherweight.errors import DataError

HEADER = 256  # bytes, whatever the number of rows: it is told at the end


def path_of(folder: Path, name: str) -> Path:
    """Return the file of the array ``name``."""
    return folder / f"{name}.npy"


class GrowingArray:
    """An .npy file that rows are appended to."""

    def __init__(
        self, path: Path, dtype: str, shape: tuple[int, ...], rows: int = 0, checksum: int = 0
    ) -> None:
        """Open the file, and cut off what was written after its first ``rows`` rows.

        Args:
            path: the file; it is made where ``rows`` is 0.
            dtype: of the numbers, such as "<f2".
            shape: of a row.
            rows: that it has and that stay.
            checksum: their CRC-32.

        Raises:
            DataError: it has fewer rows.
        """
        self.path, self.dtype, self.shape = path, np.dtype(dtype), shape
        self.rows, self.checksum = rows, checksum
        self._row_bytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        self._file: IO[bytes] = path.open("r+b" if rows else "w+b")
        wanted = HEADER + rows * self._row_bytes
        if self._file.seek(0, os.SEEK_END) < wanted and rows:
            self._file.close()
            raise DataError(f"{str(path)!r} is shorter than the {rows} rows that were written to it.")
        self._file.truncate(wanted)
        self._file.seek(wanted)

    def append(self, rows: np.ndarray[Any, Any]) -> None:
        """Append ``rows`` (n, ...), of the array's dtype."""
        data = np.ascontiguousarray(rows, self.dtype).data.cast("B") if rows.size else b""
        self._file.write(data)
        self.checksum = zlib.crc32(data, self.checksum)
        self.rows += len(rows)

    def read(self) -> np.ndarray[Any, Any]:
        """Return all rows; raises DataError where their checksum does not match."""
        self._file.seek(HEADER)
        data = self._file.read()
        if zlib.crc32(data) != self.checksum:
            raise DataError(f"The checksum of {str(self.path)!r} does not match.")
        return np.frombuffer(data, self.dtype).reshape(self.rows, *self.shape)

    def sync(self) -> None:
        """Have the rows on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the header: the file is a whole .npy file then."""
        self._file.seek(0)
        self._file.write(header(self.dtype, (self.rows, *self.shape)))
        self.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of an .npy file, format 1.0, of HEADER bytes."""
    text = repr({"descr": dtype.str, "fortran_order": False, "shape": shape})
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + text.ljust(HEADER - 11).encode() + b"\n"


def mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return the array in the file, memory-mapped and read-only.

    Raises:
        DataError: it is missing, damaged, or not of this type and shape.
    """
    wanted = HEADER + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        size = path.stat().st_size
        if size != wanted:
            raise ValueError(f"{size} bytes, expected {wanted}")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DataError(f"{str(path)!r} is missing or damaged ({error}).") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise DataError(f"{str(path)!r} is {array.dtype} {array.shape}, expected {dtype} {shape}.")
    return array
