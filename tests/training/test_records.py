"""Metrics on disk and on the screen."""

import json
import warnings

import pytest

from featherweight.training import EpochRecord, records
from featherweight.training.progress import line
from featherweight.training.records import Recorder


def record(epoch, validation=0.5, sparsity=0.25):
    return EpochRecord(epoch, 10 * (epoch + 1), 1.5, validation, 0.1, sparsity, True, 2.0)


def lines(folder):
    return [json.loads(text)["epoch"] for text in (folder / "metrics.jsonl").read_text().splitlines()]


def points(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(point.step, point.value) for point in found.Scalars("metric/validation")]


def test_records_go_to_both_files(tmp_path):
    recorder = Recorder(tmp_path, [])
    recorder.add(record(0, 0.5))
    recorder.add(record(1, 0.75))
    recorder.close()
    assert lines(tmp_path) == [0, 1]
    assert points(tmp_path) == [(10, 0.5), (20, 0.75)]


def test_resuming_drops_what_the_checkpoint_does_not_know(tmp_path):
    first = Recorder(tmp_path, [])
    first.add(record(0, 0.5))
    first.add(record(1, 0.125))  # lost with the machine: the checkpoint holds epoch 0 only
    first.close()
    again = Recorder(tmp_path, [record(0, 0.5)])
    assert lines(tmp_path) == [0]
    again.add(record(1, 0.75))
    again.close()
    assert lines(tmp_path) == [0, 1]
    assert points(tmp_path) == [(10, 0.5), (20, 0.75)]


def test_without_tensorboard_the_lines_are_written_all_the_same(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(records.importlib, "import_module", missing)
    recorder = Recorder(tmp_path, [])
    recorder.add(record(0))
    recorder.close()
    assert lines(tmp_path) == [0]
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.parametrize(("validation", "sparsity"), [(None, None), (0.5, 0.25)])
def test_a_line_shows_what_there_is(validation, sparsity):
    text = line(record(2, validation, sparsity), 7)
    assert text.startswith("epoch 3/7  loss 1.5000")
    assert ("validation 0.5000" in text) == (validation is not None)
    assert ("sparsity 0.2500" in text) == (sparsity is not None)
