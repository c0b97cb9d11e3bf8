"""The compact file: a safetensors file with sparse tensors gap-coded and compressed. Never imports torch.

Names are loaded when they are first used: a ``.fw`` file is read by those parts that need numpy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featherweight.artifact import errors

if TYPE_CHECKING:
    from featherweight.artifact.array import Array
    from featherweight.artifact.atomic import replacing
    from featherweight.artifact.inspection import FileInfo, TensorInfo, inspect
    from featherweight.artifact.reader import Contents, read
    from featherweight.artifact.sizes import CodingSize, coding_sizes
    from featherweight.artifact.writer import WriteReport, write

_HOME = {
    "Array": "array",
    "CodingSize": "sizes",
    "Contents": "reader",
    "FileInfo": "inspection",
    "TensorInfo": "inspection",
    "WriteReport": "writer",
    "coding_sizes": "sizes",
    "inspect": "inspection",
    "read": "reader",
    "replacing": "atomic",
    "write": "writer",
}

__all__ = [
    "Array",
    "CodingSize",
    "Contents",
    "FileInfo",
    "TensorInfo",
    "WriteReport",
    "coding_sizes",
    "errors",
    "inspect",
    "read",
    "replacing",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'featherweight.artifact' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"featherweight.artifact.{_HOME[name]}"), name)
    globals()[name] = value
    return value
