"""Running: what is done once is not done again, whatever happened in between."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.core.holding import Holding
from featherweight.core.masks import Masks
from featherweight.errors import DataError, ModelError, SettingError, TrainingError
from featherweight.sparsity.lottery import workers as working
from featherweight.sparsity.lottery.branches import Step, branches
from featherweight.sparsity.lottery.data import data_of
from featherweight.sparsity.lottery.folder import Folder, occupied
from featherweight.sparsity.lottery.queue import Queue, steps_of
from featherweight.sparsity.lottery.records import append_record, read_records
from featherweight.sparsity.lottery.run import _done

TRAININGS = 1 + 5 * 2  # dense, and two levels of five branches


def no_training(monkeypatch):
    """Let any further training fail."""

    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(working, "perform", fail)


def in_order(records):
    return sorted(records, key=lambda r: (r.seed, r.level, r.branch))


def test_every_level_of_every_branch_has_a_record(finished):
    experiment, folder, records = finished
    assert {(r.branch, r.level) for r in records} == {("dense", 0)} | {
        (name, level) for name in branches if name != "dense" for level in (1, 2)
    }
    assert len(records) == TRAININGS
    assert fw.lottery.records(folder) == records
    for record in records:
        assert record.experiment == experiment.key(record.branch, 0)
        assert record.remaining == pytest.approx(0.8**record.level, abs=0.002)
        assert 0 <= record.validation <= 1
        assert (record.examples, record.steps, record.versions["torch"]) == (16, 15, torch.__version__)
        assert record.rewound_to == (0 if record.branch in ("dense", "random_init") else 3)
        assert record.stop_step in (5, 10, 15)
        assert record.seconds > 0


def test_zeros_are_zero_in_what_was_trained(finished):
    _, folder, _ = finished
    for level in (1, 2):
        weights = fw.load(folder / "seed-0" / "ticket" / f"level-0{level}.safetensors")
        masks = Masks.load(folder / "seed-0" / "ticket" / f"masks-0{level}.safetensors")
        assert all(not weights[name][~mask.keep].any() for name, mask in masks.items())
        assert weights["0.bias"].any()


def test_sabotage_masks_that_are_not_held_are_noticed(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(Holding, "_hold", lambda self: None)
    with pytest.raises(ModelError, match="Masked weights are not zero"):
        fw.lottery.run(toy.experiment(branches=("ticket",), levels=1), tmp_path, progress=False)


def test_checkpoints_are_gone_at_the_end(finished):
    assert not list(finished[1].rglob("run-*"))


def test_the_same_call_trains_nothing(finished, monkeypatch):
    experiment, folder, records = finished
    no_training(monkeypatch)
    assert fw.lottery.run(experiment, folder, progress=False) == records


def test_levels_branches_and_seeds_may_be_added(toy, tmp_path, capsys):
    small = toy.experiment(levels=1, branches=("ticket",))
    first = fw.lottery.run(small, tmp_path)
    assert [(r.branch, r.level) for r in first] == [("dense", 0), ("ticket", 1)]
    assert "2 of 2: ticket, seed 0, level 1 (80.1% of the weights): validation" in capsys.readouterr().err
    fw.lottery.run(replace(small, levels=2, branches=("ticket", "random_mask"), seeds=(0, 1)), tmp_path)
    assert capsys.readouterr().err.startswith("3 of 10:")


def test_the_test_split_is_read_once_a_training(toy, tmp_path, monkeypatch):
    experiment = toy.experiment(levels=2, branches=("ticket", "one_shot"))
    test = data_of(experiment.source).test
    test.reads = 0
    records = fw.lottery.run(experiment, tmp_path, progress=False)
    assert test.reads == len(records) == 5


def test_without_a_test_split_there_is_no_test_accuracy(toy, tmp_path):
    train, validate, _ = toy.data()
    experiment = toy.experiment(data=fw.lottery.Data("no test", train, validate), branches=("dense",))
    (record,) = fw.lottery.run(experiment, tmp_path, progress=False)
    assert (record.test, record.examples) == (None, 0)


def test_another_experiment_is_refused(toy, finished):
    _, folder, _ = finished
    with pytest.raises(SettingError, match=r"holds another experiment: rewind was 3 and is 0 now"):
        fw.lottery.run(toy.experiment(rewind=0), folder)


def test_records_of_other_settings_do_not_count(finished):
    """Where experiment.json was deleted, say."""
    experiment, folder, _ = finished
    other = replace(experiment, fraction=0.3)
    assert _done(other, Folder(folder), steps_of(other)) == {}
    assert len(_done(experiment, Folder(folder), steps_of(experiment))) == TRAININGS


def test_one_process_at_a_time(toy, tmp_path):
    experiment = toy.experiment()
    with occupied(tmp_path, experiment), pytest.raises(TrainingError, match="Another process works in"):
        fw.lottery.run(experiment, tmp_path)


def test_half_a_line_is_healed_and_other_lines_are_named(finished, tmp_path):
    _, _, records = finished
    path = tmp_path / "records.jsonl"
    append_record(path, records[0])
    with path.open("a") as file:
        file.write('{"experiment": "abc", "bra')
    assert read_records(path) == records[:1]
    append_record(path, records[1])
    assert read_records(path) == records[:2]
    assert path.read_text().count("\n") == 2
    path.write_text("[1]\n" + path.read_text())
    with pytest.raises(DataError, match="line 1 is no record"):
        fw.lottery.records(tmp_path)
    with pytest.raises(DataError, match=r"has no records\.jsonl"):
        fw.lottery.records(tmp_path / "nowhere")


def killed(toy, folder, call, **environment):
    """Run ``call`` of the toy module in a process until it is killed."""
    code = f"import lottery_toy; lottery_toy.main({str(folder)!r}, {call})"
    env = os.environ | {"PYTHONPATH": os.path.dirname(toy.__file__)} | environment
    return subprocess.Popen([sys.executable, "-c", code], env=env, stderr=subprocess.PIPE)


def test_a_killed_run_goes_on_to_the_same_records(toy, finished, tmp_path):
    """Killed by SIGKILL within an epoch of the ticket's first level, after a first epoch was saved."""
    experiment, _, uninterrupted = finished
    batches = 5 + 15 + 5 + 3  # dense: the first epoch twice, as it is stopped in it; then the ticket
    process = killed(toy, tmp_path, "rewind=3", **{toy.LEFT: str(batches)})
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    process.stderr.close()
    assert [r.branch for r in fw.lottery.records(tmp_path)] == ["dense"]
    assert (tmp_path / "seed-0" / "ticket" / "run-01" / "checkpoint.pt").exists()
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"experiment": "abc", "bra')
    assert fw.lottery.run(experiment, tmp_path, progress=False) == uninterrupted
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["branch"] for line in lines] == [r.branch for r in uninterrupted]


def test_workers_end_with_a_killed_parent_and_the_run_goes_on(toy, finished, tmp_path):
    experiment, _, uninterrupted = finished
    process = killed(toy, tmp_path, "workers=2, rewind=3")
    path = tmp_path / "records.jsonl"
    while process.poll() is None and not (path.exists() and path.read_text().count("\n") >= 3):
        time.sleep(0.02)
    process.kill()
    process.wait()
    process.stderr.close()
    records = fw.lottery.run(experiment, tmp_path, workers=2, progress=False)
    assert in_order(records) == in_order(uninterrupted)


def test_what_fails_in_a_worker_is_raised_here(toy, tmp_path):
    experiment = toy.experiment(data=toy.broken, seeds=(0, 1), branches=("dense",))
    with pytest.raises(TrainingError, match=r"(?s)Step\(level=0.*ZeroDivisionError: of the user's own"):
        fw.lottery.run(experiment, tmp_path, workers=2, progress=False)


def test_a_worker_that_dies_is_named_and_the_run_goes_on(toy, tmp_path, monkeypatch):
    """As where memory ran out; the processes of the pool are gone afterwards."""
    experiment = toy.experiment(seeds=(0, 1), branches=("dense",))
    monkeypatch.setenv(toy.LEFT, "3")
    with pytest.raises(TrainingError, match=r"without an answer \(exit code -9\).*the same call goes on"):
        fw.lottery.run(experiment, tmp_path, workers=2, progress=False)
    assert not multiprocessing.active_children()
    monkeypatch.delenv(toy.LEFT)
    assert len(fw.lottery.run(experiment, tmp_path, progress=False)) == 2


def test_what_cannot_be_handed_to_a_process_is_refused(toy, tmp_path):
    loader = DataLoader(TensorDataset(*toy.examples()), 16, collate_fn=lambda batch: batch)
    experiment = toy.experiment(data=fw.lottery.Data("local", loader, loader), seeds=(0, 1))
    with pytest.raises(SettingError, match="cannot be handed to other processes"):
        fw.lottery.run(experiment, tmp_path, workers=2, progress=False)


def test_steps_begin_when_what_they_need_is_done(toy):
    steps = steps_of(toy.experiment(branches=("shuffled_mask", "one_shot"), seeds=(0,)))
    assert [(s.level, s.branch) for s in steps] == [
        (0, "dense"), (1, "ticket"), (1, "one_shot"), (1, "shuffled_mask"),
        (2, "one_shot"), (2, "shuffled_mask"),
    ]  # fmt: skip
    queue = Queue(steps, set())
    assert queue.next() == Step(0, "dense", 0)
    assert queue.next() is None  # it runs, and all others need it
    queue.finish(Step(0, "dense", 0))
    begun = [queue.next() for _ in range(4)]
    assert [(s.level, s.branch) for s in begun] == [
        (1, "ticket"),
        (1, "one_shot"),
        (1, "shuffled_mask"),
        (2, "one_shot"),
    ]
    assert queue.next() is None
    assert queue.unfinished


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"network": "seeded"}, ModelError, "draws the same weights from every seed"),
        ({"network": "examples"}, ModelError, "returned a tuple, not a module"),
        ({"data": "net"}, DataError, "returned a Sequential"),
        ({"skip": ("nothing",)}, SettingError, "nothing"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(toy, tmp_path, changes, error, words):
    asked = {
        name: getattr(toy, value) if isinstance(value, str) else value for name, value in changes.items()
    }
    with pytest.raises(error, match=words):
        fw.lottery.run(toy.experiment(**asked), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("workers", [0, 1.0, True])
def test_workers_are_counted(toy, tmp_path, workers):
    with pytest.raises(SettingError, match="workers is a whole number"):
        fw.lottery.run(toy.experiment(), tmp_path, workers=workers)


def test_a_file_is_no_folder(toy, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="is a file; give the name of a folder"):
        fw.lottery.run(toy.experiment(), tmp_path / "file")
    with pytest.raises(SettingError, match="Cannot make the folder"):
        fw.lottery.run(toy.experiment(), tmp_path / "file" / "folder")


def test_a_data_set_of_the_zoo_and_a_network_of_it_fit_each_other(toy, tmp_path):
    pytest.importorskip("sklearn")
    experiment = toy.experiment(
        network="lenet_300_100",
        data=fw.lottery.ZooData("digits", batch_size=256),
        branches=("ticket",),
        levels=1,
        training={"epochs": 1, "learning_rate": 0.05},
    )
    records = fw.lottery.run(experiment, tmp_path, progress=False)
    assert [r.steps for r in records] == [1257 // 256] * 2
    assert records[1].kept == round(0.8 * (784 * 300 + 300 * 100 + 100 * 10))
    assert records[0].test > 0.3


@pytest.mark.parametrize("size", [0, 1.5, True])
def test_batch_sizes_are_checked(size):
    with pytest.raises(SettingError, match="batch_size is a whole number of at least 1"):
        fw.lottery.ZooData("digits", batch_size=size)
