"""``featherweight inspect --sensitivity``: what each group of channels, or each layer's zeros, costs."""

import json

import pytest
import torch

SCAN = ("mynet:net", "--sensitivity", "--data", "mynet:data")


def test_sensitivity(invoke, mynet):
    words = ["--data", "mynet:data", "--report", "r.html", "--json", "a.json"]
    result = invoke("inspect", "mynet:net", "--sensitivity", *words)
    assert result.exit_code == 0, result.output
    record = json.loads((mynet / "a.json").read_text())
    (group,) = record["groups"]
    assert (record["model"], record["examples"], group["name"]) == ("mynet:net", 16, "0.weight")
    assert [point["kept"] for point in group["points"]] == [12, 8, 4, 1]
    assert f"{100 * group['points'][1]['score']:.2f}%" in result.stdout
    page = (mynet / "r.html").read_text()
    assert page.count("<svg") == 1
    assert "0.weight" in page
    assert sorted(path.name for path in mynet.iterdir() if path.suffix == ".scan") == []
    assert "a part of the validation split" not in result.stderr


def test_sensitivity_of_single_weights(invoke, mynet):
    from featherweight import sensitivity
    from featherweight.cli.batches import make_batches
    from featherweight.cli.network import make_network

    words = ["--unstructured", "--data", "mynet:data", "--report", "r.html", "--json", "a.json"]
    more = ["--levels", "0.9,0.5", "--pattern", "2:4", "--criterion", "taylor", "--skip", "2"]
    result = invoke("inspect", "mynet:net", "--sensitivity", *words, *more)
    assert result.exit_code == 0, result.output
    record = json.loads((mynet / "a.json").read_text())
    expected = sensitivity(
        make_network("mynet:net", None), make_batches("mynet:data").validate, (0.5, 0.9),
        pattern="2:4", criterion="taylor", skip=["2"], progress=False,
    )  # fmt: skip
    assert record == {"model": "mynet:net"} | json.loads(expected.to_json())
    assert [layer["name"] for layer in record["layers"]] == ["0.weight"]
    assert f"{100 * record['layers'][0]['points'][1]['score']:.2f}%" in result.stdout
    page = (mynet / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "chosen by taylor, pattern 2:4" in page
    assert not [path for path in mynet.iterdir() if path.suffix == ".scan"]


def test_the_help_names_the_levels_of_a_scan():
    from featherweight.cli.inspect import Levels
    from featherweight.sparsity.sensitivity import LEVELS

    assert f" {','.join(map(str, LEVELS))}." in Levels.__metadata__[0].help


def test_an_interrupted_scan_of_single_weights_goes_on(invoke, mynet, monkeypatch):
    from featherweight.sparsity.sensitivity import scan

    measured, original = [], scan.measure

    def interrupted(*args):
        measured.append(1)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(scan, "measure", interrupted)
    words = ["inspect", "mynet:net", "--sensitivity", "--unstructured", "--data", "mynet:data"]
    result = invoke(*words, "--levels", "0.5")
    assert (result.exit_code, "same command goes on" in result.stderr) == (130, True)
    assert invoke(*words, "--levels", "0.5").exit_code == 0
    assert len(measured) == 3 + 2
    assert not [path for path in mynet.iterdir() if path.suffix == ".scan"]


def test_how_sensitivity_is_scanned(invoke, deeper):
    from featherweight.cli.network import make_network
    from featherweight.structured.sensitivity import scan

    words = ["--keeps", "0.25,0.5", "--criterion", "random", "--skip", "4.*", "--examples", "20"]
    data = ["--data", "mynet:sorted_data", "--json", "a.json", "--input-shape", "3,8"]
    result = invoke("inspect", "mynet:net", "--sensitivity", *data, *words)
    assert result.exit_code == 0, result.output
    record = json.loads((deeper / "a.json").read_text())
    whole = [(torch.full((8, 8), float(i)), torch.full((8,), i // 4)) for i in (0, 4, 8)]
    expected = scan(
        make_network("mynet:net", None), torch.zeros(3, 8), whole,
        keeps=(0.5, 0.25), criterion="random", skip=("4.*",), progress=False,
    )  # fmt: skip
    assert record == {"model": "mynet:net"} | json.loads(expected.to_json())
    assert (record["examples"], record["skipped"]) == (24, ["2.weight"])
    assert "a part of the validation split" in result.stderr
    assert "24 examples" in " ".join(result.stdout.split())
    assert "group 1/1" in result.stderr


def test_all_examples_are_scanned_where_asked(invoke, deeper, monkeypatch):
    from featherweight.cli import scanning

    words = ["inspect", "mynet:net", "--sensitivity", "--data", "mynet:sorted_data", "--keeps", "0.5"]
    monkeypatch.setattr(scanning, "EXAMPLES", 16)
    assert "16 examples" in " ".join(invoke(*words).stdout.split())
    assert "96 examples" in " ".join(invoke(*words, "--examples", "all").stdout.split())


def test_what_costs_most_is_named_as_skip_takes_it(invoke, refused, mynet):
    source = """
def embedded():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Embedding(9, 8), torch.nn.Linear(8, 3))

def own():
    batch = torch.arange(9), embedded()(torch.arange(9)).argmax(1)
    return [batch], [batch]
"""
    (mynet / "mynet.py").write_text((mynet / "mynet.py").read_text() + source)
    words = ["inspect", "mynet:embedded", "--sensitivity", "--data", "mynet:own", "--keeps", "0.1"]
    result = invoke(*words)
    assert "0.weight[1]" in result.stdout, "the group's name"
    assert "What costs most to cut: 0.weight. " in result.stdout
    assert "nothing to cut" in refused(*words, "--skip", "0.weight")


@pytest.mark.parametrize("json_file", [[], ["--json", "a.json"]])
def test_an_interrupted_scan_goes_on(invoke, deeper, monkeypatch, json_file):
    from featherweight.structured import sensitivity

    evaluated, original = [], sensitivity.perform

    def interrupted(*args):
        evaluated.append(1)
        if len(evaluated) == 6:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(sensitivity, "perform", interrupted)
    words = ["inspect", "mynet:net", "--sensitivity", "--data", "mynet:data", *json_file]
    result = invoke(*words)
    assert (result.exit_code, "same command goes on" in result.stderr) == (130, True)
    assert invoke(*words).exit_code == 0
    assert len(evaluated) == 6 + 4
    assert not list(deeper.glob(".*.scan"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mynet:net", "--sensitivity"], "--sensitivity measures accuracy: give --data"),
        (["mynet:net", "--data", "mynet:data"], "--data would do nothing without --sensitivity"),
        (["mynet:net", "--report", "r.html"], "--report would do nothing without --sensitivity"),
        (["mynet:net", "--keeps", "0.5"], "--keeps would do nothing without --sensitivity"),
        (["mynet:net", "--criterion", "l1"], "--criterion would do nothing without --sensitivity"),
        (["mynet:net", "--skip", "0"], "--skip would do nothing without --sensitivity"),
        (["mynet:net", "--examples", "9"], "--examples would do nothing without --sensitivity"),
        (["mynet:net", "--unstructured"], "--unstructured would do nothing without --sensitivity"),
        ([*SCAN, "--levels", "0.5"], "--levels would do nothing without --unstructured"),
        ([*SCAN, "--pattern", "2:4"], "--pattern would do nothing without --unstructured"),
        ([*SCAN, "--unstructured", "--keeps", "0.5"], "--keeps would do nothing with --unstructured"),
        ([*SCAN, "--unstructured", "--input-shape", "1,8"], "--input-shape would do nothing with"),
        ([*SCAN, "--unstructured", "--levels", "a"], "--levels is fractions of a layer's weights"),
        ([*SCAN, "--unstructured", "--pattern", "7"], "pattern"),
        ([*SCAN, "--unstructured", "--criterion", "l2"], "No criterion is called 'l2'"),
        ([*SCAN, "--unstructured", "--criterion", "movement"], "--criterion movement learns while a network"),
        ([*SCAN, "--keeps", "0.5,0.5"], "--keeps is fractions of a group's units with commas"),
        ([*SCAN, "--keeps", "a"], "--keeps is fractions of a group's units with commas"),
        ([*SCAN, "--criterion", "l3"], "No structured criterion is called 'l3'"),
        ([*SCAN, "--examples", "0"], "--examples is a number of examples, at least 1, or all"),
        ([*SCAN, "--skip", "no.*"], "matches no parameter"),
        ([*SCAN, "--input-shape", "1,9"], "--input-shape 1,9 does not fit"),
        (["mynet:net", "--sensitivity", "--groups", "--data", "mynet:data"], "show different things"),
        (["mynet:net", "--sensitivity", "--data", "mynet:wide"], "train: The network failed"),
        (["a.safetensors", "--sensitivity"], "--sensitivity is for a network"),
    ],
)
def test_what_sensitivity_refuses(refused, mynet, words, says):
    assert says in " ".join(refused("inspect", *words).split())
