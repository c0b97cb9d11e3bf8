"""The default training loop, and what it asks of a pruner."""

from featherweight.training.attachment import Attachment
from featherweight.training.guidance import Guidance
from featherweight.training.loop import fit
from featherweight.training.records import EpochRecord, History
from featherweight.training.settings import TrainingSettings

__all__ = ["Attachment", "EpochRecord", "Guidance", "History", "TrainingSettings", "fit"]
