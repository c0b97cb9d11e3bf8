"""Sequence-level distillation (Kim and Rush 2016, https://arxiv.org/abs/1606.07947).

The sum over all sequences that the teacher may say is replaced by its mode, which decoding finds: y. With the
student's probabilities p::

    L = - mean over the tokens of y of log p(token | prompt, tokens before)

``sequence_targets`` decodes; its sequences are the labels of the batches. Where this is the only loss the
teacher's logits are not read: training on those batches without a Distiller gives the same.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._tokens import labels_at, token_logits
from featherweight.distillation.projectors import in_float32
from featherweight.errors import DataError


@losses.register("sequence")
class DecodedSequences(DistillationLoss):
    """Cross-entropy on the labels, which the teacher decoded; logits (n, tokens, vocabulary).

    The vocabulary of the teacher may be another, where its texts were tokenized anew.
    """

    needs_targets = True

    def __init__(self, *, causal: bool = True) -> None:
        """Take whether the label of a position stands at the next one, as where labels are the inputs.

        False for models with an encoder and a decoder, and where targets were shifted before.
        """
        super().__init__()
        self.causal = causal

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar; 0 where no token has a label."""
        own = token_logits(student.logits, "student")
        if lesson.targets is None:
            raise DataError("sequence needs labels: fw.distill.sequence_targets decodes them.")
        labels = labels_at(lesson, (own.shape[0], own.shape[1]), self.causal).to(own.device)
        counted = labels != UNLABELLED
        total = F.cross_entropy(in_float32(own[counted]), labels[counted].long(), reduction="sum")
        return total / counted.sum().clamp_min(1)
