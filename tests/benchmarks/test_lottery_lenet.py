"""The benchmark of lottery tickets: what it runs, and what becomes of its records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.lottery.lenet import EXPERIMENT, add_results, results, shown

from featherweight.sparsity.lottery import LevelRecord
from featherweight.sparsity.lottery.queue import steps_of


def made(lead: float = 0.0) -> list[LevelRecord]:
    """Return a record of each training, of figures that are made up: the ticket leads."""
    found = []
    for step in steps_of(EXPERIMENT):
        test = 0.9 + step.seed / 1000 - (0 if step.branch == "ticket" else lead)
        own = EXPERIMENT.key(step.branch, step.seed), step.branch, step.seed, step.level
        found.append(LevelRecord(*own, round(1000 * 0.8**step.level), 1000, 0.8, test, 10_000, 5, 5, 0, 1.0))
    return found


def test_it_goes_down_to_three_per_cent_from_three_seeds() -> None:
    assert (1 - EXPERIMENT.fraction) ** EXPERIMENT.levels < 0.03
    assert len(EXPERIMENT.seeds) == 3
    assert {"ticket", "random_init", "shuffled_mask", "random_mask"} <= set(EXPERIMENT.branches)
    assert len(steps_of(EXPERIMENT)) == 3 * (1 + 4 * 16)


def test_records_are_added_once(tmp_path: Path) -> None:
    path = tmp_path / "lottery.jsonl"
    add_results(path, made()[:3], {"cpu": "x"})
    add_results(path, made()[:5], {"cpu": "x"})
    assert results(path) == made()[:5]
    assert path.read_text().count('"cpu": "x"') == 5


def test_what_is_shown_is_of_this_experiment_alone() -> None:
    other = replace(EXPERIMENT, fraction=0.3)
    strangers = [replace(record, experiment=other.key(record.branch, record.seed)) for record in made(0.5)]
    record = shown(EXPERIMENT, [*made(0.01), *strangers])
    assert record.trainings == 195
    assert record.parts_at == 0.8
    assert len(record.curves) == 4
    assert record.statements[1].startswith("Ticket and random re-initialisation part at 80.0%")
    smaller = replace(EXPERIMENT, levels=2, seeds=(0,))
    assert shown(smaller, made()).trainings == 1 + 4 * 2
