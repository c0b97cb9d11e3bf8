"""Functions of one number."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from featherweight.runtime.activation import Activation
from featherweight.runtime.reference.kernel import Array

_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _hard_sigmoid(x: Array, slope: float, offset: float) -> Array:
    return np.clip(slope * x + offset, 0, 1)


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _clip(x: Array, low: float, high: float) -> Array:
    return np.minimum(np.maximum(x, low), high)


def _leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x >= 0, x, slope * x)


def _hard_swish(x: Array) -> Array:
    return x * _hard_sigmoid(x, 1 / 6, 0.5)


def _silu(x: Array) -> Array:
    return x * sigmoid(x)


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + _erf(x / math.sqrt(2)))


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(x, 0)


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "relu": _relu,
    "clip": _clip,
    "leaky_relu": _leaky_relu,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "neg": np.negative,
    "erf": _erf,
    "elu": _elu,
    "softplus": _softplus,
}


def activate(x: Array, activation: Activation) -> Array:
    """Return the activation of every element."""
    return FUNCTIONS[activation.kind](x, *activation.parameters)
