"""What is run for each question about strategies, what its table shows, and a run of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks._queue import is_of, missing, records
from benchmarks.methods import questions, strategies
from benchmarks.methods.questions import QUESTIONS, Asked, Row, caption, learns, table, wanted
from benchmarks.methods.strategies import MAIN, SMOKE, Part, Run, mean_density, perform
from benchmarks.tables import TABLES, accuracy
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from benchmarks import _command
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import criteria

ASKED = Asked.of("criteria", "fashion_cnn")
IDLE = 0, 0  # epochs and batches of what is not trained


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def record(run: Run, test: float | None, failed: str = "") -> dict[str, Any]:
    return asdict(run) | {"validation": test, "test": test, "density": 0.25, "failed": failed}


def cells(text: str, part: str, title: str) -> list[str]:
    """Return the cells of a row of one of the tables."""
    lines = text.split(f"{part}:")[1].splitlines()
    return next(
        [c.strip() for c in line.split("|")[2:-1]] for line in lines if line.startswith(f"| {title} |")
    )


def test_every_criterion_and_allocation_is_asked_about() -> None:
    parts = QUESTIONS["criteria"].parts()
    while_tuned = {row.criterion for row in parts["pruned while fine-tuned"]}
    assert while_tuned == {"", *criteria}
    at_once = {row.criterion for row in parts["pruned at once, not trained"]}
    assert at_once == {name for name in criteria if not learns(name)}
    assert learns("movement")
    assert {row.allocation for row in QUESTIONS["allocation"].rows()} == {"", *allocations}
    assert {row.schedule for row in QUESTIONS["dynamic"].rows()} >= {"set", "rigl", "acdc"}


def test_every_strategy_is_run_at_all_levels_from_all_seeds_the_telling_levels_first() -> None:
    runs = list(wanted(ASKED, 2, (0.8, 0.98, MAIN)))
    assert len(set(runs)) == len(runs)

    def places(criterion: str, schedule: str) -> list[tuple[float, int]]:
        return [(r.sparsity, r.seed) for r in runs if (r.criterion, r.schedule) == (criterion, schedule)]

    everywhere = [(MAIN, 0), (MAIN, 1), (0.98, 0), (0.98, 1), (0.8, 0), (0.8, 1)]
    assert places("synflow", "cubic") == places("random", "") == everywhere
    assert [run.seed for run in runs if not run.criterion] == [0, 1]


def test_the_table_says_what_was_run_on_a_gpu() -> None:
    row = Row("random", "random", "global", "cubic")
    done = [record(row.run(ASKED, 0.8, seed), 0.5) for seed in range(2)]
    assert "NVIDIA" not in table(done, ASKED)
    done[0]["device"] = "NVIDIA H200"
    assert "Run on an NVIDIA H200 (1 of 2 runs)." in table(done, ASKED)
    assert "Run on an NVIDIA H200." in table(done[:1], ASKED)


def test_all_that_train_do_so_for_as_many_steps() -> None:
    for question in QUESTIONS:
        asked = Asked.of(question, "fashion_cnn")
        efforts = {(r.epochs, r.batches) for r in wanted(asked, 1, (MAIN,)) if r.schedule or not r.criterion}
        assert efforts == {(asked.effort.epochs, asked.effort.batches)}
    assert {(r.epochs, r.batches) for r in wanted(ASKED, 1, (MAIN,)) if r.criterion and not r.schedule} == {
        IDLE
    }


def test_a_part_of_a_loader_is_other_images_each_time() -> None:
    shuffled = DataLoader(TensorDataset(torch.arange(50)), 5, shuffle=True)
    part = Part(shuffled, 4)
    first, second = (torch.cat([batch for (batch,) in part]) for _ in range(2))
    assert len(part) == 4
    assert len(set(first.tolist())) == len(second) == 20
    assert not torch.equal(first, second)
    assert len(Part(shuffled, 11)) == 10


def test_the_caption_says_how_long_was_trained() -> None:
    effort = ASKED.effort
    words = f"{effort.epochs} epochs of {effort.batches} batches of 128 images"
    assert words in table([], ASKED).splitlines()[0]
    assert f"({effort.epochs * effort.batches * 128:,} images in all)" in caption(ASKED)
    assert "from new weights" in caption(Asked.of("dynamic", "fashion_cnn"))


def test_only_the_criteria_asked_for_run_beside_the_dense_network() -> None:
    assert {run.criterion for run in wanted(ASKED, 1, (MAIN,), ["random"])} == {"", "random"}


def test_a_table_has_the_records_of_its_own_runs_alone() -> None:
    row = Row("random", "random", "global", "cubic")
    done = [record(row.run(ASKED, 0.8, seed), 0.5 + 0.1 * seed) for seed in range(2)]
    done += [
        record(replace(row.run(ASKED, 0.8, 2), epochs=3), 0.9),
        record(replace(row.run(ASKED, 0.8, 2), batches=7), 0.9),
        record(replace(row.run(ASKED, 0.8, 2), network="fashion_resnet20"), 0.9),
        record(replace(row.run(ASKED, 0.8, 2), trained=False), 0.9),
        record(row.run(ASKED, 0.95, 0), None, failed="a layer would vanish"),
        record(Row("dense").run(ASKED, 0.0, 0), 0.93),
    ]
    text = table(done, ASKED, (0.8, MAIN, 0.95))
    tuned = "pruned while fine-tuned"
    assert cells(text, tuned, "random") == ["55.00 ± 7.07 (2)", "not run", "refused"]
    assert cells(text, tuned, "dense") == ["93.00", "", ""]
    assert cells(text, "pruned at once, then fine-tuned", "random") == ["not run"] * 3


def test_the_density_of_training_is_shown_where_it_starts_anew() -> None:
    asked = Asked.of("dynamic", "fashion_cnn")
    done = [record(Row("", "random", "erk", "set").run(asked, MAIN, 0), 0.9)]
    assert cells(table(done, asked, (MAIN,)), "from new weights", "SET (ERK)") == ["90.00", "0.25"]


def test_the_mean_density_is_that_of_the_steps() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    assert mean_density(None, 10) == 1
    assert mean_density(fw.Pruner(model, 0.75, schedule="one_shot"), 10) == pytest.approx(0.25)
    linear = fw.Pruner(model, 0.8, schedule=fw.schedules.Linear(begin=0, end=4))
    assert mean_density(linear, 8) == pytest.approx(1 - (0.2 + 0.4 + 0.6 + 4 * 0.8) / 8)


@pytest.mark.parametrize(("criterion", "schedule", "epochs"), [("wanda", "", 0), ("movement", "cubic", 2)])
def test_a_run_prunes_what_it_says(criterion: str, schedule: str, epochs: int) -> None:
    run = Run(SMOKE, True, criterion, "global", schedule, 0.9, 0, epochs, 11 if epochs else 0)
    found = perform(run)
    assert is_of(found, run)
    assert not missing([run], [found])
    kept = round(0.1 * (784 * 300 + 300 * 100 + 100 * 10))
    assert kept <= found["nonzero"] <= kept + 410  # and biases, some of which are zero
    assert 0 <= found["test"] <= 1
    assert found["test_examples"] == 360
    assert found["failed"] == ""


def test_sensitivity_is_measured_once_for_all_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[int] = []
    scan = fw.sensitivity

    def counted(*given: Any, **settings: Any) -> Any:
        scans.append(1)
        return scan(*given, **settings)

    monkeypatch.setattr(strategies, "_CURVES", {})
    monkeypatch.setattr(fw, "sensitivity", counted)
    runs = [Run(SMOKE, True, "magnitude", "sensitivity", "", level, 0, *IDLE) for level in (0.8, 0.9)]
    nonzero = [perform(run)["nonzero"] for run in runs]
    assert len(scans) == 1
    assert nonzero[1] < nonzero[0]


def test_the_dense_run_prunes_nothing() -> None:
    found = perform(Run.dense(SMOKE, True, 0, 1, 11))
    assert found["density"] == 1
    assert found["nonzero"] > 0.9 * found["params"]


def test_what_a_strategy_refuses_is_recorded() -> None:
    found = perform(
        Run(SMOKE, True, "movement", "global", "", 0.9, 0, *IDLE)
    )  # which learns, and saw no step
    assert "learns" in found["failed"]
    assert found["test"] is None


def test_a_smoke_run_ends_in_a_table_and_leaves_no_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_now(runs: list[Run], perform: Any, path: Path, *rest: Any, **how: Any) -> None:
        path.write_text("".join(f"{json.dumps(record(run, 0.5))}\n" for run in runs))

    monkeypatch.setattr(_command, "perform_all", all_now)
    before = records(questions.RESULTS)
    questions.main(["allocation", "--smoke"])
    assert "| erk | 50.00 |" in capsys.readouterr().out
    assert records(questions.RESULTS) == before


def test_the_first_table_of_methods_still_shows_its_records() -> None:
    row = "| progressive magnitude |  | 93.28 ± 0.05 (3) | 93.09 ± 0.35 (3) | 93.04 ± 0.13 (3) |"
    assert row in accuracy("fashion_cnn")


@pytest.mark.parametrize("name", [f"{question} of fashion_cnn" for question in (*QUESTIONS, "peers")])
def test_the_page_of_figures_asks_for_each_table_by_its_name(name: str) -> None:
    figures = (Path(__file__).parents[2] / "docs" / "reference" / "figures.md").read_text()
    assert f"<!-- record: {name} -->" in figures
    assert TABLES[name]().splitlines()[-1].startswith("| ")
