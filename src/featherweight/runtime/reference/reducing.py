"""What goes along axes."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.reference.kernel import Array, Run, kernels


@kernels.register("reduce_mean")
def reduce_mean(run: Run) -> Array:
    """The mean."""
    return run.inputs[0].mean(axis=run.attributes["axes"], keepdims=run.attributes["keep"])


@kernels.register("softmax")
def softmax(run: Run) -> Array:
    """exp(x) by its sum, the largest taken off first."""
    x, axis = run.inputs[0], run.attributes["axis"]
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@kernels.register("log_softmax")
def log_softmax(run: Run) -> Array:
    """The logarithm of softmax, without a quotient that could be 0."""
    x, axis = run.inputs[0], run.attributes["axis"]
    x = x - x.max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


@kernels.register("normalize")
def normalize(run: Run) -> Array:
    """(x - mean) / sqrt(variance + epsilon)."""
    x, axis = run.inputs[0], run.attributes["axis"]
    variance = x.var(axis=axis, keepdims=True)
    return (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(variance + run.attributes["epsilon"])


@kernels.register("arg_max")
def arg_max(run: Run) -> Array:
    """The first of the largest."""
    return np.asarray(np.argmax(run.inputs[0], axis=run.attributes["axis"], keepdims=run.attributes["keep"]))
