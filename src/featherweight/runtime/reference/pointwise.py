"""What is done to every element by itself; activations follow in run()."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featherweight.runtime.reference.kernel import Array, Kernel, Run, kernels


def _binary(function: Callable[[Array, Array], Array]) -> Kernel:
    def kernel(run: Run) -> Array:
        a, b = (*run.inputs, *run.constants.values())
        return function(b, a) if run.attributes["swapped"] else function(a, b)

    return kernel


kernels.register("add")(_binary(np.add))
kernels.register("sub")(_binary(np.subtract))
kernels.register("mul")(_binary(np.multiply))
kernels.register("div")(_binary(np.divide))


@kernels.register("unary")
def unary(run: Run) -> Array:
    """All that it does is its activation."""
    return run.inputs[0]


@kernels.register("affine")
def affine(run: Run) -> Array:
    """A scale and a shift for each channel."""
    x = run.inputs[0]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return x * run.constants["scale"].reshape(shape) + run.constants["shift"].reshape(shape)


@kernels.register("cast")
def cast(run: Run) -> Array:
    """Fractions are cut off."""
    return run.inputs[0].astype(run.attributes["dtype"])
