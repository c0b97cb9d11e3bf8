"""One-shot pruning of pretrained networks: figures, data, runs and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.oneshot import photographs, runs, sentences
from benchmarks.oneshot.compare import LEVELS, SHOWN, asked, table, wanted
from benchmarks.oneshot.runs import METHODS, Run, at_random, perform
from benchmarks.oneshot.tasks import agreement, images_of, relative_error, similarity, spearman
from benchmarks.tables import TABLES
from torch import nn

from featherweight.sparsity.oneshot import LayerProblem, methods
from featherweight.sparsity.patterns import row_pattern


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(runs, "FOLDER", tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_spearman_looks_at_ranks_alone() -> None:
    values = torch.tensor([0.1, 5.0, 0.2, 9.0])
    assert spearman(values, values.exp()) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)
    assert spearman(values, torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_agreement_and_error_by_hand() -> None:
    dense = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    sparse = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert agreement(dense, sparse)["agreement"] == 0.5
    assert relative_error(dense, sparse) == pytest.approx(2**0.5)
    assert relative_error(dense, dense.mean(0).expand(2, 2)) == pytest.approx(1)


def test_similarity_is_of_pairs() -> None:
    torch.manual_seed(0)
    dense = nn.functional.normalize(torch.randn(12, 5))
    turned = dense @ torch.linalg.qr(torch.randn(5, 5))[0]
    assert similarity(dense, turned)["spearman"] == pytest.approx(1, abs=1e-6)  # angles are the same
    assert similarity(dense, turned)["error"] > 0.5
    assert abs(similarity(dense, dense.flip(0))["spearman"]) < 0.9


def test_scenes_are_on_one_side_and_objects_on_both() -> None:
    for seed in range(5):
        learned, seen = photographs.scenes(seed)
        assert sorted(learned + seen) == sorted(photographs.SCENES)
        assert len(learned) == len(seen)
        assert (
            abs(sum(n in photographs.OBJECTS for n in learned) - sum(n in photographs.OBJECTS for n in seen))
            == 1
        )
    assert photographs.scenes(0) != photographs.scenes(1)


def test_crops_take_scenes_in_turn_and_are_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bright = {"dark": 0.0, "light": 1.0}
    monkeypatch.setattr(photographs, "photographs", lambda name: [torch.full((3, 300, 260), bright[name])])
    found = photographs.crops(["dark", "light"], 5, seed=0)
    assert found.shape == (5, 3, 224, 224)
    assert torch.equal(found, photographs.crops(["dark", "light"], 5, seed=0))
    assert not torch.equal(found, photographs.crops(["dark", "light"], 5, seed=1))
    assert found.min() >= -1
    assert found.max() <= 1
    means = found.mean((1, 2, 3))
    assert bool((means[::2] < -0.9).all())  # dark
    assert bool((means[1::2] > 0.3).all())


def test_depthwise_and_first_convolutions_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1))
    assert photographs.left_alone(model) == ("0", "1")


def test_sentences_have_their_words_and_one_of_each_text_is_taken() -> None:
    assert sentences.split("It is good.<br /><br />Is it? Yes!  No") == [
        "It is good.",
        "Is it?",
        "Yes!",
        "No",
    ]
    long = " ".join(["word"] * 10)
    texts = [f"Short. {long}. {long} again.", "Short.", f"{long}!"]
    assert sentences.first_sentences(texts, 2) == [f"{long}.", f"{long}!"]
    with pytest.raises(SystemExit, match="There are 2"):
        sentences.first_sentences(texts, 3)


def test_a_level_is_a_share_or_a_pattern() -> None:
    sizes = {"seed": 1, "examples": 8, "evaluated": 9}
    assert asked("minilm", "obs", "60%", **sizes) == Run("minilm", "obs", 0.6, "unstructured", 1, 8, 9)
    assert asked("minilm", "obs", "2:4", **sizes) == Run("minilm", "obs", 0.501, "2:4", 1, 8, 9)
    assert asked("minilm", "obs", "1:4", **sizes).sparsity == 0.751


def test_every_method_runs_at_every_level_from_every_seed() -> None:
    assert METHODS.keys() >= {"random", "magnitude_global", "alps_global", *methods}
    found = list(wanted("minilm", seeds=2))
    named = [name for name, method in METHODS.items() if method.batch_norm == "match"]
    assert len(set(found)) == len(found) == 2 * len(named) * len(LEVELS)
    normed = {run.method for run in wanted("efficientnet_lite0")}
    assert normed == METHODS.keys() > set(named), "minilm has no batch norm"


def test_the_table_has_figure_error_and_cost() -> None:
    done = [made(run) for run in wanted("minilm", ["random", "obs"], ["50%", "60%"], 2)]
    text = table(done, "minilm")
    assert "| random | 0.500 ± 0.000 (2) | refused | not run | not run | not run |" in text
    assert "| obs | 1.500 ± 0.000 (2) | 1.500 ± 0.000 (2) |" in text
    assert "| obs | 2.5 ± 0.0 (2) | 30 ± 0 (2) | not run | not run |" in text
    assert "not run" in table(done, "minilm", examples=1).split("| obs |")[1]
    assert "| method | 50% |" in table(done, "minilm", ["obs"], ["50%"])
    caption = text.splitlines()[0]
    assert (
        "(128 examples to calibrate with, 256 to compare on, mean ± standard deviation of as many" in caption
    )
    one = table([record for record in done if not record["seed"]], "minilm").splitlines()[0]
    assert one.endswith("(128 examples to calibrate with, 256 to compare on, one seed):")


def made(run: Run) -> dict[str, Any]:
    if run.method == "random" and run.sparsity == 0.6:
        return asdict(run) | {"failed": "it refuses"}
    figures = {"spearman": 0.5, "error": 1.5, "processor_seconds": 2.5, "peak_mb": 30.0}
    return asdict(run) | figures | {"failed": ""}


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_the_control_keeps_as_many_other_weights_by_seed(pattern: str) -> None:
    weights, hessian = torch.ones(4, 1, 8), torch.eye(8)[None]
    problem = LayerProblem(weights, hessian, 16, row_pattern(pattern))
    keeps = [at_random(seed)(problem).keep for seed in (0, 1)]
    assert [int(keep.sum()) for keep in keeps] == [16, 16]
    assert not torch.equal(*keeps)


@pytest.mark.parametrize("method", ["random", "magnitude_global", "alps_global", "sparsegpt"])
def test_a_run_prunes_as_much_as_it_says(method: str) -> None:
    run = Run("smoke", method, 0.5, "unstructured", 0, 16, 16)
    found = perform(run)
    assert asdict(run).items() <= found.items()
    assert found["failed"] == ""
    assert found["zeros"] == pytest.approx(0.5, abs=1e-4)
    assert found["error"] > 0
    assert found["peak_mb"] >= 0


def test_what_is_evaluated_on_is_the_same_for_each_seed_where_a_task_says_so() -> None:
    drawn = [
        images_of("digits", "test", 16, fixed=fixed)(seed, 40) for fixed in (True, False) for seed in (0, 1)
    ]
    first, second, free, other = (torch.cat([inputs for inputs, _ in batches]) for batches in drawn)
    assert torch.equal(first, second)
    assert torch.equal(first, free)
    assert not torch.equal(free, other)


def test_examples_in_another_order_are_other_examples() -> None:
    batches = images_of("digits", "test", 16)(0, 40)
    turned = [(inputs.flip(0), labels) for inputs, labels in batches]
    assert runs.sum_of(batches) == runs.sum_of(images_of("digits", "test", 16)(0, 40))
    assert runs.sum_of(batches) != runs.sum_of(turned)


def test_outputs_of_the_dense_network_are_those_of_the_same_examples(tmp_path: Path) -> None:
    perform(Run("smoke", "random", 0.5, "unstructured", 0, 16, 16))
    (file,) = tmp_path.iterdir()
    stored = torch.load(file, weights_only=True)
    torch.save(stored | {"examples": 0.0}, file)
    with pytest.raises(SystemExit, match="other examples"):
        perform(Run("smoke", "random", 0.5, "unstructured", 0, 16, 16))


def test_what_a_method_refuses_is_recorded() -> None:
    found = perform(Run("smoke", "sparsegpt", 0.1, "2:4", 0, 16, 16))  # 2:4 keeps at most half
    assert "2:4" in found["failed"]
    assert "error" not in found


@pytest.mark.parametrize("network", SHOWN)
def test_the_page_of_figures_asks_for_the_table_of_each_network(network: str) -> None:
    figures = (Path(__file__).parents[2] / "docs" / "reference" / "figures.md").read_text()
    assert f"<!-- record: one-shot of {network} -->" in figures
    assert TABLES[f"one-shot of {network}"]().splitlines()[-1].startswith("| ")
