"""Files that are written whole or not at all.

The bytes go to a temporary file in the same folder, are flushed to the disk (fsync), and the file is then
renamed over the target in one step. Whatever happens before the rename, the target is what it was before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any, Literal, overload

from featherweight.errors import ArtifactError

# What a disk answers to a write; other errors of a block are its own.
_DISK = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


@overload
def replacing(
    path: str | os.PathLike[str], mode: Literal["wb"] = "wb"
) -> contextlib.AbstractContextManager[IO[bytes]]: ...
@overload
def replacing(
    path: str | os.PathLike[str], mode: Literal["w"]
) -> contextlib.AbstractContextManager[IO[str]]: ...
def replacing(
    path: str | os.PathLike[str], mode: Literal["w", "wb"] = "wb"
) -> contextlib.AbstractContextManager[IO[Any]]:
    r"""Open a file that takes the place of ``path`` when the block ends without an exception.

    Args:
        path: the file to write. Its folder must exist; a link is followed, so that the link stays a link.
        mode: ``"wb"`` for bytes, ``"w"`` for text (UTF-8, ``\n`` line ends on every system).

    On any exception, KeyboardInterrupt included, the temporary file is removed and ``path`` is untouched. An
    existing file's permissions are kept.

    Raises:
        ArtifactError: the folder does not exist or takes no files, ``path`` is a folder, or a device or a
            pipe, which a file would take the place of, or the disk is full or fails.

    Example::

        with replacing("report.json", "w") as file:
            json.dump(report, file)
    """
    if mode not in ("w", "wb"):
        raise ArtifactError(f"replacing({os.fspath(path)!r}): mode must be 'w' or 'wb', got {mode!r}.")
    return _replacing(Path(os.path.realpath(path)), mode)


@contextlib.contextmanager
def _replacing(target: Path, mode: str) -> Generator[IO[Any]]:
    with _told(target):
        _check_target(target)
        permissions = _permissions(target)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        with _told(target, _DISK), _create(temporary, mode, permissions) as file:
            yield file
            with _told(target):
                file.flush()
                os.fsync(file.fileno())
        with _told(target):
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


@contextlib.contextmanager
def _told(target: Path, numbers: set[int] | None = None) -> Generator[None]:
    """Turn what the system says, or those of these ``numbers``, into an ArtifactError."""
    try:
        yield
    except OSError as error:
        if numbers is not None and not _is_of(error, numbers):
            raise
        reason = error.strerror or error
        raise ArtifactError(f"Cannot write {str(target)!r}: {reason}. Nothing was changed.") from error


def _is_of(error: OSError, numbers: set[int]) -> bool:
    numpy = type(error) is OSError and error.errno is None  # "1000 requested and 72 written"
    return numpy or error.errno in numbers


def _check_target(target: Path) -> None:
    if target.is_dir():
        raise ArtifactError(f"Cannot write {str(target)!r}: it is a folder. Give the name of a file.")
    if not target.parent.is_dir():
        raise ArtifactError(
            f"Cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist. Make it first."
        )
    if target.exists() and not target.is_file():
        raise ArtifactError(
            f"Cannot write {str(target)!r}: it is a device or a pipe. Give the name of a file."
        )


def _permissions(target: Path) -> int | None:
    """Permission bits of the file to be replaced; None where there is none."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        return None


def _create(path: Path, mode: str, permissions: int | None) -> IO[Any]:
    """Open a file that did not exist (mode bits 0o666 less the umask unless given)."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise ArtifactError(
            f"Cannot write a file in the folder {str(path.parent)!r}: {error.strerror}. Choose another."
        ) from error
    if permissions is not None:
        os.chmod(path, permissions)
    if mode == "wb":
        return os.fdopen(handle, "wb")
    return os.fdopen(handle, "w", encoding="utf-8", newline="\n")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can sync a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
