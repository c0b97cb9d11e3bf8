"""The same on a GPU as on the CPU, the data left where a loader has them; skipped where torch sees no GPU."""

import copy

import pytest
import torch
from tests.sparsity.lottery.lottery_toy import net
from tests.sparsity.test_conformance import NAMES, check, criterion_that_has_learned, data, network
from torch.utils.data import DataLoader, TensorDataset

import featherweight as fw
from featherweight.core.prunable import find_prunable
from featherweight.sparsity import Pruner, prune
from featherweight.sparsity.allocation import allocations
from featherweight.sparsity.criteria import Context, criteria
from featherweight.sparsity.schedules import schedules

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Without TF32, which convolutions of cuDNN use unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def loader(seed, size=256):
    inputs = torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))
    return DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=64, shuffle=True)


def near(found, expected, least=0.999):
    """Whether two vectors point the same way."""
    found, expected = (torch.cat([t.double().cpu().flatten() for t in each]) for each in (found, expected))
    return torch.nn.functional.cosine_similarity(found, expected, dim=0) > least


@pytest.mark.parametrize("name", criteria)
def test_scores_are_those_of_the_cpu(name):
    model = network()
    criterion = criterion_that_has_learned(name, model)
    there = copy.deepcopy(model).cuda()
    found = [
        criterion({w.name: w.tensor.detach() for w in find_prunable(each).weights}, Context(each, data()))
        for each in (model, there)
    ]
    assert near(found[1].values(), found[0].values())


@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize("allocation", allocations)
def test_masks_are_exact_and_in_their_pattern(allocation, pattern):
    model = network().cuda()
    masks = prune(model, 0.8, allocation=allocation, pattern=pattern, criterion="taylor", data=data())
    check(model, masks, 0.8, pattern)
    assert all(w.tensor.device.type == "cuda" for w in find_prunable(model).weights)


@pytest.mark.parametrize(
    ("schedule", "criterion"),
    [*((name, "taylor") for name in schedules), ("cubic", "movement"), ("linear", "magnitude")],
)
def test_training_ends_exactly_and_goes_on_from_its_state(schedule, criterion):
    torch.manual_seed(0)
    model = net().cuda()
    batches = [(x.cuda(), y.cuda()) for x, y in loader(0)]
    often = {"every": 4} if "every" in schedules[schedule].__dataclass_fields__ else {}
    when = schedules[schedule](**often).planned(20)
    pruner = Pruner(model, 0.7, criterion=criterion, schedule=when, data=batches[:2])
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    pruner.attach(optimizer)
    for step in range(20):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        pruner.masks.check(model)
        if step == 10:
            pruner.load_state_dict(copy.deepcopy(pruner.state_dict()))
    assert pruner.ready
    check(model, pruner.masks, 0.7, "unstructured", grown=pruner.schedule.grows)


@pytest.mark.parametrize("schedule", ["cubic", "rigl", "acdc"])
def test_fit_takes_the_network_there_and_back(schedule, tmp_path):
    torch.manual_seed(0)
    model = net()
    pruner = Pruner(model, 0.7, schedule=schedules[schedule]())
    settings = fw.TrainingSettings(epochs=12, learning_rate=0.1)
    history = fw.fit(model, loader(0), loader(1), settings, pruner=pruner, run_dir=tmp_path, progress=False)
    assert next(model.parameters()).device.type == "cpu"
    pruner.masks.check(model)
    assert history.epochs[-1].validation > 0.45
    fw.save(model, tmp_path / "model.safetensors")


def test_a_scan_finds_what_it_finds_on_the_cpu():
    torch.manual_seed(0)
    model = net().eval()
    ordered = list(loader(0))
    here = fw.sensitivity(model, ordered, progress=False)
    there = fw.sensitivity(copy.deepcopy(model).cuda(), ordered, progress=False)
    for one, other in zip(here.layers, there.layers, strict=True):
        losses = [[point.loss for point in each.points] for each in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_batch_norm_is_estimated_there():
    model = network().cuda()
    prune(model, 0.5)
    fw.reestimate_batch_norm(model, data())
    assert model[1].running_mean.device.type == "cuda"


def test_progressively():
    torch.manual_seed(0)
    model = net()
    settings = fw.TrainingSettings(epochs=12, learning_rate=0.1)
    sparse = fw.progressive_prune(
        model, 0.8, train=loader(0), validate=loader(1), settings=settings, progress=False
    )
    check(sparse, fw.Masks.from_zeros(sparse), 0.8, "unstructured")
    assert fw.evaluate(sparse, loader(2)) > 0.5
