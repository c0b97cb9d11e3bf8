"""What a reference kernel is: a function of attributes and arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy.typing as npt

from featherweight._registry import Registry

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Run:
    """The arrays of one operation, float64 where they are floats."""

    attributes: Mapping[str, Any]
    inputs: Sequence[Array]
    constants: Mapping[str, Array]


Kernel: TypeAlias = Callable[[Run], Array]
kernels: Registry[Kernel] = Registry("reference kernel")
