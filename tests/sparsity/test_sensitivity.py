"""The scan of each layer alone, and the allocation by it: against pruning by hand, and all counts tried."""

import copy
import io
import itertools
import json
import math

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.errors import ArtifactError, ModelError, ResumeError, SettingError
from featherweight.sparsity import measuring
from featherweight.sparsity.allocation import BySensitivity, FromCurves, LossCurve, allocations
from featherweight.sparsity.allocation.sensitivity import LEVELS, share
from featherweight.sparsity.sensitivity import Sensitivity, scan


def batches(seed, size):
    inputs = torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=48)


TRAIN, VALIDATE = batches(0, 512), batches(1, 128)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3))
    fw.fit(model, TRAIN, VALIDATE, fw.TrainingSettings(epochs=6, learning_rate=0.1), progress=False)
    return model.eval()


def run(model, *args, **options):
    return fw.sensitivity(model, VALIDATE, *args, **{"progress": False, **options})


def mean_loss(model):
    with torch.no_grad():
        x, y = (torch.cat(parts) for parts in zip(*VALIDATE, strict=True))
        return float(F.cross_entropy(model(x), y))


def by_hand(model, place, level):
    """Zero the smallest weights of one layer."""
    model = copy.deepcopy(model)
    weight = model[place].weight.detach()
    goes = weight.abs().flatten().argsort()[: weight.numel() - round((1 - level) * weight.numel())]
    weight.view(-1)[goes] = 0
    return mean_loss(model), fw.evaluate(model, VALIDATE)


def test_it_finds_what_pruning_by_hand_does(trained):
    before = copy.deepcopy(trained.state_dict())
    trained.train()
    found = run(trained, (0.9, 0.5))
    assert trained.training
    trained.eval()
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert (found.whole, found.whole_loss) == (
        fw.evaluate(trained, VALIDATE),
        pytest.approx(mean_loss(trained)),
    )
    assert (found.metric, found.examples, found.levels) == ("accuracy", 128, (0.5, 0.9))
    assert [(layer.name, layer.numel) for layer in found.layers] == [
        ("0.weight", 256), ("2.weight", 512), ("4.weight", 48),
    ]  # fmt: skip
    for layer, place in zip(found.layers, (0, 2, 4), strict=True):
        assert [point.kept for point in layer.points] == [round(layer.numel * keep) for keep in (0.5, 0.1)]
        for point in layer.points:
            loss, accuracy = by_hand(trained, place, point.level)
            assert (point.loss, point.score) == (pytest.approx(loss, rel=1e-5), accuracy)
    assert found.layers[0].worst > found.whole_loss + 0.03  # or nothing was pruned


def test_a_scan_that_prunes_nothing_is_noticed(trained, monkeypatch):
    monkeypatch.setattr(measuring, "zero_", lambda weight, pruned: None)
    assert {point.loss for layer in run(trained, (0.5,)).layers for point in layer.points} == {
        run(trained, (0.5,)).whole_loss
    }
    with pytest.raises(AssertionError):
        test_it_finds_what_pruning_by_hand_does(trained)


def test_what_is_left_alone_and_what_it_is_pruned_by(trained):
    found = run(trained, (0.8,), skip=["0"], criterion="random", pattern="2:4", seed=1)
    assert [layer.name for layer in found.layers] == ["2.weight", "4.weight"]
    assert found.left_alone == ("0.weight", "0.bias")
    assert (found.criterion, found.pattern) == ("random", "2:4")
    taylor = run(trained, (0.8,), criterion="taylor")
    worse = run(trained, (0.8,), criterion="random")
    assert sum(layer.worst for layer in taylor.layers) < sum(layer.worst for layer in worse.layers)


def test_what_has_to_stay_stays(trained):
    found = run(trained, (0.999,))
    assert [layer.points[0].kept for layer in found.layers] == [
        1,
        1,
        3,
    ]  # an entry of each output of the last


def test_a_metric_and_a_loss_of_ones_own(trained):
    def near(outputs, targets):
        return (outputs.topk(2).indices == targets[:, None]).any(1).sum(), len(targets)

    found = run(trained, (0.5,), metric=near, loss=lambda out, target: 2 * F.cross_entropy(out, target))
    assert found.metric == "near"
    assert found.whole >= run(trained, (0.5,)).whole
    assert found.whole_loss == pytest.approx(2 * mean_loss(trained))
    assert "near on 128 examples" in " ".join(str(found).split())


def test_losses_of_a_callable_have_no_score(trained):
    def losses(model):
        assert not torch.is_grad_enabled()
        for x, y in VALIDATE:
            yield F.cross_entropy(model(x), y)

    found = fw.sensitivity(trained, losses, (0.5,), progress=False)
    assert (found.metric, found.whole, found.examples) == (None, None, 3)
    assert "loss on 3 examples" in " ".join(str(found).split())
    with pytest.raises(SettingError, match="metric= looks at outputs"):
        fw.sensitivity(trained, losses, (0.5,), metric=lambda *_: (1, 1), progress=False)


def test_regression_has_a_loss_alone():
    torch.manual_seed(0)
    data = [(torch.randn(6, 4), torch.randn(6, 2))]
    found = fw.sensitivity(nn.Linear(4, 2), data, (0.5,), loss=F.mse_loss, progress=False)
    assert found.metric is None
    assert found.layers[0].points[0].score is None


def test_as_many_batches_as_asked_for_the_same_each_time(trained):
    shuffled = DataLoader(VALIDATE.dataset, batch_size=16, shuffle=True)
    found = fw.sensitivity(trained, shuffled, (0.001,), batches=2, progress=False)
    assert found.examples == 32
    # next to nothing is pruned, so that on other batches the loss would differ more
    assert found.layers[1].points[0].loss == pytest.approx(found.whole_loss, rel=1e-3)
    assert fw.sensitivity(trained, iter(VALIDATE), (0.5,), progress=False) == run(trained, (0.5,))


def test_the_order_the_table_and_the_files(trained, tmp_path):
    found = run(trained, (0.5, 0.95))
    first, *_, last = found.by_sensitivity()
    assert sum(p.loss for p in first.points) > sum(p.loss for p in last.points)
    text = str(found)
    assert "95%" in text
    assert f"{100 * found.layers[0].points[0].score:.2f}%" in text
    assert f"{found.layers[0].points[1].loss:.3g}" in text
    assert "loss on 128 examples" in " ".join(text.split())
    found.save(tmp_path / "scan.json")
    assert Sensitivity.load(tmp_path / "scan.json") == found
    for text in ("7", "{", json.dumps({"levels": []}), found.to_json().replace('"whole"', '"hole"')):
        with pytest.raises(ArtifactError, match="Not the JSON of a sensitivity scan"):
            Sensitivity.from_json(text)
    with pytest.raises(ArtifactError, match="Cannot read the scan"):
        Sensitivity.load(tmp_path / "none.json")


def test_no_figure_is_cut_on_80_columns(trained):
    text = io.StringIO()
    for table in run(trained).tables():
        Console(file=text, width=80).print(table)
    assert "99.5%" in text.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text.getvalue()


def test_interrupted_it_goes_on(trained, tmp_path, monkeypatch):
    expected, before, measured = run(trained, (0.5, 0.9)), copy.deepcopy(trained.state_dict()), []
    original = scan.measure

    def interrupted(*args):
        measured.append(1)
        if len(measured) == 5:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(scan, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(trained, (0.5, 0.9), run_dir=tmp_path / "run")
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    log = tmp_path / "run" / "sensitivity.jsonl"
    assert len(log.read_text().splitlines()) == 1 + 4
    with log.open("a") as file:
        file.write('{"layer": "4.wei')  # killed in the middle of a line
    assert run(trained, (0.5, 0.9), run_dir=tmp_path / "run") == expected
    assert len(measured) == 5 + 1 + 3  # the whole network again, and what was missing
    assert run(trained, (0.5, 0.9), run_dir=tmp_path / "run") == expected
    assert len(measured) == 9 + 1


def test_what_it_does_not_go_on_from(trained, tmp_path):
    run(trained, (0.5,), run_dir=tmp_path)
    with pytest.raises(ResumeError, match="another scan; differing: criterion, levels"):
        run(trained, (0.6,), criterion="random", run_dir=tmp_path)
    other = copy.deepcopy(trained)
    with torch.no_grad():
        other[0].weight[0, 0] += 1
    with pytest.raises(ResumeError, match="differing: network"):
        run(other, (0.5,), run_dir=tmp_path)
    with pytest.raises(ResumeError, match="that scan is of other data"):
        fw.sensitivity(trained, TRAIN, (0.5,), run_dir=tmp_path, progress=False)
    (tmp_path / "sensitivity.jsonl").write_text("7\nno\n")
    with pytest.raises(ResumeError, match="no log of a scan"):
        run(trained, (0.5,), run_dir=tmp_path)


def test_it_says_how_far_it_is(trained, capsys):
    run(trained, (0.5,), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["layer 0.weight", "layer 2.weight", "layer 4.weight"]
    assert "at 0.5  (0 s to go)" in lines[0]


@pytest.mark.parametrize("levels", [(), (0.5, 0.5), (0,), (1.0,), (True,)])
def test_levels_that_are_none(trained, levels):
    with pytest.raises(SettingError, match="each between 0 and 1"):
        run(trained, levels)
    with pytest.raises(SettingError, match="each between 0 and 1"):
        BySensitivity(levels)


def test_errors(trained):
    with pytest.raises(ModelError, match="no weight to prune"):
        fw.sensitivity(nn.Embedding(3, 2), VALIDATE)
    with pytest.raises(SettingError, match=r"fw.sensitivity looks at data"):
        fw.sensitivity(trained, None)
    with pytest.raises(SettingError, match="matches no parameter"):
        run(trained, skip=["nothing"])
    with pytest.raises(SettingError, match=r"the lowest sparsity that works is 0.5"):
        run(trained, (0.3,), pattern="2:4")
    with pytest.raises(SettingError, match="learns while the network trains"):
        run(trained, criterion="movement")


# -- the allocation


def curves_of(rng, sizes):
    curves = {}
    for index, size in enumerate(sizes):
        points = sorted(rng.choice(size, min(3, size), replace=False).tolist(), reverse=True)
        kept = (size, *(p for p in points if p < size))
        curves[str(index)] = LossCurve(size, kept, tuple(rng.normal(0, 1, len(kept)).cumsum().tolist()))
    return curves


def on_the_hull(curve, kept):
    """Return the largest convex function below the points, at ``kept``: the least of all chords."""
    points = list(zip(curve.kept, curve.losses, strict=True))
    if kept < points[-1][0]:
        return math.inf
    found = [loss for number, loss in points if number == kept]
    for (a, first), (b, second) in itertools.combinations(points, 2):
        if b < kept < a:
            found.append(second + (first - second) * (kept - b) / (a - b))
    return min(found)


@pytest.mark.parametrize("seed", range(8))
def test_no_other_counts_have_a_smaller_sum_of_losses(seed):
    rng = np.random.default_rng(seed)
    curves = curves_of(rng, (5, 3, 6))
    limits = {name: curve.size for name, curve in curves.items()}
    for kept in range(sum(curve.kept[-1] for curve in curves.values()), 15):
        counts = share(curves, limits, kept)
        assert sum(counts.values()) == kept
        mine = sum(on_the_hull(curves[name], count) for name, count in counts.items())
        every = itertools.product(*(range(size + 1) for size in limits.values()))
        best = min(
            sum(on_the_hull(curve, count) for curve, count in zip(curves.values(), each, strict=True))
            for each in every
            if sum(each) == kept
        )
        assert mine == pytest.approx(best)


def test_curves_by_hand():
    curves = {
        "cheap": LossCurve(10, (10, 5, 1), (1.0, 1.0, 1.4)),  # free, then 0.1 a weight
        "dear": LossCurve(10, (10, 8, 2), (1.0, 1.4, 5.0)),  # 0.2, then 0.6
    }
    limits = {"cheap": 10, "dear": 10}
    assert share(curves, limits, 17) == {"cheap": 7, "dear": 10}
    assert share(curves, limits, 13) == {"cheap": 3, "dear": 10}
    assert share(curves, limits, 10) == {"cheap": 1, "dear": 9}
    assert share(curves, limits, 5) == {"cheap": 1, "dear": 4}
    assert share(curves, limits, 1) == {"cheap": 0, "dear": 1}  # beyond the last level, in proportion
    assert share(curves, {"cheap": 3, "dear": 10}, 12) == {"cheap": 2, "dear": 10}  # 7 are gone already
    assert share(curves, {"cheap": 3, "dear": 0}, 3) == {"cheap": 3, "dear": 0}
    bump = LossCurve(10, (10, 6, 2), (1.0, 5.0, 1.8))  # the hull passes below the middle
    assert bump.hull() == [(pytest.approx(0.1), 8), (math.inf, 2)]


def test_equal_curves_share_evenly():
    curve = LossCurve(100, (100, 50), (0.0, 1.0))
    counts = share({"a": curve, "b": curve, "c": curve}, dict.fromkeys("abc", 100), 241)
    assert sorted(counts.values()) == [80, 80, 81]


def test_the_allocation_of_a_scan(trained):
    found = run(trained, (0.3, 0.5, 0.7, 0.9, 0.95))
    model = copy.deepcopy(trained)
    masks = fw.prune(model, 0.8, allocation=found.allocation())
    assert masks.kept == round(0.2 * 816)
    counts = {name: mask.kept for name, mask in masks.items()}

    def summed(counts):
        return sum(on_the_hull(curve, counts[name]) for name, curve in found.allocation().curves.items())

    even = fw.prune(copy.deepcopy(trained), 0.8, allocation="uniform")
    assert summed(counts) < summed({name: mask.kept for name, mask in even.items()})


def test_the_name_scans_for_itself(trained):
    model, levels = copy.deepcopy(trained), (0.3, 0.5, 0.7, 0.9, 0.95)
    expected = fw.prune(copy.deepcopy(trained), 0.8, allocation=run(trained, levels).allocation())
    found = fw.prune(model, 0.8, allocation=BySensitivity(levels, batches=None), data=VALIDATE)
    assert {name: m.kept for name, m in found.items()} == {name: m.kept for name, m in expected.items()}
    again = fw.prune(copy.deepcopy(trained), 0.8, allocation="sensitivity", pattern="2:4", data=VALIDATE)
    assert again.kept == round(0.2 * 816)


@pytest.mark.parametrize("sparsity", [0.9, 0.98])
def test_layers_share_by_what_was_measured_where_next_to_nothing_is_left(trained, sparsity):
    masks = fw.prune(copy.deepcopy(trained), sparsity, allocation="sensitivity", data=VALIDATE)
    assert abs(masks["0.weight"].sparsity - masks["2.weight"].sparsity) > 0.01


def test_it_scans_once_for_a_whole_schedule(trained, monkeypatch):
    model, measured = copy.deepcopy(trained), []
    original = measuring.measure

    def counted(*args, **kwargs):
        measured.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr("featherweight.sparsity.allocation.sensitivity.measure", counted)
    schedule = fw.schedules.Cubic(begin=0, end=4, every=1)
    pruner = fw.Pruner(model, 0.8, allocation="sensitivity", schedule=schedule, data=VALIDATE)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    pruner.attach(optimizer)
    for x, y in VALIDATE:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert len(measured) == 3 * (1 + len(LEVELS)) - 1  # of 48 weights two levels leave none


def test_what_the_allocation_refuses(trained):
    with pytest.raises(SettingError, match="allocation='sensitivity' looks at data: pass data="):
        fw.prune(copy.deepcopy(trained), 0.5, allocation="sensitivity")
    with pytest.raises(SettingError, match="looks at the model"):
        allocations["sensitivity"]({"a": torch.ones(2)}, 1)
    partial = run(trained, (0.5,), skip=["0"]).allocation()
    with pytest.raises(SettingError, match=r"The scan has no layer '0.weight'"):
        fw.prune(copy.deepcopy(trained), 0.5, allocation=partial)
    with pytest.raises(SettingError, match=r"had 5 weights when it was scanned, and has 4 now"):
        FromCurves({"a": LossCurve(5, (5,), (1.0,))})({"a": torch.ones(4)}, 2)
    with pytest.raises(SettingError, match="batches is a whole number"):
        BySensitivity(batches=0)
    for kept, losses in (((), ()), ((3, 3), (1.0, 1.0)), ((6,), (1.0,)), ((5, 2), (1.0,))):
        with pytest.raises(SettingError, match="A curve has a loss for each number"):
            LossCurve(5, kept, losses)
