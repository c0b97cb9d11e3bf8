"""The compact file: a safetensors file with sparse tensors gap-coded and compressed. Never imports torch."""

from featherweight.artifact import errors
from featherweight.artifact.array import Array
from featherweight.artifact.atomic import replacing
from featherweight.artifact.inspection import FileInfo, TensorInfo, inspect
from featherweight.artifact.reader import Contents, read
from featherweight.artifact.sizes import CodingSize, coding_sizes
from featherweight.artifact.writer import WriteReport, write

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
