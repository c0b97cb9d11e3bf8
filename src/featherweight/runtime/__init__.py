"""The sparse runtime: a compressed network, run fast on a CPU, without PyTorch.

``load`` opens a ``.fw`` file; importing this module imports neither torch nor onnx.
"""

from featherweight.runtime.profile import OperationTime, RunProfile
from featherweight.runtime.session import Session, load

__all__ = ["OperationTime", "RunProfile", "Session", "load"]
