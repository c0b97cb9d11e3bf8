"""What reaches each prunable weight while a network runs, as rows that multiply the weight's rows.

The weight is ``(outputs, positions, inputs)`` as ``core/rows.py`` lays it out. What reaches it comes as
``(groups, samples, columns)``, where ``columns`` are ``positions * inputs`` with the inputs changing fastest;
so ``inputs[g] @ rows[outputs of group g].flatten(1).T`` is what the layer gives before its bias, one row a
sample (a token, or a position of a convolution's output). Only grouped convolutions have several groups.

Weights are recognised where a function of torch takes them, by their place in memory, whichever module calls
it: linear, convolution and transposed convolution, matrix products, multi-head attention (query, key, value
and output projections) and recurrent cells. Nothing is kept: each call is handed on and forgotten.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from featherweight.core.eager import eager
from featherweight.core.prunable import PrunableWeight
from featherweight.core.rows import rows_shape
from featherweight.core.trace import unfused
from featherweight.sparsity._uses import READERS, Use, attention_output, attention_projections

_Place = tuple[int, int]
_ATTENTION = inspect.signature(F.multi_head_attention_forward)


@dataclass(frozen=True, eq=False)
class LayerInput:
    """Some of what reached a weight in one call.

    Attributes:
        name: the weight's first name.
        inputs: (groups, samples, columns), without gradient, of the network's type. It may be a view of an
            activation: not to be written to.
        outputs: which of the weight's outputs it is multiplied with; ``groups`` equal parts of them in
            order, one a group. All of them, but for the projections of attention, whose query, key and value
            may differ.
    """

    name: str
    inputs: Tensor
    outputs: range


class EnoughError(BaseException):
    """Raised out of a network that need not run to its end; no Exception, for a network may catch those."""


Receive = Callable[[LayerInput], None]
Reached = Callable[[str, Iterator[LayerInput]], None]


@contextmanager
def watched_inputs(
    weights: Sequence[PrunableWeight], receive: Receive | None = None, reached: Reached | None = None
) -> Generator[InputWatch]:
    """Hand out what reaches ``weights`` in every network that runs within the block.

    Args:
        weights: those to watch; what reaches others costs nothing.
        receive: called with each ``LayerInput`` before the layer runs, several times where a convolution's
            windows take much memory. An exception that it raises leaves the forward pass. None: the watch
            only counts uses.
        reached: called in its place, with a weight's name and an iterator of what reaches it in this use;
            what is not read costs nothing.

    Example::

        with watched_inputs(find_prunable(model).weights, receive) as watch, torch.no_grad():
            for batch in data:
                watch.valid = valid_positions(batch, model)
                model(**batch)
        print(watch.unseen())
    """
    if receive is not None:
        reached = _each(receive)
    watch = InputWatch(weights, reached)
    with unfused(), eager(), watch:
        yield watch


def valid_positions(batch: Any, model: nn.Module | None = None) -> Tensor | None:
    """Return which positions are not padding, bool (batch, length), if ``batch`` tells.

    It does so in "attention_mask", the form of Hugging Face. Where ``model`` has an encoder and a decoder,
    it is the encoder's; if the decoder's tokens are as many, the two cannot be told apart, and all count.
    """
    if not isinstance(batch, Mapping):
        return None
    given = cast("Mapping[str, Any]", batch)
    mask = given.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return None
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        decoded = [given.get(name) for name in ("decoder_input_ids", "decoder_inputs_embeds", "labels")]
        if any(isinstance(each, Tensor) and each.shape[:2] == mask.shape for each in decoded):
            return None
    return mask != 0


class InputWatch(TorchFunctionMode):
    """The functions of torch, with an eye on the weights that they are given. See ``watched_inputs``.

    Attributes:
        valid: bool (batch, length), which positions count; rows of linear layers and attention that begin
            with these two dimensions (or with both in one) are handed out without the others. None: all. Keys
            and values that attention itself is told to ignore (``key_padding_mask``) are left out anyway.
        uses: how often each weight was used, in the order in which they first were.
        enough: uses of weights after which the forward pass is left by an ``EnoughError``; empty: never.
    """

    def __init__(self, weights: Sequence[PrunableWeight], reached: Reached | None = None) -> None:
        super().__init__()
        self.valid: Tensor | None = None
        self.uses: dict[str, int] = {}
        self.enough: dict[str, int] = {}
        self._reached = reached
        self._weights = {_place(weight.tensor): weight for weight in weights}
        self._obstacles: dict[str, str] = {}

    def unseen(self) -> dict[str, str]:
        """Return the weights that nothing was seen to reach, each with the reason."""
        names = [weight.name for weight in self._weights.values() if weight.name not in self.uses]
        return {name: self._obstacles.get(name, "nothing reached it in these passes") for name in names}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run ``func``, after handing out what reaches the weights among its arguments."""
        named = dict(kwargs or {})
        watched = {_place(value) for value in _tensors(*args, *named.values())} & self._weights.keys()
        if not watched:
            return func(*args, **named)
        if func is F.multi_head_attention_forward:
            return self._attend(*args, **named)
        uses = [use for use in _read(func, args, named) if _place(use.weight) in watched]
        for use in uses:
            self._hand_out(use)
        result = func(*args, **named)
        if not uses:
            self._note_other_use(func, watched, result)
        return result

    def _hand_out(self, use: Use) -> None:
        weight = self._weights.get(_place(use.weight))
        if weight is None:
            return
        if not _lies_as(weight, use):
            self._obstacles[weight.name] = "a part of it is used, or its inputs and outputs are exchanged"
            return
        self.uses[weight.name] = self.uses.get(weight.name, 0) + 1
        if self._reached is not None:
            self._reached(weight.name, self._inputs(weight, use))
        self._leave_if_enough()

    def _inputs(self, weight: PrunableWeight, use: Use) -> Iterator[LayerInput]:
        count = rows_shape(weight.tensor.shape, weight.output_dim, weight.groups)[0]
        outputs = range(count) if use.outputs is None else use.outputs
        for inputs in use.pieces(self.valid):
            if inputs.shape[1]:
                yield LayerInput(weight.name, inputs.detach(), outputs)

    def _leave_if_enough(self) -> None:
        if self.enough and all(self.uses.get(name, 0) >= count for name, count in self.enough.items()):
            raise EnoughError

    def _note_other_use(self, func: Any, watched: set[_Place], result: Any) -> None:
        """Note functions that compute something of a weight; views and getters do not."""
        made = {_place(value) for value in _tensors(result)}
        if func.__name__ != "__get__" and made:
            for place in watched - made:
                self._obstacles[self._weights[place].name] = f"{func.__name__} does not show what reaches it"

    def _attend(self, *args: Any, **kwargs: Any) -> Any:
        """Run attention with the identity in place of its last projection, which shows what reaches that."""
        bound = _ATTENTION.bind(*args, **kwargs)
        call = dict(bound.arguments)
        for use in attention_projections(call, self.valid):
            self._hand_out(use)
        weight: Tensor = call["out_proj_weight"]
        if _place(weight) not in self._weights:
            return F.multi_head_attention_forward(*args, **kwargs)
        eye = torch.eye(*weight.shape, dtype=weight.dtype, device=weight.device)
        bound.arguments.update(out_proj_weight=eye, out_proj_bias=None)
        heads, attention = F.multi_head_attention_forward(*bound.args, **bound.kwargs)
        self._hand_out(attention_output(heads, call, self.valid))
        return F.linear(heads, weight, call["out_proj_bias"]), attention


def _each(receive: Receive) -> Reached:
    def reached(name: str, inputs: Iterator[LayerInput]) -> None:
        for given in inputs:
            receive(given)

    return reached


def _read(func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Iterator[Use]:
    return READERS[func](*args, **named) if func in READERS else iter(())


def _place(tensor: Tensor) -> _Place:
    """Return where a tensor lies: views of a whole parameter lie where it does."""
    try:
        return tensor.untyped_storage().data_ptr(), int(tensor.storage_offset())
    except (RuntimeError, NotImplementedError):  # tensor subclasses without a storage of their own
        return id(tensor), -1


def _tensors(*values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in cast("Sequence[Any]", value) if isinstance(item, Tensor))


def _lies_as(weight: PrunableWeight, use: Use) -> bool:
    """Whether the call takes the whole weight, with the outputs where its class says they are."""
    stored, used = weight.tensor, use.weight
    if use.output_dim != weight.output_dim:
        if used.ndim != 2:
            return False
        used = used.T
    return used.shape == stored.shape and used.stride() == stored.stride()
