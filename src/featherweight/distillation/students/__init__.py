"""Students: copies of a teacher with some of its blocks, or narrower."""

from featherweight.distillation.students.student import student_from

__all__ = ["student_from"]
