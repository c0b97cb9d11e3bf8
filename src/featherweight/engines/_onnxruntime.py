"""ONNX Runtime, on its CPU provider, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherweight.engines._base import Array, Engine, InputSpec, Loaded, as_arrays, engines, sizes

_DTYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool"}


def _load(file: Path, threads: int) -> Loaded:
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session: Any = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = tuple(InputSpec(i.name, _dtype(i.type), sizes(i.shape)) for i in session.get_inputs())

    def run(arrays: Sequence[Array]) -> list[Array]:
        return as_arrays(session.run(None, {i.name: a for i, a in zip(inputs, arrays, strict=True)}))

    return Loaded(inputs, run)


def _dtype(name: str) -> str:
    return _DTYPES.get(name, name.removeprefix("tensor(").removesuffix(")"))


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


engines.register("onnxruntime")(Engine("ONNX Runtime", (".onnx",), _load, _version))
