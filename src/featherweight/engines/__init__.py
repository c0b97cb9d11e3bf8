"""What runs a network file on this machine: featherweight's own runtime and those it is compared with."""

from featherweight.engines import _featherweight, _onnxruntime, _openvino, _torch
from featherweight.engines._base import Engine, InputSpec, Loaded, engines
from featherweight.engines.turns import REST, Spread, in_turns

__all__ = ["REST", "Engine", "InputSpec", "Loaded", "Spread", "engines", "in_turns"]

del _featherweight, _onnxruntime, _openvino, _torch  # imported to be registered
