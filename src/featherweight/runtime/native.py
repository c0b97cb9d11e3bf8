"""The native engine, with its refusals as this library's exceptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt

from featherweight.artifact.errors import ManifestError
from featherweight.errors import (
    ArtifactError,
    FeatherweightError,
    GraphError,
    InputError,
    SettingError,
    UnsupportedError,
)

try:
    from featherweight import _native  # pyright: ignore[reportMissingModuleSource]
except ImportError:  # not built for this machine
    _native = None

if TYPE_CHECKING:
    from featherweight._native import Session as NativeSession  # pyright: ignore[reportMissingModuleSource]

Array = npt.NDArray[Any]
T = TypeVar("T")

_FAILURE: type[Exception] = Exception if _native is None else _native.RuntimeFailure

# By the codes of native/base/status.h: when a file is opened, and when it runs.
_OPENING: dict[int, type[FeatherweightError]] = {
    1: ManifestError,
    2: ManifestError,
    4: SettingError,
    5: SettingError,
    6: ArtifactError,
    7: ArtifactError,
}
_RUNNING: dict[int, type[FeatherweightError]] = {
    3: InputError,
    4: InputError,
    5: UnsupportedError,
    6: InputError,
}


class NativeEngine:
    """Runs a ``.fw`` file; see ``session.Engine``."""

    def __init__(self, session: NativeSession) -> None:
        self._session = session

    @classmethod
    def opened(cls, source: str | bytes, threads: int, isa: str | None) -> NativeEngine:
        """Open a path, or the bytes of a file."""
        if _native is None:
            raise SettingError(
                "The native engine is not built for this machine. Reinstall featherweight with a compiler of "
                "C++ at hand, or pass isa='reference', which is slow."
            )
        where = repr(source) if isinstance(source, str) else "the network"
        open_session = _native.Session
        return cls(_called(lambda: open_session(source, threads, isa), _OPENING, f"{where}: "))

    def clone(self, threads: int | None) -> NativeEngine:
        """Return another user of the same network."""
        return NativeEngine(_called(lambda: self._session.clone(threads or 0), _OPENING))

    @property
    def isa(self) -> str:
        """Instruction set of the kernels."""
        return self._session.isa

    @property
    def threads(self) -> int:
        """How many threads run it."""
        return self._session.threads

    def inputs(self) -> Sequence[tuple[str, str, Sequence[int | None]]]:
        """Return name, dtype and sizes of each input."""
        return self._session.inputs()

    def outputs(self) -> Sequence[tuple[str, str, Sequence[int | None] | None]]:
        """Return name, dtype and sizes of each output."""
        return self._session.outputs()

    def run(self, arrays: list[Array]) -> list[Array]:
        """Return the outputs in their order."""
        return _called(lambda: self._session.run(arrays), _RUNNING)

    def run_into(self, arrays: list[Array], out: list[Array]) -> None:
        """Write the outputs into arrays of theirs."""
        _called(lambda: self._session.run_into(arrays, out), _RUNNING)

    def profile(self, arrays: list[Array], repeats: int) -> Sequence[tuple[str, str, float, int, int]]:
        """Return operation, kernel, median milliseconds, MACs and MACs done of each step."""
        return _called(lambda: self._session.profile(arrays, repeats), _RUNNING)


def _called(call: Callable[[], T], errors: dict[int, type[FeatherweightError]], where: str = "") -> T:
    try:
        return call()
    except _FAILURE as failure:
        code, text = failure.args
        raise errors.get(code, GraphError)(where + text) from failure
