"""Networks of blocks for the tests of depth."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("networks.py")
_spec = importlib.util.spec_from_file_location("depth_networks", FILE)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def networks():
    """Return the module with the networks; ``networks.make(name)`` gives a model and inputs."""
    return _module
