"""Finished layers on the disk, so that an interrupted run goes on.

``settings.json`` says what the run is of: what differs there is another run. ``NNNN.safetensors`` is a layer:
"weights", "keep", "shift", what batch norms came to with it, and in its metadata the report. Every file is
written whole or not at all. Data may be drawn anew by each run: its metadata hold a fingerprint of them, and
one that goes on with others is warned. A run of which no layer is finished leaves its place to any other.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes

from featherweight.artifact.atomic import replacing
from featherweight.core.mask import Mask
from featherweight.errors import ArtifactError, ResumeError
from featherweight.sparsity.oneshot._layer import Pruned
from featherweight.sparsity.oneshot.report import LayerReport

_SETTINGS = "settings.json"
_FORMAT = "featherweight.oneshot.1"
_NORM = "norm "  # before the names of batch norms


class SavedLayers:
    """The layers of a run in one folder; without a folder there never are any."""

    def __init__(
        self, folder: str | os.PathLike[str] | None, settings: Mapping[str, Any], data: str = ""
    ) -> None:
        """Begin a run in ``folder``, which need not exist, or go on with the one there.

        Args:
            folder: where the files are.
            settings: what the run is of, of the types of JSON.
            data: a fingerprint of what layers see; "" where it is not known.

        Raises:
            ResumeError: the folder is a file, or holds a run of other settings.
            ArtifactError: it cannot be made.
        """
        self._folder, self._data = None if folder is None else Path(folder), data
        if self._folder is None:
            return
        if self._folder.exists() and not self._folder.is_dir():
            raise ResumeError(f"run_dir {str(self._folder)!r} is a file; give the name of a folder.")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"Cannot make the folder {str(self._folder)!r}: {error}.") from error
        settings = {"format": _FORMAT, **settings}
        path = self._folder / _SETTINGS
        if path.exists() and any(self._folder.glob("*.safetensors")):
            _check_same(settings, _read(path), self._folder)
            self._warn_of_other_data()
        else:
            with replacing(path, "w") as file:
                json.dump(settings, file, indent=1)

    def load(self, number: int, name: str) -> Pruned | None:
        """Return the layer of this number and name; None if it is not there yet.

        Raises:
            ResumeError: its file is damaged, or is of another layer.
        """
        if self._folder is None or not (path := self._path(number)).exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                report = LayerReport(**json.loads((file.metadata() or {})["report"]))
                weights, keep, shift = (file.get_tensor(key) for key in ("weights", "keep", "shift"))
                names = [key for key in list(file.keys()) if key.startswith(_NORM)]
                norms = {key.removeprefix(_NORM): file.get_tensor(key) for key in names}
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ResumeError(f"{path} is not a finished layer: {error}. Remove it to go on.") from error
        if report.name != name:
            raise ResumeError(f"{path} holds {report.name}, expected {name}. Use another run_dir.")
        return Pruned(weights, Mask(keep), shift, report, norms)

    def save(self, number: int, layer: Pruned) -> None:
        """Write a layer."""
        if self._folder is not None:
            tensors = {"weights": layer.weights, "keep": layer.mask.keep, "shift": layer.shift}
            tensors |= {_NORM + name: statistics for name, statistics in layer.norms.items()}
            meta = {"format": _FORMAT, "report": json.dumps(asdict(layer.report)), "data": self._data}
            with replacing(self._path(number)) as file:
                file.write(safetensors_bytes({k: t.cpu().contiguous() for k, t in tensors.items()}, meta))

    def _warn_of_other_data(self) -> None:
        assert self._folder is not None
        seen = {_data_of(path) for path in self._folder.glob("*.safetensors")}
        if self._data and seen - {self._data, ""}:
            warnings.warn(
                f"Layers in run_dir {str(self._folder)!r} were pruned for other data than these, and stay as "
                f"they are. If that is not what you want, use another run_dir.",
                stacklevel=4,
            )

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number:04d}.safetensors"


def _data_of(path: Path) -> str:
    """Return the fingerprint of the data of a layer; "" where there is none, or what is no layer."""
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("data", "")
    except (SafetensorError, OSError):
        return ""


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise ResumeError(f"{path} cannot be read: {error}. Use another run_dir.") from error


def _check_same(asked: Mapping[str, Any], found: Any, folder: Path) -> None:
    if not isinstance(found, dict):
        raise ResumeError(f"{folder / _SETTINGS} holds no settings. Use another run_dir.")
    different = [key for key in asked if found.get(key) != asked[key]]  # pyright: ignore[reportUnknownMemberType]
    if different:
        raise ResumeError(
            f"run_dir {str(folder)!r} holds a run with another {', '.join(different)}. Use another run_dir, "
            f"or the network as it was and the settings of that run."
        )
