"""``featherweight.compile``: the one place that knows both the exporter and the runtime."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from featherweight.errors import OnnxError, SettingError
from featherweight.runtime.session import Session


def compile(
    network: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    example_inputs: Any = None,
    threads: int | None = None,
    isa: str | None = None,
    tune: bool = True,
) -> Session:
    """Make a network ready for the sparse runtime, and write it to a ``.fw`` file.

    Every layer gets the kernel that is faster on this machine, by measuring: none is slower for being sparse.

    Args:
        network: the path of an ``.onnx`` file, its bytes, an onnx.ModelProto, or a torch.nn.Module.
        out: the ``.fw`` file, which ``featherweight.runtime.load`` opens without torch; None: no file.
        example_inputs: for a torch model, what it is exported with. For all, what kernels are measured
            with: an array, a tuple of arrays or a mapping by name; without it random numbers, batch 1.
        threads: how many threads will run it; by default as many as this process may use.
        isa: the instruction set; by default the best that the processor has.
        tune: False measures nothing: layers with many zeros get a sparse kernel.

    Returns:
        A session: ``session.run(x)``.

    Raises:
        OnnxError: the network cannot be read.
        UnsupportedError: the runtime lacks some of its operators: all are listed, and nothing is written.
        SettingError: a torch model comes without example inputs.

    Warns:
        UserWarning: a torch model holds for one batch size only, and so does the file.
    """
    from featherweight.runtime.compiling import compile_onnx

    options: dict[str, Any] = {"threads": threads, "isa": isa, "tune": tune}
    if not hasattr(network, "state_dict"):
        return compile_onnx(network, out, example_inputs=example_inputs, **options)
    if example_inputs is None:
        raise SettingError(f"compile: {type(network).__name__} is a torch model: give example_inputs too.")
    from featherweight.export.inputs import as_arrays

    with tempfile.TemporaryDirectory() as folder:
        path = _exported(network, example_inputs, Path(folder) / "network.onnx")
        return compile_onnx(path, out, example_inputs=as_arrays(example_inputs), **options)


def _exported(model: Any, example_inputs: Any, path: Path) -> Path:
    """Export a torch model with its batch size free; where it holds for one size only, warn."""
    from featherweight.export import export_onnx

    try:
        export_onnx(model, example_inputs, path)
    except (OnnxError, SettingError) as error:
        export_onnx(model, example_inputs, path, dynamic_batch=False)
        warnings.warn(
            f"compile: {type(model).__name__} runs with the batch size of the example inputs only, since "
            f"with a free one: {error}",
            stacklevel=3,
        )
    return path
