"""The toy problem as a fixture, and an experiment that was run once for all tests that only look."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def toy():
    sys.path.insert(0, str(HERE))  # worker processes get it too
    import lottery_toy

    yield lottery_toy
    sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def finished(toy, tmp_path_factory):
    """(experiment, folder, records) of all branches, rewound to a step within the first epoch."""
    import featherweight as fw

    folder = tmp_path_factory.mktemp("lottery")
    experiment = toy.experiment(rewind=3)
    return experiment, folder, fw.lottery.run(experiment, folder, progress=False)
