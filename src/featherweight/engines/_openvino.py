"""OpenVINO on the CPU, for latency, in fp32: left alone it would take bf16 where the processor has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherweight.engines._base import Array, Engine, InputSpec, Loaded, as_arrays, engines

_SETTINGS = {"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def _load(file: Path, threads: int) -> Loaded:
    import openvino  # pyright: ignore[reportMissingImports]

    settings = _SETTINGS | {"INFERENCE_NUM_THREADS": threads}
    compiled: Any = openvino.Core().compile_model(str(file), "CPU", settings)  # pyright: ignore
    request: Any = compiled.create_infer_request()

    def run(arrays: Sequence[Array]) -> list[Array]:
        results = request.infer(list(arrays), share_inputs=True, share_outputs=True)
        return as_arrays([results[output] for output in compiled.outputs])

    return Loaded(tuple(_spec(port) for port in compiled.inputs), run)


def _spec(port: Any) -> InputSpec:
    shape = tuple(None if d.is_dynamic else d.get_length() for d in port.get_partial_shape())
    return InputSpec(port.get_any_name(), port.get_element_type().to_dtype().name, shape)


def _version() -> str:
    import openvino  # pyright: ignore[reportMissingImports]

    return str(openvino.__version__)  # pyright: ignore


engines.register("openvino")(Engine("OpenVINO", (".onnx", ".xml"), _load, _version))
