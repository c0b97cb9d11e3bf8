"""The outputs of teachers on disk, found again by the content of the examples."""

from featherweight.distillation.cache.filling import Teaching, fill
from featherweight.distillation.cache.keys import keys_of
from featherweight.distillation.cache.manifest import Identity
from featherweight.distillation.cache.store import TeacherCache

__all__ = ["Identity", "TeacherCache", "Teaching", "fill", "keys_of"]
