"""The demo in miniature, and that it fails where it must."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

import featherweight as fw
from featherweight.artifact import inspect
from featherweight.cli import app
from featherweight.cli.demo import flow, methods, narrowing, subject, teaching
from featherweight.cli.reload import difference
from featherweight.errors import DataError, SettingError
from featherweight.report import DemoRecord
from featherweight.zoo import Splits, load_data
from featherweight.zoo._registry import data_sets

KEYS = {
    "network", "data", "dense_accuracy", "pruned_accuracy", "oneshot_accuracy", "random_accuracy", "sparsity",
    "params", "nonzero", "bytes_dense", "bytes_compact", "compact_file", "test_examples",
    "structured_accuracy", "structured_macs_ratio", "runtime_speedup_vs_onnxruntime", "runtime_ms",
    "onnxruntime_ms", "fw_bytes", "runtime_accuracy",
}  # fmt: skip
TIMES = {"runtime_speedup_vs_onnxruntime", "runtime_ms", "onnxruntime_ms", "fw_bytes"}  # as measured then
WORDS = [
    "demo",
    "--network",
    "small_cnn",
    "--data",
    "digits",
    "--epochs",
    "2",
    "--out",
    "out",
    "--json",
    "a.json",
]


def use_few(patch):
    """Patch in few small digits, few epochs and few points of the curves; return the splits."""
    digits = load_data("digits")
    parts = {"train": range(256), "validation": range(100), "test": range(200)}
    parts = {name: getattr(digits, name).subset(list(chosen)) for name, chosen in parts.items()}
    small = replace(
        digits, **{n: replace(part, images=part.images[..., ::3, ::3]) for n, part in parts.items()}
    )
    patch.setattr(data_sets, "_entries", data_sets._entries | {"digits": lambda: small})
    patch.setattr(subject, "SHOWN", 3 * 256)
    patch.setattr(methods, "LEVELS", (0.5,))
    patch.setattr(narrowing, "SECONDS", 0.05)
    return small


@pytest.fixture
def few(monkeypatch):
    """Few digits for one test."""
    return use_few(monkeypatch)


@dataclass(frozen=True)
class Done:
    """A finished demo: where, with which data, and what it printed."""

    folder: Path
    splits: Splits
    result: Result

    @property
    def record(self):
        return record_of(self.folder)

    @property
    def compact(self):
        return self.folder / self.record["compact_file"]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The demo, run once for the tests that look at what it leaves."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Done(folder, use_few(patch), CliRunner().invoke(app, WORDS))


def record_of(folder):
    return json.loads((folder / "a.json").read_text())


def test_the_whole_demo(done):
    assert done.result.exit_code == 0, done.result.output
    record = done.record
    assert record.keys() >= KEYS
    assert (record["network"], record["data"], record["test_examples"]) == ("small_cnn", "digits", 200)
    assert record["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert record["params"] == 390_890
    assert record["identical_predictions"] is True
    assert record["bytes_compact_fp16"] < record["bytes_compact"] < record["bytes_dense"] / 8
    assert record["bytes_compact"] == done.compact.stat().st_size
    assert "200 test images, bit for bit" in done.result.stdout


def test_the_page_needs_nothing_else(done):
    page = (done.folder / "out" / "report.html").read_text()
    assert page.startswith("<!")
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    assert not [link for link in links if not link.startswith(("#", "data:"))]


def test_the_figures_are_those_of_the_file(done):
    model = fw.load(done.compact, into=fw.zoo.build("small_cnn"))
    assert fw.evaluate(model, done.splits.test.loader(500)) == done.record["pruned_accuracy"]
    assert fw.count_params(model) == done.record["nonzero"]
    layers = {layer["name"]: layer["kept"] for layer in done.record["layers"]}
    assert layers == {name: int(p.count_nonzero()) for name, p in model.named_parameters() if p.ndim > 1}
    for row in done.record["histograms"]:
        assert sum(row["after"]) == layers[row["name"]]
    assert inspect(done.compact).metadata["network"] == "small_cnn"


def test_the_network_with_channels_removed_is_that_of_its_file(done):
    record = done.record
    small = fw.load(done.folder / record["structured_file"], into=fw.zoo.build("small_cnn"))
    assert fw.evaluate(small, done.splits.test.loader(500)) == record["structured_accuracy"]
    assert fw.count_params(small, nonzero=False) == record["structured_params"] < record["params"] / 3
    assert record["structured_macs_ratio"] <= narrowing.MACS
    before, after = record["structured_times"]
    assert record["structured_speedup"] == before["median"] / after["median"]
    widths = {row["name"]: row["after"] for row in record["widths"]}
    assert widths == {name: len(p) for name, p in small.named_parameters() if p.ndim > 1}


def test_the_deployed_file_runs_the_pruned_network(done):
    record = done.record
    session = fw.runtime.load(done.folder / record["fw_file"], threads=1)
    images, labels = next(iter(done.splits.test.loader(len(done.splits.test))))
    got = session.run(images.numpy()).argmax(1)
    assert (got == labels.numpy()).mean() == record["runtime_accuracy"]
    assert abs(record["runtime_accuracy"] - record["pruned_accuracy"]) <= 0.01
    other, own = record["runtime_times"]
    assert record["runtime_ms"] == own["median"]
    assert record["onnxruntime_ms"] == other["median"]
    assert record["runtime_speedup_vs_onnxruntime"] == other["median"] / own["median"]
    assert record["fw_bytes"] == (done.folder / record["fw_file"]).stat().st_size


def test_structured_pruning_that_cuts_nothing_fails(invoke, folder, few, monkeypatch):
    monkeypatch.setattr(
        narrowing,
        "progressive_prune_structured",
        lambda model, *args, **settings: (copy.deepcopy(model), ()),
    )
    result = invoke(*WORDS)
    assert result.exit_code == 1
    assert "Check failed: after structured pruning" in result.stderr
    assert not (folder / "a.json").exists()


def test_the_curves_say_what_they_are(done):
    curves = {curve["label"]: curve for curve in done.record["curves"]}
    progressive = curves.pop("progressive, while fine-tuning")
    lines = next((done.folder / "out" / "runs").glob("*-0.9-*")) / "metrics.jsonl"
    epochs = [json.loads(line) for line in lines.read_text().splitlines()]
    assert progressive["kept"] == pytest.approx([1, *(1 - epoch["sparsity"] for epoch in epochs)])
    assert progressive["accuracy"][1:] == [epoch["validation"] for epoch in epochs]
    assert set(curves) == {"one-shot, no fine-tuning", "random, no fine-tuning"}
    for curve in curves.values():
        assert curve["kept"] == pytest.approx([1, 0.5, 0.1])
    for curve in (progressive, *curves.values()):
        assert (curve["split"], curve["examples"]) == ("validation", 100)
        assert curve["accuracy"][0] == progressive["accuracy"][0]


def test_run_again_it_trains_nothing_again(done, invoke, folder, few, monkeypatch):
    shutil.copytree(done.folder / "out", folder / "out")
    monkeypatch.setattr(torch.optim.SGD, "step", None)
    result = invoke(*WORDS)
    assert result.exit_code == 0, result.output
    record = record_of(folder)
    same = KEYS - TIMES
    assert {key: record[key] for key in same} == {key: done.record[key] for key in same}
    assert record["seconds"][flow.PRUNING] >= 0.5 * done.record["seconds"][flow.PRUNING]


STUDENT = {
    "teacher_accuracy", "student_alone_accuracy", "student_distilled_accuracy", "student_params",
    "teacher_params",
}  # fmt: skip


def test_a_student_is_taught_when_asked_for(done, invoke, folder, few, monkeypatch):
    shutil.copytree(done.folder / "out", folder / "out")
    kept = {}
    score = teaching.score
    monkeypatch.setattr(
        teaching, "score", lambda s, students: kept.update(vars(students)) or score(s, students)
    )
    result = invoke(*WORDS, "--distill")
    assert result.exit_code == 0, result.output
    record = record_of(folder)
    assert record.keys() - done.record.keys() == STUDENT
    assert record["teacher_accuracy"] == record["dense_accuracy"]
    assert record["student_params"] == 25_154 < 0.1 * record["teacher_params"] == 39_089.0
    test = done.splits.test.loader(500)
    for which, model in kept.items():
        assert record[f"student_{which}_accuracy"] == fw.evaluate(model, test)
    assert "student distilled: accuracy" in result.stdout
    page, other = ((place / "out" / "report.html").read_text() for place in (folder, done.folder))
    for words in ("student distilled: accuracy", "A network of 25,154 parameters, trained twice"):
        assert words in page
        assert words not in other
    assert json.loads(DemoRecord.from_json((folder / "a.json").read_text()).to_json()) == record
    assert flow.TEACHING in record["seconds"]
    assert flow.TEACHING not in done.record["seconds"]


def test_the_student_is_that_of_distill_and_alone_that_of_fit(done, folder, few):
    made = subject.make_subject("small_cnn", "digits", 0, done.folder / "out" / "runs")
    students = teaching.teach(made, 0, folder)
    settings = fw.TrainingSettings(epochs=teaching.EPOCHS, learning_rate=teaching.LEARNING_RATE)
    loaders = made.loaders.train, made.loaders.validate
    student = teaching.small_student(made, 0)
    expected = fw.distill(
        made.model, student, *loaders, alpha=0.9, temperature=4.0, settings=settings, progress=False
    )
    fw.fit(student, *loaders, settings, progress=False)
    for got, wanted in ((students.distilled, expected), (students.alone, student)):
        assert all(torch.equal(value, got.state_dict()[n]) for n, value in wanted.state_dict().items())


def test_a_teacher_that_changes_nothing_fails(done, invoke, folder, few, monkeypatch):
    def from_labels(teacher, student, train, validate, *, settings, **ignored):
        learnt = copy.deepcopy(student)
        fw.fit(learnt, train, validate, settings, progress=False)
        return learnt

    shutil.copytree(done.folder / "out", folder / "out")
    monkeypatch.setattr(teaching, "distill", from_labels)
    result = invoke(*WORDS, "--distill")
    assert result.exit_code == 1
    assert "the teacher changed nothing" in result.stderr
    assert not (folder / "a.json").exists()


def test_a_network_that_is_too_small_to_teach_is_refused(few):
    tiny = subject.Subject("n", "n", torch.nn.Linear(8, 10), few, None)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="no small CNN has under a tenth of the 90 parameters"):
        teaching.small_student(tiny, 0)


def test_it_is_refused_before_anything_is_trained(refused, folder, few, monkeypatch):
    monkeypatch.setattr(teaching, "SHARE", 1e-6)
    monkeypatch.setattr(methods, "progressive_prune", None)
    assert "--distill: no small CNN has under a tenth" in refused(*WORDS, "--distill")


def test_a_progressive_pruner_that_does_nothing_fails(invoke, folder, few, monkeypatch):
    monkeypatch.setattr(methods, "progressive_prune", lambda model, *args, **settings: copy.deepcopy(model))
    result = invoke(*WORDS)
    assert result.exit_code == 1
    assert "Check failed: after progressive pruning 389,920 of 389,920 weights are not zero" in result.stderr
    assert not (folder / "a.json").exists()


def test_a_one_shot_pruner_that_does_nothing_fails(invoke, folder, few, monkeypatch):
    monkeypatch.setattr(methods, "prune", lambda model, *args, **settings: None)
    result = invoke(*WORDS)
    assert result.exit_code == 1
    assert "Check failed: after pruning by magnitude" in result.stderr


def test_a_file_that_predicts_otherwise_fails(invoke, folder, few, monkeypatch):
    def tampered(compact, predictions):
        model = fw.load(compact, into=fw.zoo.build("small_cnn"))
        with torch.no_grad():
            model.fc.bias[0] += 1e-3
        fw.save(model, compact, metadata=inspect(compact).metadata)
        return difference(str(compact), str(predictions))

    monkeypatch.setattr(flow, "differs_in_fresh_process", tampered)
    result = invoke(*WORDS)
    assert result.exit_code == 1
    assert "200 of 200 predictions differ, by up to 0.001" in result.stderr
    assert "bit for bit" not in result.stdout
    assert record_of(folder)["identical_predictions"] is False


def test_without_fashion_mnist_it_says_so_and_takes_the_digits(folder, few, monkeypatch, capsys):
    def missing():
        raise DataError("Fashion-MNIST is nowhere.")

    monkeypatch.setattr(data_sets, "_entries", data_sets._entries | {"fashion_mnist": missing})
    made = subject.make_subject("fashion_cnn", "fashion_mnist", 0, folder / "runs")
    assert (made.network, made.architecture, made.splits.name) == ("fashion_cnn", "small_cnn", "digits")
    said = capsys.readouterr()
    assert "Fashion-MNIST is nowhere." in said.err
    assert "uses 'digits' instead" in said.err
    assert "training it first, 3 epochs" in said.out


def test_a_network_that_comes_trained_is_not_trained(folder, few, monkeypatch):
    monkeypatch.setattr(
        data_sets,
        "_entries",
        data_sets._entries | {"fashion_mnist": lambda: replace(few, name="fashion_mnist")},
    )
    made = subject.make_subject("fashion_cnn", "fashion_mnist", 0, folder / "runs")
    expected = fw.load_model("fashion_cnn").state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in made.model.state_dict().items())
    assert not (folder / "runs").exists()


def test_other_data_that_are_missing_are_an_error(refused, folder, monkeypatch):
    def missing():
        raise DataError("CIFAR-10 is nowhere.")

    monkeypatch.setattr(data_sets, "_entries", data_sets._entries | {"cifar10": missing})
    assert refused("demo", "--data", "cifar10") == "Error: CIFAR-10 is nowhere.\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--network", "fashion_cmm"], "No trained network is called 'fashion_cmm'"),
        (["--data", "digit"], "No data set is called 'digit'. Did you mean 'digits'?"),
        (["--sparsity", "90"], "--sparsity is the fraction of zeros, between 0 and 1, got 90.0"),
        (["--epochs", "0"], "epochs is a whole number of at least 1"),
        (["--out", "file"], "--out 'file' is a file"),
    ],
)
def test_what_is_refused(refused, folder, words, says):
    (folder / "file").touch()
    assert says in refused("demo", *words)
