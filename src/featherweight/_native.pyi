"""Native parts of featherweight: CPU features, the gap codec's decode loop, and the sparse runtime."""

from typing import Any

import numpy as np
import numpy.typing as npt

def cpu_features() -> dict[str, bool]:
    """What may be executed on this machine: name to flag."""

def gap_positions(gaps: npt.NDArray[np.uint8], elements: int, out: npt.NDArray[np.int64]) -> int:
    """Decode gaps into out (nonzeros,); returns a status, 0 is well formed."""

def gap_scatter(
    gaps: npt.NDArray[np.uint8], values: npt.NDArray[np.uint8], width: int, out: npt.NDArray[np.uint8]
) -> int:
    """Put values of width bytes at the decoded positions of out; returns a status, 0 is well formed."""

class RuntimeFailure(Exception):  # noqa: N818
    """What the native engine refuses: a code, as in native/base/status.h, and a text."""

class Session:
    """A `.fw` file that runs. Calls from several threads wait for each other, without the GIL."""

    def __init__(self, source: str | bytes, threads: int, isa: str | None = None) -> None:
        """Open a path (str) or the bytes of a file; raises RuntimeFailure."""

    @property
    def isa(self) -> str:
        """Instruction set of the kernels: portable, avx2, avx512 or neon."""

    @property
    def threads(self) -> int:
        """How many threads run it."""

    def inputs(self) -> list[tuple[str, str, tuple[int | None, ...]]]:
        """Name, dtype and sizes of each input; None is a size that is not known."""

    def outputs(self) -> list[tuple[str, str, tuple[int | None, ...] | None]]:
        """Name, dtype and sizes of each output; None for sizes, or all sizes, that are not known."""

    def run(self, arrays: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Run with arrays in C order, of the inputs' dtypes; raises RuntimeFailure."""

    def run_into(self, arrays: list[npt.NDArray[Any]], out: list[npt.NDArray[Any]]) -> None:
        """Run with arrays for the outputs, in C order and apart from all others; raises RuntimeFailure."""

    def clone(self, threads: int) -> Session:
        """Another user of the same network, to run at the same time; threads 0: as many as this one."""

    def profile(self, arrays: list[npt.NDArray[Any]], repeats: int) -> list[tuple[str, str, float, int, int]]:
        """Operation, kernel, median milliseconds, MACs and MACs done of each step, in their order."""

    def arena_bytes(self, arrays: list[npt.NDArray[Any]]) -> int:
        """How much memory values take for inputs of these shapes."""
