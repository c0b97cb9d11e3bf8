"""Fetch Fashion-MNIST where it can be had, and say where it is. Never fails: what is missing is said.

Looks where `featherweight.zoo.data` looks. Where the files are in none of those folders and apt-get is there,
the Debian package `dataset-fashion-mnist` is unpacked into the cache, without installing it and without root.
Uses the standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "dataset-fashion-mnist"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = tuple(
    f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
TIMEOUT = 300  # seconds, for one command


def main() -> None:
    """Say where the files are, after fetching them where they were missing."""
    if folder := found():
        print(f"Fashion-MNIST: {folder}")
    elif shutil.which("apt-get") and shutil.which("dpkg") and fetch(cache_folder()):
        print(f"Fashion-MNIST: {cache_folder()} (from the Debian package {PACKAGE})")
    else:
        print(
            f"Fashion-MNIST: not on this machine, and the Debian package {PACKAGE} cannot be had here. "
            "featherweight downloads the four files itself where it can; where it cannot, the demo uses "
            "scikit-learn's bundled digits and says so."
        )


def cache_folder() -> Path:
    """Return the folder below the cache that featherweight looks in."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    return cache / "featherweight" / "fashion_mnist"


def found() -> Path | None:
    """Return the first folder that holds all four files, compressed or not; None where there is none."""
    root = os.environ.get("FEATHERWEIGHT_DATA")
    given = [Path(root) / "fashion_mnist", Path(root)] if root else []
    for folder in (*given, cache_folder(), SYSTEM_FOLDER):
        if all((folder / name).exists() or (folder / name.removesuffix(".gz")).exists() for name in FILES):
            return folder
    return None


def fetch(into: Path) -> bool:
    """Unpack the four files of the Debian package into folder ``into``; return whether that worked."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not (download(work, ()) or download(work, private_apt(work))):
            return False
        package = next(work.glob("*.deb"))
        unpacked = work / "unpacked"
        if not succeeds(["dpkg", "-x", str(package), str(unpacked)], work):
            return False
        files = [path for path in unpacked.rglob("*.gz") if path.name in FILES]
        return len(files) == len(FILES) and keep(files, into)


def download(work: Path, options: Sequence[str]) -> bool:
    """Download the package into folder ``work``; return whether it is there."""
    return succeeds(["apt-get", *options, "download", PACKAGE], work) and any(work.glob("*.deb"))


def private_apt(work: Path) -> list[str]:
    """Return options that keep apt's lists below ``work``, where they can be updated without root."""
    (work / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (work / "cache").mkdir(exist_ok=True)
    settings = {"Dir::State::lists": work / "lists", "Dir::Cache": work / "cache", "Debug::NoLocking": 1}
    options = [f"-o{name}={value}" for name, value in settings.items()]
    succeeds(["apt-get", *options, "update"], work)
    return options


def succeeds(command: list[str], folder: Path) -> bool:
    """Run ``command`` in ``folder``, quietly; return whether it ended well and in time."""
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def keep(files: list[Path], into: Path) -> bool:
    """Copy ``files`` into folder ``into``, each whole or not at all; return whether that worked."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        for path in files:
            partial = into / f"{path.name}.{os.getpid()}.part"
            shutil.copyfile(path, partial)
            partial.replace(into / path.name)
    except OSError as error:
        print(f"Fashion-MNIST: cannot write to {into}: {error}")
        return False
    return True


if __name__ == "__main__":
    main()
