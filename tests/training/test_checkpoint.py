"""Checkpoints that cannot be trusted are refused, with the reason."""

import pickle

import pytest
import torch

from featherweight.errors import ResumeError, TrainingError
from featherweight.training.checkpoint import KEYS, CheckpointFile, first_difference

IDENTITY = {"settings": {"epochs": 3, "seed": 0}, "model": {"weight": [3, 4]}, "batches": 7}


def state():
    return dict.fromkeys(KEYS - {"version"}) | {
        "identity": IDENTITY,
        "model": {"weight": torch.arange(1000.0)},
    }


@pytest.fixture
def file(tmp_path):
    file = CheckpointFile(tmp_path)
    file.write(state())
    return file


def test_what_was_written_is_read(file):
    read = file.read(IDENTITY)
    assert read.keys() == KEYS
    assert torch.equal(read["model"]["weight"], torch.arange(1000.0))


def test_no_file_is_no_checkpoint(tmp_path):
    assert CheckpointFile(tmp_path / "new").read(IDENTITY) is None


def test_a_run_dir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is a file"):
        CheckpointFile(tmp_path / "file")


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (IDENTITY | {"settings": {"epochs": 4, "seed": 0}}, "settings.epochs was 3 and is 4 now"),
        (IDENTITY | {"batches": 8}, "batches was 7 and is 8 now"),
        (IDENTITY | {"model": {"weight": [3, 5]}}, r"model.weight was \[3, 4\] and is \[3, 5\] now"),
        (IDENTITY | {"model": {}}, "model.weight is missing now"),
        (IDENTITY | {"pruner": "x"}, "pruner is new"),
    ],
)
def test_another_run_is_refused_and_the_difference_named(file, now, reason):
    with pytest.raises(ResumeError, match=f"{reason}.*another run_dir, or delete it"):
        file.read(now)


def test_any_changed_byte_of_a_tensor_is_noticed(file):
    data = bytearray(file.path.read_bytes())
    where = data.find(torch.arange(1000.0).numpy().tobytes()) + 500
    data[where] ^= 1
    file.path.write_bytes(data)
    with pytest.raises(ResumeError, match="checksum"):
        file.read(IDENTITY)


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_a_truncated_file_is_refused(file, keep):
    file.path.write_bytes(file.path.read_bytes()[:keep])
    with pytest.raises(ResumeError, match="cannot be read"):
        file.read(IDENTITY)


def test_a_pickle_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = CheckpointFile(tmp_path)
    for write in (lambda: torch.save({"version": Bomb()}, file.path), lambda: _dump(Bomb(), file.path)):
        write()
        with pytest.raises(ResumeError, match="cannot be read"):
            file.read(IDENTITY)
    assert not (tmp_path / "ran").exists()


def _dump(thing, path):
    path.write_bytes(pickle.dumps(thing))


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"version": 1}, "format version 1"), ({"version": 2, "x": 0}, "entries are version, x"), ([1], "None")],
)
def test_another_content_is_refused(file, content, reason):
    torch.save(content, file.path)
    with pytest.raises(ResumeError, match=reason):
        file.read(IDENTITY)


def test_equal_things_do_not_differ():
    assert first_difference(IDENTITY, {**IDENTITY}) is None
