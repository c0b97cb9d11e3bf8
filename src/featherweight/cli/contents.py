"""What is in a safetensors file, compact or plain; torch is not needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from featherweight import artifact
from featherweight.artifact import FileInfo, TensorInfo
from featherweight.cli.output import say, show
from featherweight.errors import SettingError
from featherweight.report import InspectRow, tensor_table

MOST = 200  # characters of an entry of the metadata


def refuse_network_options(**options: object) -> None:
    """Refuse options that would do nothing for a file."""
    for name, value in options.items():
        if value is not None:
            option = name.replace("_", "-")
            raise SettingError(f"--{option} is for a network (module:factory); a file is shown as it is.")


def show_file(path: Path) -> dict[str, Any]:
    """Print a table of the tensors in ``path``, and return the record.

    Raises:
        ArtifactError: the file cannot be read or is malformed.
    """
    info = artifact.inspect(path)
    rows = [_row(tensor, count) for tensor, count in zip(info.tensors, _nonzeros(info), strict=True)]
    totals = _totals(info, rows)
    show(tensor_table(rows))
    kind = "compact file" if info.compact else "plain safetensors file"
    say(
        f"{kind}, {totals['bytes']:,} bytes; dense its tensors take {totals['dense_bytes']:,}; "
        f"{totals['nonzeros']:,} of {totals['elements']:,} elements are not zero"
    )
    for key, value in info.metadata.items():
        more = f"... ({len(value):,} characters; --json has all)" if len(value) > MOST else ""
        say(f"{key}: {value[:MOST]}{more}")
    tensors = [asdict(row) for row in rows]
    return {
        "file": str(path),
        "compact": info.compact,
        "metadata": info.metadata,
        "tensors": tensors,
        **totals,
    }


def _nonzeros(info: FileInfo) -> list[int]:
    """Count elements that have a bit set; in a plain file only its content tells."""
    if info.compact:
        return [tensor.nonzeros or 0 for tensor in info.tensors]
    tensors = artifact.read(info.path).tensors
    return [int(np.count_nonzero(tensors[tensor.name].bits())) for tensor in info.tensors]


def _row(tensor: TensorInfo, nonzeros: int) -> InspectRow:
    return InspectRow(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype if tensor.stored == tensor.dtype else f"{tensor.dtype} as {tensor.stored}",
        nonzeros=nonzeros,
        numel=tensor.elements,
        coding=tensor.coding,
        bytes=tensor.index_bytes + tensor.value_bytes,
    )


def _totals(info: FileInfo, rows: list[InspectRow]) -> dict[str, int]:
    """Sum up; a tensor under a second name counts once."""
    unique = [(t, row) for t, row in zip(info.tensors, rows, strict=True) if t.coding != "same"]
    return {
        "bytes": info.file_bytes,
        "dense_bytes": sum(tensor.dense_bytes for tensor, _ in unique),
        "elements": sum(row.numel for _, row in unique),
        "nonzeros": sum(row.nonzeros or 0 for _, row in unique),
    }
