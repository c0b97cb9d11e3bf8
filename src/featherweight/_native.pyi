"""Native parts of featherweight: CPU features and the gap codec's decode loop."""

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
