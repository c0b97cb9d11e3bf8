"""The log of a scan: a line for the settings, then one a measurement; a killed scan goes on from it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from featherweight.artifact import replacing
from featherweight.errors import ArtifactError, ResumeError

NAME = "sensitivity.jsonl"


class ScanLog:
    """Measurements by layer and level, in memory, and in a file where there is a folder for it."""

    def __init__(self, run_dir: str | os.PathLike[str] | None, settings: Mapping[str, Any]) -> None:
        """Read what an earlier scan left in ``run_dir``, which is made where it is not there.

        Raises:
            ResumeError: it holds a scan with other settings, or of another network.
            ArtifactError: it cannot be written.
        """
        self._path = None if run_dir is None else Path(run_dir) / NAME
        self._done: dict[str, dict[str, Any]] = {}
        if self._path is None:
            return
        lines = self._earlier(settings)
        self._done = {_key(line["layer"], line["level"]): line for line in lines}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"Cannot make the folder {str(self._path.parent)!r}: {error}.") from error
        with replacing(self._path, "w") as file:  # without half a line at the end
            file.writelines(json.dumps(line) + "\n" for line in (settings, *lines))

    def __contains__(self, place: tuple[str, float]) -> bool:
        return _key(*place) in self._done

    def __getitem__(self, place: tuple[str, float]) -> dict[str, Any]:
        return self._done[_key(*place)]

    def add(self, layer: str, level: float, found: Mapping[str, Any]) -> None:
        """Note one measurement, at once."""
        line = {"layer": layer, "level": level, **found}
        self._done[_key(layer, level)] = line
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _earlier(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        try:
            text = self._path.read_text(encoding="utf-8")
            first, *lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()] or [None]
            keys = [_key(line["layer"], line["level"]) for line in lines]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{str(self._path)!r} is no log of a scan: {error!r}. Remove it.") from error
        if first is not None:
            self._check(first, settings)
        return lines if keys else []

    def _check(self, first: Any, settings: Mapping[str, Any]) -> None:
        noted = cast("dict[str, Any]", first) if isinstance(first, dict) else {}
        if wrong := sorted(name for name in settings if noted.get(name) != settings[name]):
            raise ResumeError(
                f"{str(self._path)!r} holds another scan; differing: {', '.join(wrong)}. Give another "
                f"run_dir, or remove it."
            )


def _key(layer: str, level: float) -> str:
    return f"{layer} {level:.12g}"
