"""Parameters, work and time of a network. The package is callable: ``fw.profile(model, inputs)``."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from featherweight.profile.evaluation import evaluate
from featherweight.profile.latency import time_in_turns
from featherweight.profile.measure import profile
from featherweight.profile.params import count_params
from featherweight.profile.records import Latency, LayerProfile, Profile

__all__ = ["Latency", "LayerProfile", "Profile", "count_params", "evaluate", "profile", "time_in_turns"]


class _CallablePackage(ModuleType):
    # Importing featherweight.profile binds the package to the name fw.profile, over the function that the
    # public interface promises there; so the package answers calls as the function does.
    def __call__(self, *args: Any, **kwargs: Any) -> Profile:
        return profile(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
