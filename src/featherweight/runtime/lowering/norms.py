"""Normalisation: where it cannot be folded it is an affine, or the mean and variance written out."""

from __future__ import annotations

import numpy as np

from featherweight.runtime.lowering.builder import Array, Builder
from featherweight.runtime.lowering.node import Node, handles


@handles("BatchNormalization")
def batch_norm(node: Node, build: Builder) -> None:
    """Scale (x - mean) / sqrt(variance + epsilon) + bias is one scale and one shift a channel."""
    if node.get("training_mode", 0):
        raise node.refuse("it is exported as training; export the network in evaluation mode")
    roles = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (
        build.weights(name, role).astype(np.float64)
        for name, role in zip(node.inputs[1:5], roles, strict=True)
    )
    scale = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    build.emit("affine", [node.input(0)], node.output, {"scale": scale, "shift": bias - mean * scale})


def standardized(build: Builder, x: str, axes: tuple[int, ...], epsilon: float, center: bool = True) -> str:
    """Add (x - mean) / sqrt(variance + epsilon) over ``axes``; without the mean for not ``center``."""
    if center:
        x = build.emit("sub", [x, build.emit("reduce_mean", [x], axes=axes, keep=True)])
    variance = build.emit("reduce_mean", [build.emit("mul", [x, x])], axes=axes, keep=True)
    root = build.unary("sqrt", build.emit("add", [variance], constants={"b": np.asarray(epsilon)}))
    return build.emit("div", [x, root])


@handles("LayerNormalization", "RMSNormalization")
def layer_norm(node: Node, build: Builder) -> None:
    """Over all axes from ``axis`` on."""
    x = node.input(0)
    rank = len(build.shape(x))
    axes = tuple(range(node.axis(node.get("axis", -1), rank), rank))
    epsilon = node.get("epsilon", 1e-5)
    _moments(node, build, x, axes, epsilon)
    normal = standardized(build, x, axes, epsilon, center=node.op == "LayerNormalization")
    bias = build.weights(node.input(2), "bias") if node.input(2) else None
    scale = build.weights(node.input(1), "scale")
    _scaled(build, normal, scale, bias, node.output)


def _moments(node: Node, build: Builder, x: str, axes: tuple[int, ...], epsilon: float) -> None:
    """Add the mean and 1 / deviation, the second and third output, where they are asked for."""
    wanted = (*node.outputs[1:3], "", "")[:2]
    if not any(wanted):
        return
    mean = build.emit("reduce_mean", [x], wanted[0] or None, axes=axes, keep=True)
    if wanted[1]:
        centered = build.emit("sub", [x, mean])
        variance = build.emit("reduce_mean", [build.emit("mul", [centered, centered])], axes=axes, keep=True)
        root = build.unary("sqrt", build.emit("add", [variance], constants={"b": np.asarray(epsilon)}))
        build.emit("div", [root], wanted[1], {"b": np.asarray(1.0)}, swapped=True)


@handles("InstanceNormalization")
def instance_norm(node: Node, build: Builder) -> None:
    """Each channel of each image."""
    x = node.input(0)
    normal = standardized(build, x, tuple(range(2, len(build.shape(x)))), node.get("epsilon", 1e-5))
    scale, shift = build.weights(node.input(1), "scale"), build.weights(node.input(2), "bias")
    build.emit("affine", [normal], node.output, {"scale": scale, "shift": shift})


@handles("GroupNormalization")
def group_norm(node: Node, build: Builder) -> None:
    """Each group of channels of each image."""
    x, groups = node.input(0), node.get("num_groups", 1)
    shape = build.shape(x)
    grouped = build.reshape(x, [0, groups, -1])
    normal = build.reshape_to(standardized(build, grouped, (2,), node.get("epsilon", 1e-5)), shape)
    scale, shift = build.weights(node.input(1), "scale"), build.weights(node.input(2), "bias")
    build.emit("affine", [normal], node.output, {"scale": scale, "shift": shift})


def _scaled(build: Builder, x: str, scale: Array, bias: Array | None, output: str) -> None:
    made = build.emit("mul", [x], output if bias is None else None, {"b": scale})
    if bias is not None:
        build.emit("add", [made], output, {"b": bias})
