"""Filling a cache in one pass over the data, or going on with one that was interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from featherweight.distillation.cache.keys import keys_of, mask_of
from featherweight.distillation.cache.layout import Layout
from featherweight.distillation.cache.loading import Passes
from featherweight.distillation.cache.manifest import FILE, WIDTHS, Identity, Manifest, Source, refusal
from featherweight.distillation.cache.store import Folder, TeacherCache, partial_of
from featherweight.distillation.cache.writer import Writer, building
from featherweight.distillation.losses import View
from featherweight.errors import DataError, SettingError
from featherweight.training.interrupt import Interrupt
from featherweight.training.progress import ProgressView
from featherweight.training.streams import preserved_generators

COMMIT_EVERY = 64  # batches: what a run that is killed loses at most
_SPARE = 64 << 20  # bytes that stay free on the disk


@dataclass(frozen=True)
class Teaching:
    """What filling a cache asks of teachers.

    Attributes:
        identity: who they are.
        inputs_of: batch -> what they are called with, without labels.
        views: batch -> what they make of it, detached: one view each, of all that is to be stored.
    """

    identity: Identity
    inputs_of: Callable[[Any], Any]
    views: Callable[[Any], Sequence[View]]


def fill(
    teaching: Teaching,
    loader: Iterable[Any],
    folder: Folder,
    *,
    epochs: int = 1,
    dtype: str = "fp16",
    overwrite: bool = False,
    repeated: bool = False,
    progress: bool = True,
) -> TeacherCache:
    """Return the cache in ``folder``, filled from ``loader`` unless it is complete already.

    It is built beside ``folder`` and takes its name when it is complete. After an interruption (Ctrl-C, or
    a machine that died) the same call goes on from the last batches that are on the disk.

    Args:
        teaching: the teachers.
        loader: a DataLoader, which is gone through in the order of its data set, or a list of batches.
        folder: where the cache is, or will be.
        epochs: passes, over a data set that gives another fixed copy after ``set_epoch(epoch)``.
        dtype: "fp16", or "fp32" for values beyond 65504 and twice the space.
        overwrite: fill anew, in the place of any cache that is there.
        repeated: whether more epochs than ``epochs`` will be read from it, so that they must be the same.
        progress: show a bar, or lines where there is no terminal.

    Raises:
        SettingError: a setting is out of range.
        DataError: the data are augmented afresh each time, the folder holds something else, the disk has too
            little space, or an output cannot be stored; what was in ``folder`` is as it was.
        KeyboardInterrupt: after Ctrl-C, with what is done saved.
    """
    if dtype not in WIDTHS:
        raise SettingError(f"dtype is one of {', '.join(WIDTHS)}, got {dtype!r}.")
    passes, folder = Passes(loader, epochs), Path(folder).absolute()
    with building(folder), preserved_generators(torch.device("cpu")):
        if not overwrite and (folder / FILE).exists():
            return _opened(folder, teaching.identity, epochs, dtype)
        _check_replaceable(folder)
        first = passes.first(teaching.inputs_of)
        if repeated:
            passes.check_repeated(teaching.inputs_of)
        wanted = _manifest(teaching, first, passes, dtype)
        begun = _begun(folder, wanted, keys_of(teaching.inputs_of(first)).tolist(), overwrite)
        with ProgressView(progress, epochs, passes.batches) as view:
            _check_space(folder, wanted, begun, passes, view)
            writer = Writer(folder, begun or wanted)
            try:
                _write(writer, teaching, passes, view)
            finally:
                writer.close()
            view.say(f"The cache in {str(folder)!r} is complete: {writer.manifest.examples:,} examples.")
    return TeacherCache.open(folder, teaching.identity)


def _opened(folder: Path, identity: Identity, epochs: int, dtype: str) -> TeacherCache:
    cache = TeacherCache.open(folder, identity)
    has = cache.manifest
    if WIDTHS[has.dtype] < WIDTHS[dtype] or has.source.epochs < epochs:
        what = f"of dtype={has.dtype!r} and epochs={has.source.epochs}, less than {dtype!r} and {epochs}"
        raise refusal(folder, what)
    return cache


def _check_replaceable(folder: Path) -> None:
    """Raise DataError where ``folder`` is something that a cache must not take the place of."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
    if any(name != FILE and not name.endswith(".npy") for name in names) or (names and FILE not in names):
        raise DataError(
            f"{str(folder)!r} exists and is not a cache: it is left alone. Give the name of a new folder."
        )


def _manifest(teaching: Teaching, batch: Any, passes: Passes, dtype: str) -> Manifest:
    """Return the manifest of a cache with nothing in it, of the shapes that ``batch`` gives."""
    layout = Layout.of(teaching.views(batch))
    inputs = teaching.inputs_of(batch)
    mask = mask_of(inputs)
    tokens = None if mask is None or not layout.of_tokens else mask.shape[1]
    source = Source(passes.epochs, passes.batches, passes.batch_size or len(keys_of(inputs)))
    return Manifest(teaching.identity, layout, dtype, source, tokens)


def _begun(folder: Path, wanted: Manifest, keys: list[int], overwrite: bool) -> Manifest | None:
    """Return how far an interrupted run has come with the same cache; None: there is none to go on with."""
    place = partial_of(folder)
    if not (place / FILE).exists():
        return None
    try:
        begun = Manifest.read(place)
        if not begun.is_of_same_run(wanted):
            raise DataError("of another teacher, other taps, other settings or another data set")
        writer = Writer(folder, begun)
        writer.close()
        if not writer.keys.issuperset(keys):
            raise DataError("of other data")
    except DataError as error:
        if overwrite:
            (place / FILE).unlink()
            return None
        raise DataError(
            f"An interrupted run has left a cache for {str(folder)!r} that is not to be gone on with: "
            f"{str(error).rstrip('.')}. To begin anew delete {str(place)!r}, or pass fill_cache "
            f"overwrite=True; or give another folder."
        ) from error
    return replace(begun, complete=False)


def _check_space(
    folder: Path, wanted: Manifest, begun: Manifest | None, passes: Passes, view: ProgressView
) -> None:
    """Say how much space the cache takes; raises DataError where the disk has less."""
    examples = passes.epochs * (passes.examples or wanted.source.batches * wanted.source.batch_size)
    row = wanted.layout.row_bytes(WIDTHS[wanted.dtype])
    done = 0 if begun is None else begun.examples
    needed, free = row * max(0, examples - done), shutil.disk_usage(folder.parent).free
    size = f"{_shown(row * examples)} ({examples:,} examples of {_shown(row)})"
    if needed + _SPARE > free:
        raise DataError(
            f"The cache in {str(folder)!r} takes about {size}, and the disk has {_shown(free)} free. Cache "
            f"fewer "
            f'features, use dtype="fp16", or choose a folder on another disk.'
        )
    going_on = f", going on after batch {begun.batches:,}" if begun else ""
    view.say(f"Filling the cache in {str(folder)!r}: about {size}{going_on}.")


def _shown(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _write(writer: Writer, teaching: Teaching, passes: Passes, view: ProgressView) -> None:
    epoch, skip = divmod(writer.batches, passes.batches)
    with Interrupt(True) as interrupt:
        for number in range(epoch, passes.epochs):
            for batch in passes.batches_of(number, skip):
                writer.add(teaching.inputs_of(batch), writer.manifest.layout.tensors(teaching.views(batch)))
                view.at(number, writer.batches - number * passes.batches)
                if interrupt.asked or writer.batches % COMMIT_EVERY == 0:
                    writer.commit()
                if interrupt.asked:
                    view.say(
                        f"Interrupted; {writer.batches:,} batches are saved. Run the same again to go on."
                    )
                    raise KeyboardInterrupt
            skip = 0
            _check_count(writer.batches, (number + 1) * passes.batches)
        writer.finish()


def _check_count(done: int, expected: int) -> None:
    if done != expected:
        raise DataError(
            f"The loader gave {done} batches where its length says {expected}: nothing was completed. It "
            f"must give the same number each time it is iterated."
        )
