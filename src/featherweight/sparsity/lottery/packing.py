"""A nested state as flat tensors and a text, so that it can be a safetensors file: no pickle.

Each tensor is named by the way to it ("optimizer/state/0/momentum_buffer"); the text is JSON that holds all
else, with a reference in each tensor's place. Dictionaries keep whole numbers as keys, and their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from featherweight.errors import ArtifactError, ModelError

_PLAIN = (str, int, float, bool, type(None))


def pack(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of ``state`` by name, and the text that puts them together again.

    Raises:
        ModelError: something in it is neither a tensor, a number, a text, nor a container of them.
    """
    tensors: dict[str, Tensor] = {}
    return tensors, json.dumps(_packed(state, "", tensors))


def unpack(tensors: Mapping[str, Tensor], text: str) -> dict[str, Any]:
    """Return the state that ``pack`` took apart; raises ArtifactError where text and tensors do not fit."""
    try:
        return _unpacked(json.loads(text), tensors)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"Not the text of a packed state: {type(error).__name__}: {error}.") from error


def _packed(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, Mapping):
        items = [[key, _packed(part, _below(path, key), tensors)] for key, part in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        parts = [_packed(part, _below(path, number), tensors) for number, part in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": parts}
    raise ModelError(f"State {path!r} is a {type(value).__name__}, which cannot be saved without pickle.")


def _below(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpacked(part, tensors) for key, part in content}
    parts = [_unpacked(part, tensors) for part in content]
    return {"list": parts, "tuple": tuple(parts)}[kind]
