"""The benchmark of language: what is run, what is chosen, and its table, from records that are made up."""

import importlib
from dataclasses import asdict, replace
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2])
    language = importlib.import_module("benchmarks.distillation.language")
    reviews = importlib.import_module("benchmarks.distillation.reviews")

ALONE, ROWS, TAUGHT = language.ALONE, language.ROWS, language.TAUGHT
START, END, PAD, TOKENS = reviews.START, reviews.END, reviews.PAD, reviews.TOKENS
is_of, missing, table, shortened = language.is_of, language.missing, language.table, reviews._shortened
PLAN = language.Plan(reviews=80, epochs=2, tuning=20, seeds=3, test=100, validation=50)
ALONE_ROW, TAUGHT_ROW = ROWS
BEST = language.RATES[2]
TEACHER = PLAN.teacher_at(BEST)


def record(run, validation, test=None):
    return asdict(run) | {"validation": validation, "test": test, "params": 17_400_000}


@pytest.fixture
def tuned():
    """The second candidate of each row validates best, and of the teacher the third."""
    rates = [record(PLAN.teacher_tuned(rate), 0.9 if rate == BEST else 0.8) for rate in language.RATES]
    return rates + [
        record(PLAN.tuned(TEACHER, candidate), 0.8 - 0.01 * abs(place - 1))
        for candidates in ROWS.values()
        for place, candidate in enumerate(candidates)
    ]


@pytest.fixture
def done(tuned):
    rows = [record(TEACHER, 0.9, 0.88), *tuned]
    for seed in range(PLAN.seeds):
        rows += [record(PLAN.final(TEACHER, ALONE[1], seed), 0.8, 0.80 + seed / 100)]
        rows += [record(PLAN.final(TEACHER, TAUGHT[1], seed), 0.87, 0.86 + seed / 100)]
    times = {"teacher": {"median": 20.0}, "student": {"median": 8.0}}
    return [*rows, {"role": "speed", "batch": 1, "milliseconds": times}]


def test_all_have_as_many_candidates():
    assert len(ALONE) == len(TAUGHT) == len(language.RATES)


def test_the_teacher_has_the_rate_that_validates_best(tuned):
    assert PLAN.teacher(tuned) == TEACHER
    assert PLAN.teacher(tuned[1:]) is None
    assert all(PLAN.teacher_tuned(rate).tuning for rate in language.RATES)


def test_the_best_on_validation_is_chosen_and_run_from_every_seed(tuned):
    assert PLAN.chosen(TEACHER, ALONE_ROW, tuned) == ALONE[1]
    assert PLAN.chosen(TEACHER, TAUGHT_ROW, tuned) == TAUGHT[1]
    finals = list(PLAN.finals(TEACHER, tuned))
    assert [(run.loss, run.seed) for run in finals] == [
        (loss, seed) for seed in range(3) for loss in (ALONE[1][0], TAUGHT[1][0])
    ]
    assert all(not run.tuning and run.reviews == 80 and run.epochs == 2 for run in finals)


def test_nothing_is_chosen_before_all_candidates_were_tried(tuned):
    lacking = [each for each in tuned if not is_of(each, PLAN.tuned(TEACHER, ALONE[0]))]
    assert PLAN.chosen(TEACHER, ALONE_ROW, lacking) is None
    assert list(PLAN.finals(TEACHER, lacking)) == [PLAN.final(TEACHER, TAUGHT[1], seed) for seed in range(3)]


def test_what_is_there_is_not_run_again(done):
    assert not missing(PLAN.finals(TEACHER, done), done)
    assert missing(PLAN.finals(TEACHER, done), done[:-2]) == [PLAN.final(TEACHER, TAUGHT[1], 2)]
    longer = replace(PLAN, epochs=3)
    assert missing([longer.teacher_at(BEST)], done)


def test_table(done):
    rows = table(done, PLAN).splitlines()[2:]
    assert rows[0] == "| teacher, 6 layers | rate 0.00024 | 90.00 | 88.00 | 100.00 | 17.4 | 20.0 | 1.00 |"
    assert (
        "| student, labels alone, 3 layers | rate 0.00012 | 80.00 ± 0.00 (3) | 81.00 ± 1.00 (3) |" in rows[1]
    )
    assert rows[2].endswith("| 87.00 ± 1.00 (3) | 98.86 ± 1.14 (3) | 17.4 | 8.0 | 2.50 |")


def test_table_of_nothing():
    assert "not been run" in table([], PLAN)


def test_long_reviews_keep_their_first_and_last_tokens():
    text = list(range(1000, 1400))
    kept = shortened(text)
    assert len(kept) == TOKENS
    assert kept == [START, *text[:63], *text[-63:], END]


@pytest.mark.parametrize("length", [0, 5, TOKENS - 2])
def test_short_reviews_are_padded(length):
    text = list(range(1000, 1000 + length))
    assert shortened(text) == [START, *text, END] + [PAD] * (TOKENS - 2 - length)
