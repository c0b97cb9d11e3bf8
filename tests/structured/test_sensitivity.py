"""The scan of each group alone: scores are those of networks cut by hand, and it resumes."""

import copy
import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import ArtifactError, DataError, ModelError, ResumeError, SettingError
from featherweight.structured import sensitivity
from featherweight.structured.sensitivity import Sensitivity, scan

EXAMPLE = torch.zeros(2, 8)


def batches(seed, size):
    inputs = torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=32)


TRAIN, VALIDATE = batches(0, 512), batches(1, 128)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    fw.fit(model, TRAIN, VALIDATE, fw.TrainingSettings(epochs=6, learning_rate=0.1), progress=False)
    return model.eval()


def run(model, **options):
    return scan(model, EXAMPLE, VALIDATE, **{"progress": False, **options})


def by_hand(model, name, keep):
    """Cut the weakest outputs of the layer ``name`` and the inputs behind them: sums of two L2 norms."""
    model = copy.deepcopy(model)
    layer, follower = model[name], model[name + 2]
    importance = layer.weight.norm(dim=1) + follower.weight.norm(dim=0)
    goes = importance.argsort(descending=True)[round(keep * len(importance)) :]
    with torch.no_grad():
        follower.weight[:, goes] = 0
    return fw.evaluate(model, VALIDATE)


def test_scores_are_those_of_networks_cut_by_hand(trained):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    found = run(trained, keeps=(0.5, 0.25, 0.125))
    assert found.whole == fw.evaluate(trained, VALIDATE) > 0.9
    assert [(group.name, group.units) for group in found.groups] == [("0.weight", 32), ("2.weight", 16)]
    for group, layer in zip(found.groups, (0, 2), strict=True):
        assert [point.kept for point in group.points] == [
            group.units // 2,
            group.units // 4,
            group.units // 8,
        ]
        for point in group.points:
            assert point.score == pytest.approx(by_hand(trained, layer, point.keep), abs=1e-9)
    assert found.groups[0].worst < found.whole  # or nothing was cut
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_a_scan_that_cuts_nothing_is_noticed(trained, monkeypatch):
    monkeypatch.setattr(sensitivity, "perform", lambda model, *_: (model, None))
    assert {point.score for group in run(trained).groups for point in group.points} == {run(trained).whole}
    with pytest.raises(AssertionError):
        test_scores_are_those_of_networks_cut_by_hand(trained)


def test_what_is_left_alone_and_what_it_is_cut_by(trained):
    found = run(trained, skip=["0"], criterion="random", keeps=(0.25,), seed=1)
    assert ([group.name for group in found.groups], found.skipped) == (["2.weight"], ("0.weight",))
    assert found.criterion == "random"
    taylor = run(trained, criterion="taylor", keeps=(0.25,))
    assert sum(group.worst for group in taylor.groups) > sum(
        group.worst for group in run(trained, criterion="random", keeps=(0.25,)).groups
    )


def test_the_order_and_the_table(trained):
    found = run(trained, keeps=(0.1, 0.75))
    assert found.keeps == (0.75, 0.1)
    first, last = found.by_sensitivity()
    assert sum(p.score for p in first.points) <= sum(p.score for p in last.points)
    text = str(found)
    assert "10% kept" in text
    assert f"{100 * found.groups[0].points[0].score:.2f}%" in text
    assert "accuracy on 128 examples" in " ".join(text.split())


def test_a_metric_of_ones_own(trained):
    def near(outputs, targets):
        return (outputs.topk(2).indices == targets[:, None]).any(1).sum(), len(targets)

    found = run(trained, metric=near)
    assert found.metric == "near"
    assert found.whole > run(trained).whole


def test_its_json_comes_back(trained):
    found = run(trained, keeps=(0.5,))
    assert Sensitivity.from_json(found.to_json()) == found
    for text in ("7", "{", json.dumps({"keeps": []}), found.to_json().replace('"whole"', '"hole"')):
        with pytest.raises(ArtifactError, match="Not the JSON of a sensitivity scan"):
            Sensitivity.from_json(text)


def test_interrupted_it_goes_on(trained, tmp_path, monkeypatch):
    file, whole, evaluated = tmp_path / "scan.json", run(trained), []
    original = sensitivity.perform

    def interrupted(model, example, choice):
        evaluated.append(1)
        if len(evaluated) == 6:
            raise KeyboardInterrupt
        return original(model, example, choice)

    monkeypatch.setattr(sensitivity, "perform", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trained, file=file)
    assert len(Sensitivity.from_json(file.read_text()).groups) == 1
    assert run(trained, file=file) == whole
    assert len(evaluated) == 6 + 4
    assert Sensitivity.from_json(file.read_text()) == whole
    with pytest.raises(ResumeError, match="holds the scan of another network"):
        run(trained, file=file, keeps=(0.5,))


def test_it_says_how_far_it_is(trained, capsys):
    run(trained, keeps=(0.5,), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["group 1/2", "0.weight"], ["group 2/2", "2.weight"]]


def test_batches_of_an_iterator_serve_for_all(trained):
    assert scan(trained, EXAMPLE, iter(VALIDATE), progress=False) == run(trained)


@pytest.mark.parametrize("keeps", [(), (0.5, 0.5), (0,), (1.0,), (True,)])
def test_fractions_that_are_none(trained, keeps):
    with pytest.raises(SettingError, match="each between 0 and 1"):
        run(trained, keeps=keeps)


def test_errors(trained):
    with pytest.raises(ModelError, match="nothing to scan"):
        scan(nn.Linear(8, 3), EXAMPLE, VALIDATE)
    with pytest.raises(DataError, match="A batch is"):
        scan(trained, EXAMPLE, [torch.zeros(1)])
    with pytest.raises(SettingError, match="matches no parameter"):
        run(trained, skip=["nothing"])
