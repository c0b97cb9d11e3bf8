"""No test of data sets reaches the network, the user's cache or the system's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from featherweight.zoo.data import cifar10, files, idx_set


@pytest.fixture
def data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty $FEATHERWEIGHT_DATA, on a machine with an empty cache and no network."""

    def no_network(url: str) -> bytes:
        raise ConnectionError(f"no network for {url}")

    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATHERWEIGHT_DATA", str(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for module in (files, idx_set, cifar10):
        monkeypatch.setattr(module, "fetch", no_network)
    return root
