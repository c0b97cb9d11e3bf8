"""The network that a command works on: one of the zoo, or one that the user's own factory makes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from featherweight.cli.resolve import call_factory, is_factory, name_and_options
from featherweight.core.fingerprint import fingerprint as whole_fingerprint
from featherweight.errors import ModelError, SettingError, UnknownNameError
from featherweight.structured.checkpoint import load
from featherweight.zoo import build, load_model, network_names, trained_names

FORMS = "A network of your own is named module:factory, such as mynet:make or dir/mynet.py:make."


def make_network(spec: str, weights: Path | None, seed: int = 0) -> nn.Module:
    """Return the network that ``spec`` names, in evaluation mode.

    Args:
        spec: "module:factory", "file.py:factory", or a name of the zoo, trained or not; one that is not, also
            with options: "mobilenet_v1:width=0.25,stride=8".
        weights: a safetensors file to fill it with; None: the weights that it is made with.
        seed: seed of what a factory draws, so that the same command makes the same network.

    Raises:
        SettingError: ``spec`` names nothing, or its factory fails.
        ModelError: the factory returns something else, or the weights do not fit.
        ArtifactError: ``weights`` cannot be read.
    """
    torch.manual_seed(seed)
    model = call_factory(spec, "model") if is_factory(spec) else _from_zoo(spec)
    if not isinstance(model, nn.Module):
        raise ModelError(f"{spec!r} returned a {type(model).__name__}, expected a torch.nn.Module.")
    return (model if weights is None else load(weights, into=model)).eval()


def _from_zoo(spec: str) -> nn.Module:
    name, options = name_and_options(spec)
    if name in network_names() and name not in trained_names():
        return build(name, **options)
    if options and name in trained_names():
        raise SettingError(f"{spec!r}: {name} is trained, and takes no options.")
    if name.endswith((".safetensors", ".py")):
        raise SettingError(
            f"{name!r} is a file. {FORMS}"
            + (f" For these weights: mynet:make --weights {name}." if name.endswith(".safetensors") else "")
        )
    try:
        return load_model(name)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} {FORMS}") from error


def fingerprint(model: nn.Module) -> str:
    """Return 8 hexadecimal digits, for names of files: runs of other weights are other runs."""
    return whole_fingerprint(model)[:8]
