"""What the losses on attention share."""

from __future__ import annotations

from torch import Tensor

from featherweight.distillation.losses._base import Heads, View
from featherweight.distillation.projectors import in_float32
from featherweight.errors import ModelError


def attention_pairs(student: View, teacher: View) -> list[tuple[Heads, Heads]]:
    """Return the attention layers of both by position, the teacher's detached.

    Raises:
        ModelError: there are none, not equally many, or they are not of the same examples and tokens.
    """
    own, goal = student.attention, teacher.attention
    if len(own) != len(goal) or not own:
        raise ModelError(
            f"Attention layers are compared one to one: the student shows {len(own)}, the "
            f"teacher {len(goal)}."
        )
    for i, (a, b) in enumerate(zip(own, goal, strict=True)):
        if any(x.ndim != 4 or len(x) != len(b.query) for x in (*_parts(a), *_parts(b))):
            raise ModelError(
                "Queries, keys and values are (n, heads, tokens, width of a head) of the same n examples: "
                f"the student's queries are {tuple(a.query.shape)}, the teacher's {tuple(b.query.shape)}."
            )
        if [x.shape[2] for x in _parts(a)] != [x.shape[2] for x in _parts(b)]:
            raise ModelError(
                f"Pair {i} of attention layers is over {a.query.shape[2]} tokens in the student and "
                f"{b.query.shape[2]} in the teacher: both must read the same tokens."
            )
    return [(a, Heads(*(x.detach() for x in _parts(b)))) for a, b in zip(own, goal, strict=True)]


def without_padding(heads: Heads, mask: Tensor | None) -> Heads:
    """Return queries, keys and values in float32, with zeros in the place of padding.

    Raises:
        ModelError: the mask has another number of examples or tokens.
    """
    query, key, value = (in_float32(x) for x in _parts(heads))
    if mask is None:
        return Heads(query, key, value)
    for x in (query, key, value):
        if (x.shape[0], x.shape[2]) != tuple(mask.shape):
            raise ModelError(
                f"The mask of padding is {tuple(mask.shape)}, and attention is over {x.shape[2]} tokens of "
                f"{x.shape[0]} examples: tap layers that attend over the mask's tokens."
            )
    gone = ~mask[:, None, :, None]
    return Heads(query.masked_fill(gone, 0), key.masked_fill(gone, 0), value.masked_fill(gone, 0))


def _parts(heads: Heads) -> tuple[Tensor, Tensor, Tensor]:
    return heads.query, heads.key, heads.value
