"""Soft targets token by token (Hinton et al. 2015 at each position; "word-level" in Kim and Rush 2016,
https://arxiv.org/abs/1606.07947).

With logits z of the student and t of the teacher at one position, and p(x) = softmax(x / T)::

    L = T^2 * mean over the positions that count of KL(p(t) || p(z))
    dL/dz = T (p(z) - p(t)) / positions

Which positions count stands in ``_tokens``. A batch of which none does has a loss of 0.

The logits of a language model are the largest tensors of a step, so no second one of their size is made but
their gradient: chunks of positions are converted, compared and let go, and computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import check_temperature
from featherweight.distillation.losses._tokens import labels_at, token_logits
from featherweight.distillation.projectors import in_float32
from featherweight.errors import ModelError

CHUNK_VALUES = 1 << 23  # logits of a chunk: 32 MiB in float32, a few times over


class Tokenizer(Protocol):
    """What is asked of a tokenizer: its tokens and their numbers."""

    def get_vocab(self) -> Mapping[str, int]:
        """Return the number of each token."""
        ...


@losses.register("token")
class TokenTargets(DistillationLoss):
    """Kullback-Leibler divergence of the softened next tokens; logits (n, tokens, vocabulary)."""

    needs_logits = True
    takes_temperature = True

    def __init__(
        self,
        temperature: float = 2.0,
        *,
        causal: bool = True,
        tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    ) -> None:
        """Take the settings.

        Args:
            temperature: above 0; that of the Distiller, where it was given one, comes first.
            causal: whether the label of a position stands at the next one, as where labels are the inputs;
                False for masked language models, for those with an encoder and a decoder, and where targets
                were shifted before.
            tokenizers: of student and teacher; their tokens must have the same numbers.

        Raises:
            SettingError: the temperature is not a finite number above 0.
            ModelError: the tokenizers differ.
        """
        super().__init__()
        self.temperature = check_temperature(temperature)
        self.causal = causal
        self.sizes = ""
        if tokenizers is not None:
            check_tokenizers(*tokenizers)
            self.sizes = f" The tokenizers have {len(tokenizers[0].get_vocab()):,} tokens."

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        own, goal = token_logits(student.logits, "student"), token_logits(teacher.logits, "teacher")
        self._check(own, goal)
        labels = labels_at(lesson, (own.shape[0], own.shape[1]), self.causal)
        rows = (labels.flatten() != UNLABELLED).nonzero().flatten().to(own.device)
        temperature = lesson.temperature or self.temperature
        return _Divergence.apply(own, goal.detach(), rows, temperature)  # pyright: ignore[reportReturnType]

    def _check(self, own: Tensor, goal: Tensor) -> None:
        if own.shape[2] != goal.shape[2]:
            raise ModelError(
                f"Student and teacher must have one vocabulary: their logits have {own.shape[2]:,} and "
                f"{goal.shape[2]:,} tokens.{self.sizes} Where only padding of the embeddings differs, resize "
                f"them to one size; else teach with the teacher's decoded texts (loss 'sequence')."
            )
        if own.shape != goal.shape:
            raise ModelError(
                f"Student and teacher must see the same tokens: their logits are {tuple(own.shape)} and "
                f"{tuple(goal.shape)}."
            )


def check_tokenizers(student: Tokenizer, teacher: Tokenizer) -> None:
    """Raise ModelError unless both tokenizers give the same tokens the same numbers."""
    own, goal = student.get_vocab(), teacher.get_vocab()
    if own == goal:
        return
    first = min(own.items() ^ goal.items(), key=lambda pair: (pair[1], pair[0]))[0]
    raise ModelError(
        f"Student and teacher must have one vocabulary: their tokenizers have {len(own):,} and "
        f"{len(goal):,} tokens, and {first!r} is number {own.get(first)} in the student's and "
        f"{goal.get(first)} in the teacher's. Take the teacher's tokenizer, or teach with its decoded texts "
        f"(loss 'sequence')."
    )


class _Divergence(torch.autograd.Function):
    """The loss over the positions ``rows`` of logits (n, tokens, vocabulary), in chunks."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, goal: Tensor, rows: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(own, goal, rows)
        ctx.temperature = temperature
        total = in_float32(own.new_zeros(()))
        for _, log_p, log_q in _chunks(own, goal, rows, temperature):
            q = log_q.exp()
            total += torch.where(q > 0, q * (log_q - log_p), 0).sum()  # a forbidden token: 0 * log 0 = 0
        return temperature**2 * total / max(1, len(rows))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        own, goal, rows = ctx.saved_tensors
        found = torch.zeros_like(own, memory_format=torch.contiguous_format)
        flat = found.flatten(0, 1)
        scale = grad * ctx.temperature / max(1, len(rows))
        for chunk, log_p, log_q in _chunks(own, goal, rows, ctx.temperature):
            flat[chunk] = (log_p.exp_().sub_(log_q.exp_()) * scale).to(own.dtype)
        return found, None, None, None


def _chunks(
    own: Tensor, goal: Tensor, rows: Tensor, temperature: float
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield some of ``rows`` at a time, with the log-probabilities of both there, (chunk, vocabulary)."""
    width = own.shape[2]
    for chunk in rows.split(max(1, CHUNK_VALUES // max(1, width))):
        place = chunk // own.shape[1], chunk % own.shape[1]
        log_p, log_q = (
            torch.log_softmax(in_float32(logits[place]).div(temperature), 1) for logits in (own, goal)
        )
        yield chunk, log_p, log_q


__all__ = ["TokenTargets", "Tokenizer", "check_tokenizers"]
