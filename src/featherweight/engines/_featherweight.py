"""featherweight's own runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featherweight.engines._base import Array, Engine, InputSpec, Loaded, as_arrays, engines


def _load(file: Path, threads: int) -> Loaded:
    from featherweight import runtime

    session = runtime.load(file, threads=threads)

    def run(arrays: Sequence[Array]) -> list[Array]:
        outputs = session.run(*arrays)
        return as_arrays(list(outputs.values()) if isinstance(outputs, dict) else outputs)

    return Loaded(tuple(InputSpec(i.name, i.dtype, i.shape) for i in session.inputs), run)


def _version() -> str:
    import featherweight

    return featherweight.__version__


engines.register("featherweight")(Engine("featherweight", (".fw",), _load, _version))
