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
from benchmarks.methods import questions
from benchmarks.methods.questions import QUESTIONS, Asked, Row, learns, table, wanted
from benchmarks.methods.strategies import MAIN, SMOKE, Run, mean_density, perform
from benchmarks.tables import TABLES, accuracy

import featherweight as fw
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import criteria

ASKED = Asked(QUESTIONS["criteria"], "fashion_cnn", 2)


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


def test_the_main_level_comes_first_from_every_seed_and_others_from_one() -> None:
    runs = list(wanted(ASKED, 3, (0.8, MAIN)))
    assert len(set(runs)) == len(runs)
    pruned = [run for run in runs if run.criterion == "random" and run.schedule == "cubic"]
    assert [(run.sparsity, run.seed) for run in pruned] == [(MAIN, 0), (MAIN, 1), (MAIN, 2), (0.8, 0)]
    assert [run.seed for run in runs if not run.criterion] == [0, 1, 2]
    both = wanted(ASKED, 2, (0.8, MAIN), ["random"], all_seeds=True)
    assert sum(run.criterion == "random" and run.schedule == "cubic" for run in both) == 4


def test_only_the_criteria_asked_for_run_beside_the_dense_network() -> None:
    assert {run.criterion for run in wanted(ASKED, 1, (MAIN,), ["random"])} == {"", "random"}


def test_a_table_has_the_records_of_its_own_runs_alone() -> None:
    row = Row("random", "random", "global", "cubic")
    done = [record(row.run(ASKED, 0.8, seed), 0.5 + 0.1 * seed) for seed in range(2)]
    done += [
        record(replace(row.run(ASKED, 0.8, 2), epochs=3), 0.9),
        record(replace(row.run(ASKED, 0.8, 2), network="fashion_resnet20"), 0.9),
        record(replace(row.run(ASKED, 0.8, 2), trained=False), 0.9),
        record(row.run(ASKED, 0.95, 0), None, failed="a layer would vanish"),
        record(Run.dense("fashion_cnn", True, 0, 2), 0.93),
    ]
    text = table(done, ASKED, (0.8, MAIN, 0.95))
    tuned = "pruned while fine-tuned"
    assert cells(text, tuned, "random") == ["55.00 ± 7.07 (2)", "not run", "refused"]
    assert cells(text, tuned, "dense") == ["93.00", "", ""]
    assert cells(text, "pruned at once, then fine-tuned", "random") == ["not run"] * 3


def test_the_density_of_training_is_shown_where_it_starts_anew() -> None:
    asked = Asked(QUESTIONS["dynamic"], "fashion_cnn", 8)
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
    run = Run(SMOKE, True, criterion, "global", schedule, 0.9, 0, epochs)
    found = perform(run)
    assert is_of(found, run)
    assert not missing([run], [found])
    kept = round(0.1 * (784 * 300 + 300 * 100 + 100 * 10))
    assert kept <= found["nonzero"] <= kept + 410  # and biases, some of which are zero
    assert 0 <= found["test"] <= 1
    assert found["test_examples"] == 360
    assert found["failed"] == ""


def test_the_dense_run_prunes_nothing() -> None:
    found = perform(Run.dense(SMOKE, True, 0, 1))
    assert found["density"] == 1
    assert found["nonzero"] > 0.9 * found["params"]


def test_what_a_strategy_refuses_is_recorded() -> None:
    found = perform(Run(SMOKE, True, "movement", "global", "", 0.9, 0, 0))  # which learns, and saw no step
    assert "learns" in found["failed"]
    assert found["test"] is None


def test_a_smoke_run_ends_in_a_table_and_leaves_no_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_now(runs: list[Run], perform: Any, path: Path, *rest: Any) -> None:
        path.write_text("".join(f"{json.dumps(record(run, 0.5))}\n" for run in runs))

    monkeypatch.setattr(questions, "perform_all", all_now)
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
