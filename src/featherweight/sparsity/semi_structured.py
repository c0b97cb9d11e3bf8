"""2:4 sparse linear layers on the sparse tensor cores of CUDA GPUs, for inference.

``torch.sparse`` stores the two weights of each four that are kept, and where they are (Mishra et al. 2021,
https://arxiv.org/abs/2104.08378). Two back ends multiply by that: cuSPARSELt, and, where torch was built
without it, CUTLASS on devices of compute capability 8
(https://docs.pytorch.org/docs/stable/sparse.html#sparse-semi-structured-tensors).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from featherweight.core.prunable import unwrap
from featherweight.errors import ModelError

_TYPES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class LinearLayer:
    """What became of one linear layer.

    Attributes:
        name: of the module.
        reason: why it was not converted; None if it was.
    """

    name: str
    reason: str | None


@dataclass(frozen=True)
class SemiStructured:
    """What became of every linear layer of a model.

    Attributes:
        layers: in the order of the model.
    """

    layers: tuple[LinearLayer, ...]

    @property
    def converted(self) -> tuple[str, ...]:
        """Names of the layers that run sparsely now."""
        return tuple(layer.name for layer in self.layers if layer.reason is None)

    def __str__(self) -> str:
        width = max((len(layer.name) for layer in self.layers), default=0)
        lines = [f"{layer.name:<{width}}  {layer.reason or 'converted'}" for layer in self.layers]
        return "\n".join([f"{len(self.converted)} of {len(lines)} linear layers converted", *lines])


@dataclass(frozen=True)
class Backend:
    """What multiplies by 2:4 sparse weights on a device.

    Attributes:
        name: "cuSPARSELt" or "CUTLASS".
        multiples: of what outputs and inputs have to be multiples.
    """

    name: str
    multiples: tuple[int, int]

    @classmethod
    def of(cls, capability: tuple[int, int], has_cusparselt: bool) -> Backend | None:
        """Return that of a device of this compute capability; None if there is none."""
        if capability >= (8, 0) and has_cusparselt:
            return cls("cuSPARSELt", (16, 16))
        return cls("CUTLASS", (32, 64)) if capability[0] == 8 else None


def to_semi_structured(model: nn.Module) -> SemiStructured:
    """Convert the 2:4 sparse linear layers of ``model`` in place, where the device has kernels for them.

    The layers are for inference only afterwards: their weights take no gradient and are not saved as dense
    tensors are. A layer that cannot be converted stays as it is, and the report says why: so the same script
    runs on machines without such a GPU. Of a layer that multiplies by a transposed weight (Conv1D of Hugging
    Face), of convolutions, attention projections and recurrent layers nothing is said: torch has no kernels
    for them.

    Args:
        model: pruned with ``pattern="2:4"``, in half precision, on its device.

    Raises:
        ModelError: no linear layer is 2:4 sparse, so that nothing could be converted on any device.
    """
    inner = unwrap(model)
    uses = Counter(id(p) for _, p in inner.named_parameters(remove_duplicate=False))
    layers = {name: module for name, module in inner.named_modules() if type(module) is nn.Linear}
    if not any(is_two_of_four(layer.weight) for layer in layers.values()):
        raise ModelError(
            f"None of the {len(layers)} linear layers of {type(inner).__name__} is 2:4 sparse. Prune it "
            f'first: fw.prune(model, 0.5, pattern="2:4").'
        )
    fast = {id(m) for m in inner.modules() if isinstance(m, nn.TransformerEncoderLayer) for m in m.modules()}
    reasons = {name: _reason(layer, uses, id(layer) in fast) for name, layer in layers.items()}
    sparse = {name: _sparse(layer.weight) for name, layer in layers.items() if reasons[name] is None}
    for name, weight in sparse.items():  # all or none: what fails has failed by now
        layers[name].weight = nn.Parameter(weight, requires_grad=False)
    return SemiStructured(tuple(LinearLayer(name, reason) for name, reason in reasons.items()))


def is_two_of_four(weight: Tensor) -> bool:
    """Whether of each four consecutive inputs of (outputs, inputs) two at most are not zero."""
    if weight.ndim != 2 or weight.shape[1] % 4:
        return False
    return bool((weight.detach().unflatten(1, (-1, 4)).count_nonzero(2) <= 2).all())


def reason_against(weight: Tensor, backend: Backend) -> str | None:
    """Return why a weight (outputs, inputs) cannot be converted for ``backend``; None if it can."""
    if weight.dtype not in _TYPES:
        return f"{weight.dtype}: convert the model first, with .half() or .to(torch.bfloat16)"
    if not is_two_of_four(weight):
        return "not 2:4 sparse"
    outputs, inputs = weight.shape
    if outputs % backend.multiples[0] or inputs % backend.multiples[1]:
        return (
            f"{outputs} outputs and {inputs} inputs: {backend.name} takes multiples of "
            f"{backend.multiples[0]} and {backend.multiples[1]}"
        )
    return None


def _reason(layer: nn.Linear, uses: Mapping[int, int], is_fast: bool) -> str | None:
    weight = layer.weight
    if "weight" not in layer._parameters:  # pyright: ignore[reportPrivateUsage]
        return "parametrised: remove the parametrisation first (torch.nn.utils.parametrize)"
    if uses[id(weight)] > 1:
        return "its weight is tied to another layer's"
    if is_fast:
        return "in a TransformerEncoderLayer of torch, whose fast path takes dense weights only"
    if weight.device.type != "cuda":
        there = "move the model to the GPU" if torch.cuda.is_available() else "torch sees no CUDA device here"
        return f"on {weight.device}: {there}"
    backend = _backend(weight.device)
    return reason_against(weight, backend) if isinstance(backend, Backend) else backend


def _backend(device: torch.device) -> Backend | str:
    """Return the back end for a CUDA device, or why there is none."""
    capability = torch.cuda.get_device_capability(device)
    backend = Backend.of(capability, torch.backends.cusparselt.is_available())
    dotted = ".".join(map(str, capability))
    if capability < (8, 0):
        return f"the GPU has compute capability {dotted}, and sparse tensor cores begin with 8.0"
    return backend or f"torch was built without cuSPARSELt, which compute capability {dotted} needs"


def _sparse(weight: Tensor) -> Tensor:
    backend = _backend(weight.device)
    assert isinstance(backend, Backend)
    kinds: dict[str, Any] = {
        "cuSPARSELt": torch.sparse.SparseSemiStructuredTensorCUSPARSELT,
        "CUTLASS": torch.sparse.SparseSemiStructuredTensorCUTLASS,
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PyTorch API of SparseSemiStructuredTensor is in prototype")
        return kinds[backend.name].from_dense(weight.detach().contiguous())
