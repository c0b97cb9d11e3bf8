"""Files are written whole or not at all."""

import contextlib
import os
import stat

import numpy as np
import pytest

from featherweight.artifact.atomic import replacing
from featherweight.errors import ArtifactError


def test_writes_bytes_and_leaves_nothing_else(tmp_path):
    with replacing(tmp_path / "a.bin") as file:
        file.write(b"\x00\x01")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\x01"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_text_is_utf8_with_plain_line_ends(tmp_path):
    with replacing(tmp_path / "a.txt", "w") as file:
        file.write("µ\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc2\xb5\n"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    (tmp_path / "a").write_text("old")

    def fail():
        with replacing(tmp_path / "a", "w") as file:
            file.write("new")
            raise error

    with pytest.raises(error):
        fail()
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_failing_rename_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def refuse(*_):
        raise OSError("no")

    monkeypatch.setattr(os, "replace", refuse)
    words = r"no\. Nothing was changed"
    with pytest.raises(ArtifactError, match=words), replacing(tmp_path / "a", "w") as file:
        file.write("new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_permissions_of_a_replaced_file_are_kept(tmp_path):
    target = tmp_path / "a"
    target.write_text("old")
    target.chmod(0o640)
    with replacing(target, "w") as file:
        file.write("new")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replacing(tmp_path / "link", "w") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_missing_folder_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"does not exist\. Make it"), replacing(tmp_path / "no" / "a"):
        pass
    with pytest.raises(ArtifactError, match="it is a folder"), replacing(tmp_path):
        pass


@contextlib.contextmanager
def room_for(size):
    """Let no file be larger, as a full disk would."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [50, 200, 4000])
@pytest.mark.parametrize("write", [lambda file, data: file.write(data), np.save])
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path, room, write):
    (tmp_path / "a").write_bytes(b"old")
    words = r"Cannot write .*a': (File too large|.* requested and .* written)\. Nothing was changed"
    with room_for(room), pytest.raises(ArtifactError, match=words), replacing(tmp_path / "a") as file:
        write(file, np.zeros(5000, np.uint8))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_errors_of_the_block_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        (tmp_path / "none").read_bytes()
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_too_long_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="File name too long"), replacing(tmp_path / ("a" * 300)):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="a device or a pipe"), replacing(tmp_path / "pipe"):
        pass
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_folder_that_takes_no_files_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ArtifactError, match="Permission denied"), replacing(tmp_path / "a"):
        pass


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="'w' or 'wb'"):
        replacing(tmp_path / "a", "a")  # pyright: ignore
