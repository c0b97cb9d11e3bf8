"""``fw.save`` and ``fw.load``: the file of a cut network says how it was cut, and loading does it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar, overload

from torch import Tensor, nn

from featherweight import artifact
from featherweight.artifact import FileInfo, WriteReport
from featherweight.artifact.rounding import Values
from featherweight.core.prunable import unwrap
from featherweight.core.state import fill_state, read_state, write_state
from featherweight.errors import ModelError
from featherweight.structured.graph_module import RewrittenModule
from featherweight.structured.record import KEY, Record, from_json, surgeries_of, to_json
from featherweight.structured.replay import replay_all
from featherweight.structured.undo import unchanged_on_failure

Module = TypeVar("Module", bound=nn.Module)
Sizes = Mapping[str, tuple[int, ...]]  # of tensors, by name


def save(
    model: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    values: Values = "fp32",
    metadata: Mapping[str, str] | None = None,
) -> WriteReport:
    """Write a model's state dict to a compact safetensors file, whole or not at all.

    The surgeries that ``prune_structured`` did on it, or on modules in it, are written too, so that ``load``
    can do them again. A state dict does not know of any.

    Args:
        model: a module (of a compiled or DistributedDataParallel one, the module inside), or a state dict.
        path: the file; one that exists is replaced.
        values: ``"fp32"`` keeps every tensor bit for bit; ``"fp16"`` and ``"bf16"`` round fp32 and fp64
            tensors where no value is lost by it. They are restored to their own dtype.
        metadata: strings of your own by name.

    Returns:
        The sizes of what was written, in bytes.

    Raises:
        ModelError: a tensor is sparse, quantized, on the meta device, or of a dtype that the file has not;
            or the network was cut to a graph with inputs that the file cannot hold.
        SettingError: ``values`` is none of the choices.
        ArtifactError: the file cannot be written.
    """
    surgeries = surgeries_of(unwrap(model)) if isinstance(model, nn.Module) else ()
    for surgery in surgeries:
        surgery.check_can_be_saved()
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
            before: it is cut in the same way (where a rewritten graph was saved, that is returned instead, or
            takes the place of the submodule). Without it the state dict is returned, on the CPU.
        max_bytes: the most that decoding may take; see ``featherweight.artifact.read``. Where a rewritten
            graph was saved, also what the inputs may take that it is traced with again (without it those
            have 2**22 entries at most).

    Raises:
        ArtifactError: the file cannot be read or is malformed.
        ModelError: the file does not fit ``into``, or its class has changed since the surgery; ``into`` is
            unchanged.
    """
    if into is None:
        return read_state(path, max_bytes=max_bytes)
    info = artifact.inspect(path, max_bytes=max_bytes)
    surgeries = _still_to_do(info, into)
    if not surgeries:
        _fill(into, path, info, max_bytes)
        return into
    inner = unwrap(into)
    with unchanged_on_failure(inner):
        cut = replay_all(inner, surgeries, max_bytes=max_bytes)
        _save_what_was_saved(cut, info)
        fill_state(cut, path, max_bytes=max_bytes)
    return into if cut is inner else cut


def _still_to_do(info: FileInfo, into: nn.Module) -> tuple[Record, ...]:
    """Return the file's surgeries, unless ``into`` has its sizes already."""
    if KEY not in info.metadata or _sizes(into) == _sizes_in(info):
        return ()
    surgeries, done = from_json(info.metadata[KEY]), surgeries_of(unwrap(into))
    same = to_json(done) == to_json(surgeries[: len(done)])
    return surgeries[len(done) :] if same else surgeries


def _save_what_was_saved(model: nn.Module, info: FileInfo) -> None:
    """Give graphs in their state dict what the file has: earlier ones saved what their class does not."""
    for path, part in model.named_modules():
        if isinstance(part, RewrittenModule):
            within = f"{path}." if path else ""
            part.save_buffers(
                name.removeprefix(within) for name in _sizes_in(info) if name.startswith(within)
            )


def _fill(model: nn.Module, path: str | os.PathLike[str], info: FileInfo, max_bytes: int | None) -> None:
    """Fill a model; where the file's tensors may be what a cut left of its, say how that is saved."""
    try:
        fill_state(model, path, max_bytes=max_bytes)
    except ModelError as error:
        whole, found = _sizes(model), _sizes_in(info)
        if KEY in info.metadata or not _is_less(found, whole):
            raise
        raise ModelError(
            f"{error} The file has no record of a surgery. If its network was cut by prune_structured, "
            f"save it with fw.save(model, ...), not with fw.save(model.state_dict(), ...)."
        ) from error


def _is_less(found: Sizes, whole: Sizes) -> bool:
    return found.keys() <= whole.keys() and all(
        len(sizes) == len(whole[name]) and all(a <= b for a, b in zip(sizes, whole[name], strict=True))
        for name, sizes in found.items()
    )


def _sizes(model: nn.Module) -> Sizes:
    state = unwrap(model).state_dict()
    return {
        name.replace("_orig_mod.", ""): tuple(v.shape) for name, v in state.items() if isinstance(v, Tensor)
    }


def _sizes_in(info: FileInfo) -> Sizes:
    return {tensor.name: tuple(tensor.shape) for tensor in info.tensors}
