"""What progressive_prune hands to criteria that look at data."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from featherweight.sparsity.calibration import Calibration
from featherweight.sparsity.criteria import layerwise
from featherweight.sparsity.progressive import progressive_prune
from featherweight.training import TrainingSettings

SETTINGS = TrainingSettings(epochs=2, learning_rate=0.1, precision="fp32")
X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
LOADER = DataLoader(TensorDataset(X, X[:, :3].argmax(1)), 16, shuffle=True)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def run(**options):
    return progressive_prune(
        network(), 0.8, train=LOADER, validate=LOADER, settings=SETTINGS, progress=False, **options
    )


def test_criteria_get_the_training_data_and_the_loss():
    seen = []

    @layerwise
    def looking(weight, name, context):
        seen.append(context.data)
        return weight.abs()

    def loss(outputs, targets):
        return 2 * nn.functional.cross_entropy(outputs, targets)

    run(criterion=looking)
    assert all(data is LOADER for data in seen)
    run(criterion=looking, loss=loss)
    assert isinstance(seen[-1], Calibration)
    assert (seen[-1].source, seen[-1].loss) == (LOADER, loss)


def test_it_prunes_by_data_the_same_each_time():
    first, second = (run(criterion="taylor") for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))
    kept = sum(int(torch.count_nonzero(layer.weight)) for layer in (first[0], first[2]))
    assert kept == round(0.2 * 144)


def test_movement_learns_along_the_way():
    sparse = run(criterion="movement")
    assert sum(int(torch.count_nonzero(layer.weight)) for layer in (sparse[0], sparse[2])) == round(0.2 * 144)
