"""``fw.save`` and ``fw.load``: the file of a cut network says how it was cut, and loading does it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar, overload

from torch import Tensor, nn

from featherweight import artifact
from featherweight.artifact import WriteReport
from featherweight.artifact.rounding import Values
from featherweight.core.prunable import unwrap
from featherweight.core.state import fill_state, read_state, write_state
from featherweight.structured.record import KEY, Record, from_json, remember, surgeries_of, to_json
from featherweight.structured.replay import replay
from featherweight.structured.undo import unchanged_on_failure

Module = TypeVar("Module", bound=nn.Module)


def save(
    model: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    values: Values = "fp32",
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write a model's state dict to a compact safetensors file, whole or not at all.

    The surgeries that ``prune_structured`` did on it are written too, so that ``load`` can do them again.

    Args:
        model: a module (of a compiled or DistributedDataParallel one, the module inside), or a state dict.
        path: the file; one that exists is replaced.
        values: ``"fp32"`` keeps every tensor bit for bit; ``"fp16"`` and ``"bf16"`` round fp32 and fp64
            tensors where no value is lost by it. They are restored to their own dtype.
        metadata: strings of your own by name.

    Returns:
        The sizes of what was written, in bytes.

    Raises:
        ModelError: a tensor is sparse, quantized, on the meta device, or of a dtype that the file has not.
        SettingError: ``values`` is none of the choices.
        ArtifactError: the file cannot be written.
    """
    surgeries = surgeries_of(unwrap(model)) if isinstance(model, nn.Module) else ()
    record = {KEY: to_json(surgeries)} if surgeries else {}
    return write_state(model, path, values=values, metadata=dict(metadata or {}) | record or None)


@overload
def load(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> dict[str, Tensor]: ...
@overload
def load(path: str | os.PathLike[str], *, into: Module, max_bytes: int | None = None) -> Module: ...
def load(
    path: str | os.PathLike[str], *, into: nn.Module | None = None, max_bytes: int | None = None
) -> nn.Module | dict[str, Tensor]:
    """Read a compact file, or any safetensors file. No pickle is ever loaded.

    Args:
        path: the file.
        into: a module with the same names and shapes; it is filled and returned. Its parameters keep their
            dtype and device. If the file's network was cut by ``prune_structured``, a module as it was
            before: it is cut in the same way (where a rewritten graph was saved, that is returned instead).
            Without it the state dict is returned, on the CPU.
        max_bytes: the most that decoding may take; see ``featherweight.artifact.read``.

    Raises:
        ArtifactError: the file cannot be read or is malformed.
        ModelError: the file does not fit ``into``, or its class has changed since the surgery; ``into`` is
            unchanged.
    """
    if into is None:
        return read_state(path, max_bytes=max_bytes)
    surgeries = _still_to_do(path, into, max_bytes)
    if not surgeries:
        fill_state(into, path, max_bytes=max_bytes)
        return into
    cut = inner = unwrap(into)
    with unchanged_on_failure(inner):
        for record in surgeries:
            cut = replay(cut, record)
        remember(cut, (*surgeries_of(inner), *surgeries))
        fill_state(cut, path, max_bytes=max_bytes)
    return into if cut is inner else cut


def _still_to_do(path: str | os.PathLike[str], into: nn.Module, max_bytes: int | None) -> tuple[Record, ...]:
    """Return the file's surgeries, unless ``into`` has its sizes already."""
    info = artifact.inspect(path, max_bytes=max_bytes)
    if KEY not in info.metadata:
        return ()
    own = {name: tuple(tensor.shape) for name, tensor in unwrap(into).state_dict().items()}
    if own == {tensor.name: tensor.shape for tensor in info.tensors}:
        return ()
    surgeries, done = from_json(info.metadata[KEY]), surgeries_of(unwrap(into))
    same = to_json(done) == to_json(surgeries[: len(done)])
    return surgeries[len(done) :] if same else surgeries
