"""Makes the toys of several test files importable: tests are imported one by one (importmode=importlib)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import growing_toy  # noqa: F401
import pruner_toy  # noqa: F401

sys.path.remove(str(Path(__file__).parent))
