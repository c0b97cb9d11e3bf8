"""A growing penalty: what will be cut shrinks while the network trains, so that cutting it changes little.

Each step adds ``strength * w`` to the gradient of the weights that will go, where the strength grows from
zero to its full value over the run: GReg-1 of Wang et al. 2021, https://arxiv.org/abs/2012.09243.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from featherweight.errors import SettingError
from featherweight.structured.cut import Kept


class GrowingPenalty:
    """Shrinks what will be cut while ``fit`` trains; give it as ``pruner=``."""

    sparsity = 0.0  # nothing is zero before it is cut

    def __init__(
        self, model: nn.Module, kept: Mapping[str, Mapping[int, Kept]], strength: float = 1.0
    ) -> None:
        """Note what is to shrink.

        Args:
            model: the network, not cut yet.
            kept: what stays of each parameter along which dimension, as in ``Cut.stored``.
            strength: of the penalty at the end of the run, above 0. The learning rate times it is the part
                of a weight that a step takes away.
        """
        if not strength > 0:
            raise SettingError(f"The strength of a growing penalty is above 0, got {strength!r}.")
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self.strength = strength
        self.going = [
            (parameters[name], _goes(parameters[name], dims))
            for name, dims in kept.items()
            if name in parameters and parameters[name].requires_grad
        ]
        self.step, self.steps = 0, 1
        self._handle: Any = None

    @property
    def ready(self) -> bool:
        """Whether the penalty has its full strength."""
        return self.step >= self.steps

    def plan(self, total_steps: int) -> None:
        """Grow over this many steps."""
        self.steps = total_steps

    def attach(self, optimizer: Optimizer) -> None:
        """Add the penalty before each step of ``optimizer``."""
        self.detach()
        self._handle = optimizer.register_step_pre_hook(self._before_step)

    def detach(self) -> None:
        """Stop."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def fingerprint(self) -> str:
        """Return the settings in words."""
        going = sum(int(goes.sum()) for _, goes in self.going)
        return f"GrowingPenalty(strength={self.strength}, going={going})"

    def state_dict(self) -> dict[str, Any]:
        """Return how far it is."""
        return {"step": self.step, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.step, self.steps = int(state["step"]), int(state["steps"])

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.step += 1
        strength = self.strength * min(1.0, self.step / self.steps)
        with torch.no_grad():
            for parameter, goes in self.going:
                if parameter.grad is not None:
                    parameter.grad.addcmul_(parameter, goes.to(parameter), value=strength)


def _goes(parameter: Tensor, dims: Mapping[int, Kept]) -> Tensor:
    """Return 1.0 for what goes along any of ``dims``, 0.0 for what stays."""
    goes = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
    for dim, kept in dims.items():
        size = [-1 if d == dim else 1 for d in range(parameter.ndim)]
        goes |= torch.from_numpy(~kept).to(parameter.device).view(size)
    return goes.to(parameter.dtype)
