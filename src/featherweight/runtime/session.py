"""Arrays in, arrays out: a ``.fw`` file that runs."""

from __future__ import annotations

import operator
import os
import stat
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from featherweight.errors import ArtifactError, SettingError
from featherweight.runtime import arrays
from featherweight.runtime.graph import Graph, Input
from featherweight.runtime.profile import OperationTime, RunProfile

Array = npt.NDArray[Any]
REFERENCE = "reference"
_MOST_THREADS = 1024  # of a session: native/plan/session.cc


class Engine(Protocol):
    """What runs a network: the native engine, or the naive reference."""

    @property
    def isa(self) -> str:
        """Instruction set of the kernels."""
        ...

    @property
    def threads(self) -> int:
        """How many threads run it."""
        ...

    def inputs(self) -> Sequence[tuple[str, str, Sequence[int | None]]]:
        """Return name, dtype and sizes of each input."""
        ...

    def outputs(self) -> Sequence[tuple[str, str, Sequence[int | None] | None]]:
        """Return name, dtype and sizes of each output; None for sizes, or all sizes, that are not known."""
        ...

    def run(self, arrays: list[Array]) -> list[Array]:
        """Return the outputs in their order."""
        ...

    def run_into(self, arrays: list[Array], out: list[Array]) -> None:
        """Write the outputs into arrays of theirs."""
        ...

    def clone(self, threads: int | None) -> Engine:
        """Return another user of the same network; by default with as many threads."""
        ...

    def profile(self, arrays: list[Array], repeats: int) -> Sequence[tuple[str, str, float, int, int]]:
        """Return operation, kernel, median milliseconds, MACs and MACs done of each step."""
        ...


class Session:
    """A network that is ready to run; make one with ``load`` or ``featherweight.compile``.

    Calls from several threads wait for each other: give each thread a ``clone`` of its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs = tuple(Input(name, tuple(shape), dtype) for name, dtype, shape in engine.inputs())
        self.output_names = tuple(name for name, _, _ in engine.outputs())

    @property
    def isa(self) -> str:
        """Instruction set of the kernels."""
        return self._engine.isa

    @property
    def threads(self) -> int:
        """How many threads run it."""
        return self._engine.threads

    def clone(self, threads: int | None = None) -> Session:
        """Return another session of the same network, which may run at the same time as this one.

        It has memory and threads of its own; the file and the packed weights are shared.

        Args:
            threads: how many threads run it; by default as many as this one has.

        Raises:
            SettingError: threads is no whole number from 1 to 1024.
        """
        return Session(self._engine.clone(None if threads is None else _threads(threads)))

    def run(self, *inputs: Any, out: Any = None) -> Any:
        """Run the network.

        Args:
            inputs: arrays in the order of ``self.inputs``, or one mapping of names to arrays. numpy arrays,
                and tensors of any library that speaks DLPack, are read where they are if in C order.
            out: a numpy array to write the output to, in C order, that shares no memory with an input; where
                the network has several outputs, a mapping of names to such arrays.

        Returns:
            The output as a numpy array; where the network has several, a dict of them by name, in order.

        Raises:
            InputError: an input or an array of ``out`` is missing, or has another dtype or shape than the
                network takes or gives.
        """
        given = self._checked(inputs)
        if out is None:
            results = self._engine.run(given)
        else:
            results = arrays.writable(out, self.output_names)
            self._engine.run_into(given, results)
        return results[0] if len(results) == 1 else dict(zip(self.output_names, results, strict=True))

    __call__ = run

    def profile(self, *inputs: Any, repeats: int = 20) -> RunProfile:
        """Return the milliseconds of each operation.

        Args:
            inputs: as for ``run``; without any, random numbers, with 1 for sizes that are not known.
            repeats: how many runs are timed, after one that is not.
        """
        if repeats < 1:
            raise SettingError(f"repeats must be 1 or more, got {repeats}.")
        given = self._checked(inputs) if inputs else self.example()
        rows = self._engine.profile(given, repeats)
        return RunProfile(tuple(OperationTime(*row) for row in rows), self.isa, self.threads, repeats)

    def example(self) -> list[Array]:
        """Return random inputs, with 1 for sizes that are not known."""
        source = np.random.default_rng(0)
        return [
            source.standard_normal([size or 1 for size in value.shape]).astype(value.dtype)
            for value in self.inputs
        ]

    def _checked(self, inputs: tuple[Any, ...]) -> list[Array]:
        given = arrays.by_name(inputs, self.inputs)
        return [arrays.checked(value, expected) for value, expected in zip(given, self.inputs, strict=True)]

    def __repr__(self) -> str:
        shapes = ", ".join(
            f"{value.name} {tuple('any' if size is None else size for size in value.shape)}"
            for value in self.inputs
        )
        return f"Session({shapes} -> {', '.join(self.output_names)}; {self.isa}, {self.threads} thread(s))"


def load(path: str | os.PathLike[str], threads: int | None = None, isa: str | None = None) -> Session:
    """Open a ``.fw`` file.

    Args:
        path: the file.
        threads: how many threads run it; by default as many as this process may use.
        isa: the instruction set of the kernels; by default the best that the processor has, or that of
            FEATHERWEIGHT_ISA. "reference" is the naive reference in numpy, to compare with.

    Raises:
        ArtifactError: no such file, or one that is no well-formed ``.fw`` file.
        SettingError: threads is no whole number from 1 to 1024, or this machine has no such instructions.
    """
    threads = _threads(threads)
    if isa == REFERENCE:
        from featherweight.runtime import fwfile
        from featherweight.runtime.reference.engine import ReferenceEngine

        return Session(ReferenceEngine(fwfile.read(path)))
    _check_is_file(path)
    return Session(_native_engine(os.fspath(path), threads, isa))


def _check_is_file(path: str | os.PathLike[str]) -> None:
    where = repr(os.fspath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise ArtifactError(f"{where}: there is no such file.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise ArtifactError(f"{where}: cannot be read: {getattr(error, 'strerror', error)}.") from error
    if stat.S_ISDIR(mode):
        raise ArtifactError(f"{where}: it is a folder. Give the name of a .fw file in it.")
    if not stat.S_ISREG(mode):
        raise ArtifactError(f"{where}: it is a device or a pipe. Give the name of a .fw file.")


def of_graph(graph: Graph, threads: int | None = None, isa: str | None = None) -> Session:
    """Return a session of a Graph, without a file."""
    if isa == REFERENCE:
        from featherweight.runtime.reference.engine import ReferenceEngine

        return Session(ReferenceEngine(graph))
    from featherweight.runtime import fwfile

    return Session(_native_engine(fwfile.to_bytes(graph), _threads(threads), isa))


def _threads(threads: int | None) -> int:
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        number = -1 if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = -1
    if not 1 <= number <= _MOST_THREADS:
        raise SettingError(f"threads must be a whole number from 1 to {_MOST_THREADS}, got {threads!r}.")
    return number


def _native_engine(source: str | bytes, threads: int, isa: str | None) -> Engine:
    from featherweight.runtime.native import NativeEngine

    return NativeEngine.opened(source, threads, isa)
