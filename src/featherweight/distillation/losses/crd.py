"""Contrastive representation distillation (Tian, Krishnan, Isola 2020, https://arxiv.org/abs/1910.10699).

With s_i = unit(W e_i) of the student's embedding e_i and t_i = unit(V f_i) of the teacher's, W and V learnt::

    h(u, v) = exp(u . v / tau) / (exp(u . v / tau) + m_i c)
    L = mean over examples i of   -log h(s_i, t_i) - sum over negatives t_j of log(1 - h(s_i, t_j))
                                + -log h(t_i, s_i) - sum over negatives s_j of log(1 - h(t_i, s_j))

h is the probability that a pair is of one example rather than one of m_i negatives (noise-contrastive
estimation). c, one for each half, is the mean of exp(u . v / tau) over the negatives of the first batch that
has any, and stays so: the paper's Z times m over the number of examples, which cancels. The paper's weight
is 0.8.

Where this is not the paper: its negatives are drawn from a bank of the moving averages of the embeddings of
all training examples, found by the number of an example. Here they are the other examples of the batch and a
queue (first in, first out) of the embeddings of the last batches, so that examples need no numbers and memory
does not grow with the data. The positive is the embedding of this batch, not one from the bank. As in the
paper's experiments, where there are labels, examples of the same class are no negatives. That leaves out the
example itself too, if the queue still holds it from the epoch before. Without labels that is a false
negative: with a queue of K and epochs of N > K examples, K^2 / (2 N^2) of the anchors have one. Keep K well
below N.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featherweight.core.batches import UNLABELLED
from featherweight.distillation.losses._base import DistillationLoss, Lesson, View, losses
from featherweight.distillation.losses._logits import check_temperature
from featherweight.distillation.losses._relations import both_features, full_precision, pooled, unit
from featherweight.errors import ModelError, SettingError


@losses.register("crd")
class ContrastiveRepresentation(DistillationLoss):
    """Student and teacher tell by their embeddings which example of many the other saw.

    Embeddings are (n, width), or tokens and maps, which are averaged. In training mode each call puts the
    batch's embeddings into the queue; in eval mode nothing changes.

    Attributes:
        student_head: from the student's width to that of the comparison; None before ``prepare``.
        teacher_head: the same of the teacher; it is learnt too.
        student_queue: (length of the queue, width), the latest first; filled up to ``filled``.
        teacher_queue: of the same examples.
        labels: (length of the queue,), UNLABELLED where there was no label.
        log_scale: (2,), log c of the two halves; -inf before it is known.
    """

    features = "embedding"
    student_head: nn.Linear | None
    teacher_head: nn.Linear | None
    student_queue: Tensor
    teacher_queue: Tensor
    labels: Tensor
    filled: Tensor
    log_scale: Tensor

    def __init__(self, width: int = 128, temperature: float = 0.07, queue: int = 4096) -> None:
        """Take the width of the comparison, the paper's tau, and the number of embeddings kept.

        Raises SettingError.
        """
        super().__init__()
        for name, value, least in (("width", width, 1), ("queue", queue, 0)):
            if type(value) is not int or value < least:
                raise SettingError(f"{name} of crd is a whole number, {least} or above, got {value!r}.")
        self.width = width
        self.temperature = check_temperature(temperature)
        self.register_module("student_head", None)
        self.register_module("teacher_head", None)
        self.register_buffer("student_queue", torch.zeros(queue, width))
        self.register_buffer("teacher_queue", torch.zeros(queue, width))
        self.register_buffer("labels", torch.full((queue,), UNLABELLED))
        self.register_buffer("filled", torch.tensor(0))
        self.register_buffer("log_scale", torch.full((2,), -torch.inf))

    def prepare(self, student: View, teacher: View) -> None:
        """Make the heads, on the device of the student's features; a second call only checks the widths.

        Raises ModelError where there is not one pair of features, or the heads are of other widths.
        """
        own, goal = _one_pair(student, teacher, None)
        if self.student_head is None or self.teacher_head is None:
            with torch.inference_mode(False):  # what is made in that mode cannot be trained
                self.student_head = _head(own.shape[1], self.width)
                self.teacher_head = _head(goal.shape[1], self.width)
                self.to(own.device, own.dtype)
        _check(self.student_head, own, "student")
        _check(self.teacher_head, goal, "teacher")

    def forward(self, student: View, teacher: View, lesson: Lesson) -> Tensor:
        """Return the loss, a scalar."""
        pair = _one_pair(student, teacher, lesson.mask)
        with full_precision(pair[0]):
            own = unit(_check(self.student_head, pair[0], "student"))
            goal = unit(_check(self.teacher_head, pair[1], "teacher"))
            labels = _labels(lesson.targets, own)
            negatives = self._negatives(labels)
            loss = self._half(0, own, goal, self.teacher_queue, negatives)
            loss = loss + self._half(1, goal, own, self.student_queue, negatives)
        if self.training:
            self._remember(own.detach(), goal.detach(), labels)
        return loss

    def _negatives(self, labels: Tensor) -> Tensor:
        """Return (n, n + queue), True where one of batch or queue is a negative of one of the batch."""
        n = len(labels)
        known = torch.cat([labels, self.labels])
        places = torch.arange(len(known), device=labels.device)
        same = (labels.unsqueeze(1) == known) & (labels != UNLABELLED).unsqueeze(1)
        return (places < n + self.filled) & (places != places[:n].unsqueeze(1)) & ~same

    def _half(self, half: int, anchors: Tensor, others: Tensor, queue: Tensor, negatives: Tensor) -> Tensor:
        scores = anchors @ torch.cat([others, queue]).T / self.temperature
        scale = self._log_scale(half, scores.detach(), negatives)
        margins = scores - (scale + negatives.sum(1, dtype=scores.dtype).log()).unsqueeze(1)
        positive = F.softplus(-margins.diagonal())
        return (positive + F.softplus(margins).where(negatives, 0).sum(1)).mean()

    def _log_scale(self, half: int, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return log c; from these scores, and kept in training mode, where it is not known."""
        count = negatives.sum(dtype=scores.dtype).clamp_min(1)
        now = scores.masked_fill(~negatives, -torch.inf).logsumexp((0, 1)) - count.log()
        scale = torch.where(self.log_scale[half].isinf(), now, self.log_scale[half])
        if self.training:
            known = self.log_scale.clone()  # may have been made in inference mode, where it stays as it is
            known[half] = scale
            self.log_scale = known
        return scale

    def _remember(self, own: Tensor, goal: Tensor, labels: Tensor) -> None:
        self.student_queue = _pushed(self.student_queue, own)
        self.teacher_queue = _pushed(self.teacher_queue, goal)
        self.labels = _pushed(self.labels, labels)
        self.filled = (self.filled + len(own)).clamp_max(len(self.labels))


def _one_pair(student: View, teacher: View, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    pairs = both_features(student, teacher)
    if len(pairs) > 1:
        raise ModelError(f"crd compares one pair of features, got {len(pairs)}: name one in features=.")
    own, goal = pairs[0]
    return pooled(own, mask), pooled(goal, mask)


def _head(width: int, wanted: int) -> nn.Linear:
    """Return a head whose weights hang on the widths only: equal in all processes and for equal networks."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(width)
        return nn.Linear(width, wanted, dtype=torch.float32)


def _check(head: nn.Linear | None, embedding: Tensor, which: str) -> Tensor:
    """Return ``embedding`` after its head; raises ModelError where they do not fit."""
    if head is None:
        raise ModelError("crd has no heads yet: call prepare, once, with an example.")
    if embedding.shape[1] != head.in_features:
        raise ModelError(
            f"crd was prepared for embeddings of the {which} of width {head.in_features}, got "
            f"{embedding.shape[1]}: make a loss for each pair of networks."
        )
    return head(embedding.to(head.weight.dtype))


def _labels(targets: Tensor | None, embeddings: Tensor) -> Tensor:
    """Return one label per example, UNLABELLED where targets are not class numbers of examples."""
    n = len(embeddings)
    if targets is None or targets.shape != (n,) or targets.is_floating_point():
        return torch.full((n,), UNLABELLED, device=embeddings.device)
    return targets.long()


def _pushed(queue: Tensor, latest: Tensor) -> Tensor:
    """Return the queue with ``latest`` in front, as long as before; new, as autograd holds the old one."""
    latest = latest[: len(queue)]
    return torch.cat([latest, queue[: len(queue) - len(latest)]])
