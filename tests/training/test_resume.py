"""Runs that are interrupted or killed reach the result of those that were not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from featherweight.errors import ResumeError
from featherweight.training import TrainingSettings, fit

SCRIPT = Path(__file__).with_name("toy.py")


def settings(**more):
    return TrainingSettings(**{"epochs": 3, "learning_rate": 0.3, "precision": "fp32"} | more)


def run(toy, run_dir, loss=None, checkpoint_every=None, **more):
    """One call of fit, with dropout, noise and a pruner; returns (digest, history)."""
    model = toy.Net(dropout=0.3)
    history = fit(
        model,
        *toy.loaders(noise=0.3),
        settings(checkpoint_every=checkpoint_every, **more),
        loss=loss or toy.trap(0, None),
        pruner=toy.ZeroSmallest(model),
        run_dir=run_dir,
        progress=False,
    )
    return toy.digest(model), history


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return *run(toy, folder), toy.metrics(folder)


def same(records, others):
    return [r.__dict__ | {"seconds": 0} for r in records] == [r.__dict__ | {"seconds": 0} for r in others]


def assert_equal_runs(toy, folder, digest, history, uninterrupted):
    assert digest == uninterrupted[0]
    assert same(history.epochs, uninterrupted[1].epochs)
    assert same([history.best], [uninterrupted[1].best])
    assert toy.metrics(folder) == uninterrupted[2]


@pytest.mark.parametrize(
    ("crash_at", "every", "resumed_from"),
    [(9, None, (1, 0)), (9, 2, (1, 2)), (12, 1, (1, 5)), (13, 1, (2, 0)), (3, 1, (0, 2)), (18, 3, (2, 3))],
)
def test_a_crashed_run_goes_on_to_the_same_bits(toy, tmp_path, uninterrupted, crash_at, every, resumed_from):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, toy.trap(crash_at, toy.crash), every)
    digest, history = run(toy, tmp_path, checkpoint_every=every)
    assert history.resumed_from == resumed_from
    assert_equal_runs(toy, tmp_path, digest, history, uninterrupted)


def test_checkpoints_do_not_change_the_run(toy, uninterrupted, tmp_path):
    digest, history = run(toy, tmp_path, checkpoint_every=1)
    assert_equal_runs(toy, tmp_path, digest, history, uninterrupted)
    assert history.resumed_from is None


def test_resuming_within_accumulation(toy, tmp_path):
    whole, _ = run(toy, tmp_path / "a", accumulate=4, checkpoint_every=1)
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path / "b", toy.trap(11, toy.crash), accumulate=4, checkpoint_every=1)
    digest, history = run(toy, tmp_path / "b", accumulate=4, checkpoint_every=1)
    assert history.resumed_from == (1, 4)
    assert digest == whole


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_state_of_the_optimizer_is_kept(toy, tmp_path, optimizer):
    more = {"optimizer": optimizer, "learning_rate": 0.01, "checkpoint_every": 1}
    whole, _ = run(toy, tmp_path / "a", **more)
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path / "b", toy.trap(9, toy.crash), **more)
    assert run(toy, tmp_path / "b", **more)[0] == whole


def test_sabotage_a_checkpoint_without_momentum_shows(toy, tmp_path, uninterrupted):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, toy.trap(9, toy.crash))
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["optimizer"]["state"] = {}
    torch.save(state, tmp_path / "checkpoint.pt")
    assert run(toy, tmp_path)[0] != uninterrupted[0]


def test_sabotage_a_checkpoint_with_another_dropout_stream_shows(toy, tmp_path, uninterrupted):
    with pytest.raises(OSError, match="machine"):
        run(toy, tmp_path, toy.trap(9, toy.crash), 1)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["processes"][0]["stream"] = [torch.Generator().manual_seed(9).get_state()]
    torch.save(state, tmp_path / "checkpoint.pt")
    assert run(toy, tmp_path, checkpoint_every=1)[0] != uninterrupted[0]


def test_a_finished_run_returns_at_once(toy, tmp_path, uninterrupted):
    run(toy, tmp_path)
    digest, history = run(toy, tmp_path, toy.trap(1, toy.crash))  # not one batch is computed
    assert history.resumed_from == (3, 0)
    assert_equal_runs(toy, tmp_path, digest, history, uninterrupted)


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("at", [2, 6, 9, 18])
def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(toy, tmp_path, uninterrupted, capsys, at):
    handler = signal.getsignal(signal.SIGINT)
    model = toy.Net(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            *toy.loaders(noise=0.3),
            settings(),
            loss=toy.trap(at, ctrl_c),
            pruner=toy.ZeroSmallest(model),
            run_dir=tmp_path,
        )
    assert "Run the same again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is handler
    digest, history = run(toy, tmp_path)
    assert history.resumed_from == divmod(at, 6) if at % 6 else (at // 6 - 1, 6)
    assert_equal_runs(toy, tmp_path, digest, history, uninterrupted)


def test_ctrl_c_during_validation(toy, tmp_path, uninterrupted):
    calls = []

    def metric(outputs, targets):
        calls.append(1)
        if len(calls) == 6:  # in the second epoch
            ctrl_c()
        return int((outputs.argmax(1) == targets).sum()), len(targets)

    model = toy.Net(dropout=0.3)
    with pytest.raises(KeyboardInterrupt):
        fit(
            model,
            *toy.loaders(noise=0.3),
            settings(),
            loss=toy.trap(0, None),
            metric=metric,
            pruner=toy.ZeroSmallest(model),
            run_dir=tmp_path,
            progress=False,
        )
    digest, history = run(toy, tmp_path)
    assert history.resumed_from == (1, 6)
    assert_equal_runs(toy, tmp_path, digest, history, uninterrupted)


def test_a_second_ctrl_c_interrupts_at_once(toy, tmp_path):
    def twice():
        ctrl_c()
        ctrl_c()

    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path, toy.trap(2, twice), 1)
    assert run(toy, tmp_path, checkpoint_every=1)[1].resumed_from == (0, 1)


def test_ctrl_c_without_run_dir_interrupts_at_once(toy):
    model, steps = toy.Net(), []

    def loss(outputs, targets):
        if steps:
            ctrl_c()
        steps.append(toy.digest(model))
        return outputs.sum() * 0 + outputs.square().mean()

    with pytest.raises(KeyboardInterrupt):
        fit(model, *toy.loaders(), settings(), loss=loss, progress=False)
    assert len(steps) == 1


def script(*arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_kill_9_and_again(toy, tmp_path):
    """A real SIGKILL, at another place each time, until the run is through."""
    toy.main(["--random", "--run-dir", str(tmp_path / "a"), "--out", str(tmp_path / "whole")])
    for kill_at in (5, 7):
        killed = script("--random", "--run-dir", tmp_path / "b", "--kill-at", kill_at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    toy.main(["--random", "--run-dir", str(tmp_path / "b"), "--out", str(tmp_path / "again")])
    expected, got = ((tmp_path / f"{name}.0").read_text() for name in ("whole", "again"))
    assert got == expected.replace('"resumed_from": null', '"resumed_from": [1, 4]')
    assert toy.metrics(tmp_path / "b") == toy.metrics(tmp_path / "a")


def test_another_run_in_the_same_folder_is_refused_and_the_model_left_alone(toy, tmp_path):
    run(toy, tmp_path, epochs=1)
    model = toy.Net()
    before = toy.digest(model)
    for more, words in [
        ({"settings": settings(epochs=2)}, r"pruner was .* and is None now"),
        (
            {"settings": settings(epochs=2), "pruner": toy.ZeroSmallest(model)},
            "settings.epochs was 1 and is 2",
        ),
        (
            {"settings": settings(epochs=1), "pruner": toy.ZeroSmallest(model, 5)},
            r"pruner was 'ZeroSmallest\(4\)'",
        ),
        (
            {"settings": settings(epochs=1, precision="bf16"), "pruner": toy.ZeroSmallest(model)},
            "precision was 'fp32'",
        ),
    ]:
        with pytest.raises(ResumeError, match=words):
            fit(model, *toy.loaders(), **more, run_dir=tmp_path, progress=False)
    with pytest.raises(ResumeError, match=r"^The checkpoint .* batches was 6 and is 12 now"):
        fit(
            model,
            *toy.loaders(8),
            settings(epochs=1),
            pruner=toy.ZeroSmallest(model),
            run_dir=tmp_path,
            progress=False,
        )
    assert toy.digest(model) == before
