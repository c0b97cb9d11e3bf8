"""``featherweight distill``: a student alone and with a teacher."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch

import featherweight as fw
from featherweight.cli.batches import make_batches
from featherweight.cli.distilling import flow, training
from featherweight.cli.network import make_network

MORE = """
def tiny():
    return torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))

def four_classes():
    return torch.nn.Linear(8, 4)

def mislabelled():
    train, validate, test = data()
    return [(inputs, (targets + 1) % 3) for inputs, targets in train], validate, test

def unlabelled():
    train, validate, test = data()
    return [(inputs, torch.full_like(targets, -100)) for inputs, targets in train], validate, test

def bare():
    train, validate, test = data()
    return [inputs for inputs, _ in train], validate, test

def bare_in_tuples():
    train, validate, test = data()
    return [(inputs,) for inputs, _ in train], validate, test

def mappings():
    return [[{"x": x, "labels": y} for x, y in part] for part in data()]

class Named(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x, labels=None):
        logits = self.inner(x)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return {"logits": logits, "loss": loss}

class Jittered(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        inputs, targets = data()[0][index // 16]
        return inputs[index % 16] + 0.01 * torch.randn(8), targets[index % 16]

def augmented():
    return torch.utils.data.DataLoader(Jittered(), 16), data()[1]
"""
NETWORKS = ("--teacher", "mynet:net", "--student", "mynet:tiny")
WORDS = (*NETWORKS, "--data", "mynet:data", "--teacher-weights", "rolled.safetensors", "--json", "a.json")
TAUGHT = ("--teacher-weights", "w.safetensors", "--data", "mynet:mislabelled", "--alpha", "1")
LONG = ("--epochs", "40", "--learning-rate", "0.3")


LEARNT = {}  # of mynet:net, by the first test that asks


@pytest.fixture
def trained(mynet, monkeypatch):
    """Weights of a trained mynet:net, w.safetensors, and of the same with its classes in another order."""
    monkeypatch.setattr(flow, "SECONDS", 0.02)
    (mynet / "mynet.py").write_text((mynet / "mynet.py").read_text() + MORE)
    model, batches = make_network("mynet:net", None), make_batches("mynet:data")
    if not LEARNT:
        settings = fw.TrainingSettings(epochs=30, learning_rate=0.2)
        fw.fit(model, batches.train, batches.validate, settings, progress=False)
        LEARNT.update(copy.deepcopy(model.state_dict()))  # what is loaded next would change it
    model.load_state_dict(LEARNT)
    fw.save(model, "w.safetensors")
    rolled = {n: v.roll(1, 0) if n.startswith("2.") else v for n, v in LEARNT.items()}
    model.load_state_dict(rolled)
    fw.save(model, "rolled.safetensors")
    return model


def record_of(folder):
    return json.loads((folder / "a.json").read_text())


def check_that_the_teacher_was_followed(invoke, folder):
    """With alpha 1 the labels of the training data, which are all wrong, are not looked at."""
    result = invoke("distill", *WORDS, *TAUGHT, *LONG)
    assert result.exit_code == 0, result.output
    record = record_of(folder)
    assert record["teacher_accuracy"] > 0.7
    assert record["student_distilled_agreement"] > 0.65 > 0.55 > record["student_alone_agreement"]
    assert record["student_distilled_accuracy"] > 0.65 > 0.55 > record["student_alone_accuracy"]
    return result


def test_the_student_does_what_the_teacher_does(invoke, trained, mynet):
    result = check_that_the_teacher_was_followed(invoke, mynet)
    rows = {
        cells[1].strip(): cells[2:-1] for line in result.stdout.splitlines() if (cells := line.split("│"))[1:]
    }
    assert list(rows) == ["student alone", "student distilled", "teacher"]
    record = record_of(mynet)
    for name, key in (("teacher", "teacher"), ("student distilled", "student_distilled")):
        assert f"{100 * record[f'{key}_accuracy']:.2f}%" in rows[name][0]
    assert [row[2].strip() for row in rows.values()] == ["51", "51", "195"]
    assert "test split, 16 examples" in result.stdout
    assert "3.8x fewer parameters than the teacher" in result.stdout


def test_a_command_that_leaves_the_teacher_out_is_noticed(invoke, trained, mynet, monkeypatch):
    """The check above fails, whether the student learns from the labels alone or is given back as it was."""

    def from_labels(teacher, student, train, validate, *, settings, run_dir, **ignored):
        learnt = copy.deepcopy(student)
        changed = fw.TrainingSettings(**{**vars(settings), "learning_rate": 0.31})
        fw.fit(learnt, train, validate, changed, run_dir=run_dir, progress=False)
        return learnt

    def untrained(teacher, student, train, validate, *, settings, run_dir, **ignored):
        from_labels(teacher, student, train, validate, settings=settings, run_dir=run_dir)
        return copy.deepcopy(student)

    for fake in (from_labels, untrained):
        monkeypatch.setattr(training, "distill", fake)
        with pytest.raises(AssertionError):
            check_that_the_teacher_was_followed(invoke, mynet)


def test_a_teacher_that_changes_nothing_is_a_failed_check(invoke, trained, mynet, monkeypatch):
    def from_labels(teacher, student, train, validate, *, settings, run_dir, **ignored):
        learnt = copy.deepcopy(student)
        fw.fit(learnt, train, validate, settings, run_dir=run_dir, progress=False)
        return learnt

    monkeypatch.setattr(training, "distill", from_labels)
    result = invoke("distill", *WORDS, "--epochs", "1")
    assert result.exit_code == 1
    assert "Check failed: the distilled student has the weights of the student alone" in result.stderr
    assert not (mynet / "student.safetensors").exists()


def test_the_figures_are_those_of_the_file(invoke, trained, mynet):
    words = ("--epochs", "3", "--values", "fp16", "--out", "s.safetensors")
    result = invoke("distill", *WORDS, *words)
    assert result.exit_code == 0, result.output
    record, batches = record_of(mynet), make_batches("mynet:data")
    small = fw.load("s.safetensors", into=make_network("mynet:tiny", None))
    assert record["student_distilled_accuracy"] == fw.evaluate(small, batches.test)
    assert record["teacher_accuracy"] == fw.evaluate(trained, batches.test)
    assert record["teacher_validation"] == fw.evaluate(trained, batches.validate)
    inputs, labels = batches.test[0]
    same = small.eval()(inputs).argmax(1) == trained(inputs).argmax(1)
    assert record["student_distilled_agreement"] == same.float().mean().item()
    assert sum(row["distilled"] for row in record["classes"]) == int(same.sum())
    assert {row["name"]: row["examples"] for row in record["classes"]} == {
        str(label): int((labels == label).sum()) for label in labels.unique().tolist()
    }
    assert record["bytes_compact"] == (mynet / "s.safetensors").stat().st_size
    assert (record["alpha"], record["temperature"], record["loss"]) == ([0.5], [4.0], "kd")
    assert [run["label"] for run in record["runs"]] == ["student alone", "student distilled"]
    assert [len(run["validation"]) for run in record["runs"]] == [3, 3]
    assert not list(mynet.glob(".s.safe*")), "the checkpoints of a finished run are removed"


def test_alone_is_fit_and_distilled_is_distill_on_the_same_batches(invoke, trained, mynet, monkeypatch):
    seen = []
    real = training.fit

    def spied(model, train, validate, settings, **more):
        real(model, train, validate, settings, **more)
        seen.append((copy.deepcopy(model.state_dict()), settings))

    monkeypatch.setattr(training, "fit", spied)
    words = ("--epochs", "2", "--learning-rate", "0.1", "--seed", "3", "--ema-decay", "0.9")
    words += ("--loss", "kd + 0.5*mse", "--alpha", "0.9,0.1", "--temperature", "2")
    result = invoke("distill", *WORDS, *words)
    assert result.exit_code == 0, result.output
    batches, student = make_batches("mynet:data"), make_network("mynet:tiny", None, 3)
    settings = fw.TrainingSettings(epochs=2, learning_rate=0.1, seed=3, ema_decay=0.9)
    expected = fw.distill(
        trained, student, batches.train, batches.validate, loss="kd + 0.5*mse", alpha=(0.9, 0.1),
        temperature=2.0, settings=settings, progress=False,
    ).state_dict()  # fmt: skip
    assert all(torch.equal(fw.load("student.safetensors")[name], value) for name, value in expected.items())
    real(student, batches.train, batches.validate, settings, progress=False)
    assert seen[0][1] == settings
    assert all(torch.equal(seen[0][0][name], value) for name, value in student.state_dict().items())
    assert record_of(mynet)["alpha"] == [0.9, 0.1]


def test_features_by_name(invoke, trained, mynet):
    states = []
    for pair in ("0=0", "1=1"):
        words = ("--loss", "0.5*hints", "--features", pair, "--epochs", "1", "--no-baseline")
        result = invoke("distill", *WORDS, *words)
        assert result.exit_code == 0, result.output
        states.append(fw.load("student.safetensors"))
    assert not torch.equal(states[0]["0.weight"], states[1]["0.weight"])
    record = record_of(mynet)
    assert (
        record["student_alone_accuracy"] is record["student_alone_agreement"] is record["temperature"] is None
    )
    assert [run["label"] for run in record["runs"]] == ["student distilled"]


def test_the_student_starts_from_its_weights_and_keeps_its_zeros(invoke, trained, mynet):
    pruned = make_network("mynet:net", None, 5)
    fw.prune(pruned, 0.5)
    fw.save(pruned, "sparse.safetensors")
    words = ("--student", "mynet:net", "--student-weights", "sparse.safetensors", "--epochs", "1")
    result = invoke("distill", *WORDS, *words, "--learning-rate", "1e-4")
    assert result.exit_code == 0, result.output
    state = fw.load("student.safetensors")
    for name, value in pruned.state_dict().items():
        assert torch.allclose(state[name], value, atol=1e-2)
        assert torch.equal(state[name] == 0, value == 0) or value.ndim == 1


def test_a_cache_stands_in_for_the_teacher(invoke, trained, mynet):
    plain = invoke("distill", *WORDS, "--epochs", "2")
    assert plain.exit_code == 0, plain.output
    expected = fw.load("student.safetensors")
    for _ in range(2):
        result = invoke("distill", *WORDS, "--epochs", "2", "--cache", "outputs")
        assert result.exit_code == 0, result.output
        state = fw.load("student.safetensors")
        assert all(torch.allclose(state[name], value, atol=1e-2) for name, value in expected.items())
    assert (mynet / "outputs").is_dir()


def test_mappings_as_batches(invoke, trained, mynet):
    named = ("--teacher", "mynet:Named", "--student", "mynet:Named", "--data", "mynet:mappings")
    result = invoke("distill", *named, "--seed", "1", "--epochs", "1", "--json", "a.json")
    assert result.exit_code == 0, result.output
    assert record_of(mynet)["examples"] == 16


def test_without_a_test_split_says_so(invoke, trained, mynet):
    result = invoke("distill", *WORDS, "--data", "mynet:two", "--epochs", "1")
    assert "validation split, 16 examples (on which the epoch was chosen, too)" in " ".join(
        result.stdout.split()
    )
    assert record_of(mynet)["split"] == "validation"


def test_networks_of_the_zoo_with_options(invoke, folder, monkeypatch):
    from tests.cli.test_demo import use_few

    monkeypatch.setattr(flow, "SECONDS", 0.02)
    use_few(monkeypatch)
    words = ("--student", "small_cnn:widths=2,2,4,4", "--data", "digits", "--epochs", "1", "--json", "a.json")
    result = invoke("distill", "--teacher", "fashion_cnn", *words, "--report", "a.html")
    assert result.exit_code == 0, result.output
    record = record_of(folder)
    assert (record["teacher_params"], record["examples"]) == (390_890, 200)
    assert record["student_params"] < 500
    assert {row["name"] for row in record["classes"]} == set(map(str, range(10)))
    assert "No --teacher-weights" not in result.stderr
    page = (folder / "a.html").read_text()
    assert page.count("<svg") == 2
    rest = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|@import|url\((?!#)|\ssrc=|<link|<script", rest)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--alpha", "0"), "With --alpha 0 the teacher would do nothing"),
        (("--alpha", "2"), "alpha is between 0 and 1"),
        (("--alpha", "0.9,0.5,0.1"), "--alpha is a number, or two with a comma"),
        (("--temperature", "warm"), "--temperature is a number, or two with a comma (start,end), got 'warm'"),
        (("--loss", "hints", "--temperature", "2"), "temperature would do nothing: none of hints takes one"),
        (("--loss", "kdd"), "Did you mean 'kd'"),
        (("--features", "0"), "--features is teacher.path=student.path, such as layer3=stages.2, got '0'"),
        (("--features", "0=0"), "features"),
        (("--loss", "hints", "--features", "7=0"), "7"),
        (("--epochs", "0"), "epochs is a whole number of at least 1"),
        (("--ema-decay", "1"), "ema_decay lies between 0 and 1"),
        (("--values", "int3"), "values must be one of fp32, fp16, bf16"),
        (("--teacher", "mynet:four_classes", "--teacher-weights", "four.safetensors"), "logits"),
        (("--teacher", "nonesuch"), "nonesuch"),
        (("--student", "mynet:number"), "expected a torch.nn.Module"),
        (("--student-weights", "rolled.safetensors"), "rolled.safetensors"),
        (("--teacher-weights", "none.safetensors"), "none.safetensors"),
        (("--data", "mynet:wide"), "failed with"),
        (("--out", "nowhere/a.safetensors"), "--out 'nowhere/a.safetensors': its folder does not exist"),
        (("--report", "nowhere/a.html"), "--report 'nowhere/a.html': its folder does not exist"),
    ],
)
def test_what_is_refused(refused, trained, mynet, words, says):
    fw.save(torch.nn.Linear(8, 4), "four.safetensors")
    assert says in " ".join(refused("distill", *WORDS, *words).split())
    assert not (mynet / "student.safetensors").exists()
    assert not list(mynet.glob(".student*")), "nothing is left behind"


def test_without_labels_the_teacher_is_enough(invoke, trained, mynet):
    words = ("--teacher-weights", "w.safetensors", "--data", "mynet:unlabelled", "--alpha", "1")
    result = invoke("distill", *WORDS, *words, "--no-baseline", *LONG)
    assert result.exit_code == 0, result.output
    record = record_of(mynet)
    assert (record["examples"], record["student_alone_accuracy"]) == (16, None)
    assert record["student_distilled_accuracy"] > 0.65


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--data", "mynet:unlabelled", "--alpha", "1"), "learns from labels: add --no-baseline"),
        (("--data", "mynet:unlabelled", "--grid", "g.jsonl"), "leave --grid out, and add --no-baseline"),
        (("--data", "mynet:bare", "--alpha", "1"), "without labels have the target -100, such as torch.full"),
        (("--data", "mynet:bare_in_tuples"), "distill learns from them with --alpha 1 --no-baseline"),
    ],
)
def test_data_without_labels_are_refused_with_what_to_do(refused, trained, mynet, words, says):
    assert says in " ".join(refused("distill", *WORDS, *words).split())
    assert not list(mynet.glob(".student*")), "nothing was trained"


def test_a_cache_of_data_that_change_is_refused(refused, trained, mynet):
    words = ("--data", "mynet:augmented", "--cache", "outputs", "--epochs", "2")
    assert "augment" in refused("distill", *WORDS, *words)


def test_a_teacher_without_weights_is_told(invoke, trained, mynet):
    result = invoke("distill", *NETWORKS, "--data", "mynet:data", "--epochs", "1")
    assert "No --teacher-weights: the teacher teaches with the weights that it is made with." in result.stderr


def stopping(monkeypatch, after):
    """Interrupt training at the end of epoch ``after``, counted over all runs."""
    from featherweight.training import run

    close, ended = run.Run._close_epoch, []

    def stop(self, validation):
        close(self, validation)
        ended.append(1)
        if len(ended) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(run.Run, "_close_epoch", stop)
    return ended


@pytest.mark.parametrize("after", [1, 4])
def test_interrupted_it_goes_on(invoke, trained, mynet, monkeypatch, after):
    """In the distilled run, and in that alone."""
    invoke("distill", *WORDS, "--epochs", "3", "--out", "whole.safetensors")
    whole = record_of(mynet)
    with monkeypatch.context() as patch:
        stopping(patch, after)
        result = invoke("distill", *WORDS, "--epochs", "3")
    assert result.exit_code == 130
    assert "The same command goes on" in result.stderr
    assert not (mynet / "student.safetensors").exists()
    with monkeypatch.context() as patch:
        ended = stopping(patch, 100)
        result = invoke("distill", *WORDS, "--epochs", "3")
    assert result.exit_code == 0, result.output
    assert len(ended) == 6 - after
    assert (mynet / "student.safetensors").read_bytes() == (mynet / "whole.safetensors").read_bytes()
    for key in ("student_alone_accuracy", "student_distilled_accuracy", "classes"):
        assert record_of(mynet)[key] == whole[key]


def test_another_teacher_does_not_go_on(invoke, refused, trained, mynet, monkeypatch):
    with monkeypatch.context() as patch:
        stopping(patch, 1)
        invoke("distill", *WORDS, "--epochs", "3")
    said = refused("distill", *WORDS, "--epochs", "3", "--teacher-weights", "w.safetensors")
    assert "repeat the command of then, name another --out, or delete the folder" in said
