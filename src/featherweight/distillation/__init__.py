"""Distillation: a small network learns from a large one.

``fw.distill`` is the call, and carries the pieces as attributes; they are also here.
"""

from featherweight.distillation.cache import TeacherCache
from featherweight.distillation.call import DISTILLING, Distill, distill
from featherweight.distillation.distiller import Distiller
from featherweight.distillation.generate import sequence_targets
from featherweight.distillation.losses import DistillationLoss, Lesson, View, losses
from featherweight.distillation.ramps import Cosine, Linear, Ramp
from featherweight.distillation.settings import DistillationSettings
from featherweight.distillation.students import student_from

__all__ = [
    "DISTILLING",
    "Cosine",
    "Distill",
    "DistillationLoss",
    "DistillationSettings",
    "Distiller",
    "Lesson",
    "Linear",
    "Ramp",
    "TeacherCache",
    "View",
    "distill",
    "losses",
    "sequence_targets",
    "student_from",
]
