"""``featherweight lottery``: a network and data of the user's own, and of the zoo."""

import json
import re

import pytest

import featherweight as fw
from featherweight.cli.choices import choices
from featherweight.cli.lottery_tickets.request import NamedNetwork, experiment_of
from featherweight.errors import SettingError
from featherweight.sparsity.lottery import ZooData, branches

ASKED = {
    "network": "lenet_300_100", "data": "digits", "levels": 3, "fraction": 0.2, "output_fraction": None,
    "rewind": "0", "branch": None, "seeds": "0", "allocation": "global", "skip": None, "epochs": None,
    "learning_rate": None, "rate": None, "optimizer": None, "weight_decay": None, "precision": None,
    "batch_size": None, "augment": False,
}  # fmt: skip
SMALL = ("lottery", "--network", "mynet:net", "--data", "mynet:data", "--levels", "2", "--epochs", "1")


def test_a_network_of_one_s_own_with_report_and_record(invoke, mynet):
    words = (*SMALL, "--branch", "ticket", "--branch", "random_init", "--seeds", "0,1")
    files = ("--json", "r.json", "--report", "r.html", "--out", "runs")
    result = invoke(*words, *files)
    assert result.exit_code == 0, result.output
    assert "random re-initialisation" in result.stdout
    assert "weights left" in result.stdout
    assert re.search(r"Ticket and random re-initialisation (part|do not part)", result.stdout)
    record = json.loads((mynet / "r.json").read_text())
    assert [curve["branch"] for curve in record["curves"]] == ["ticket", "random_init"]
    assert [len(values) for curve in record["curves"] for values in curve["values"]] == [2] * 4
    assert (record["trainings"], record["split"], record["examples"]) == (10, "test", 16)
    page = (mynet / "r.html").read_text()
    assert "<svg" in page
    assert "Lottery tickets of mynet:net on mynet:data" in page
    assert all(statement in page for statement in record["statements"])
    assert len(fw.lottery.records(mynet / "runs")) == 10


def test_the_same_command_trains_nothing_again(invoke, mynet):
    first = invoke(*SMALL, "--branch", "one_shot", "--seeds", "0")
    assert "3 of 3: one-shot, seed 0, level 2" in first.stderr
    again = invoke(*SMALL, "--branch", "one_shot", "--seeds", "0")
    assert again.exit_code == 0
    assert again.stdout == first.stdout
    assert again.stderr == ""
    assert (
        "holds another experiment: rewind was 0 and is 2 now"
        in invoke(*SMALL, "--branch", "one_shot", "--seeds", "0", "--rewind", "2").stderr
    )


def test_without_a_test_split_it_says_validation(invoke, mynet):
    words = ["mynet:two" if word == "mynet:data" else word for word in SMALL]
    result = invoke(*words, "--branch", "ticket", "--seeds", "0")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "mynet:net on mynet:two: validation accuracy by level" in said
    assert "% of the validation split, on which the epoch was chosen, too; one seed." in said


def test_the_dense_network_alone_has_no_table(invoke, mynet):
    result = invoke(*SMALL, "--branch", "dense", "--seeds", "0", "--report", "r.html")
    assert result.exit_code == 0, result.output
    assert "No sparse network was trained." in (mynet / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--levels", "0"), "levels is a whole number of at least 1"),
        (("--seeds", "a"), "--seeds is whole numbers with commas"),
        (("--rewind", "somewhere"), "rewind is 0"),
        (("--branch", "tickets"), "Did you mean 'ticket'?"),
        (("--batch-size", "8"), "--batch-size would do nothing"),
        (("--augment",), "--augment would do nothing"),
        (("--workers", "0"), "workers is a whole number"),
        (("--json", "no/where.json"), "its folder does not exist"),
        (("--network", "fashion_cnn"), "is not an untrained network of the zoo"),
        (("--network", "mynet:broken"), "it is broken"),
        (("--network", "mynet:number"), "returned a int, expected a torch.nn.Module"),
        (("--levels", "30"), "Ask for fewer levels"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(refused, mynet, words, said):
    assert said in refused(*SMALL, *words)
    assert not (mynet / "lottery").exists()


def test_help_names_every_branch(invoke):
    assert choices("sparsity/lottery/branches").split(", ") == list(branches)
    said = " ".join(invoke("lottery", "--help").stdout.replace("│", " ").split())
    assert choices("sparsity/lottery/branches") in said


@pytest.mark.parametrize(
    ("text", "rewind"), [("0", 0), ("500", 500), ("0.05", 0.05), ("learning-rate", "learning rate")]
)
def test_where_to_rewind_to(text, rewind):
    found = experiment_of(ASKED | {"rewind": text}).rewind
    assert (found, type(found)) == (rewind, type(rewind))


def test_networks_of_the_zoo_fit_themselves_to_data_of_the_zoo():
    pytest.importorskip("sklearn")
    network = NamedNetwork("small_cnn:widths=2,2,2,2", ZooData("digits"))()
    assert network(next(iter(ZooData("digits")().test))[0]).shape[1] == 10


def test_settings_reach_the_experiment():
    found = experiment_of(
        ASKED | {"epochs": 7, "optimizer": "adamw", "batch_size": 32, "augment": True, "skip": ["fc3"]}
    )
    assert (found.settings.epochs, found.settings.optimizer, found.skip) == (7, "adamw", ("fc3",))
    assert found.source == ZooData("digits", batch_size=32, augment=True)
    with pytest.raises(SettingError, match="allocation"):
        experiment_of(ASKED | {"allocation": "none"})
