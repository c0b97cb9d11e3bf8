"""Every exception that featherweight raises on purpose.

The tree::

    FeatherweightError
    ├── SettingError          a setting is out of range or of the wrong type       (also a ValueError)
    │   └── UnknownNameError  a name that no registry entry has                     (also a KeyError)
    ├── ModelError            the model given cannot be worked on as asked
    │   ├── MaskError         masks and model (or file) do not fit each other
    │   ├── TraceError        the operations of the model cannot be followed
    │   ├── SurgeryError      a network that was cut is not what it should be; it was not changed
    │   ├── OnnxError         an ONNX network cannot be read, written, or trusted
    │   ├── UnsupportedError  the runtime lacks operators of a network; nothing was written
    │   └── GraphError        a graph of the runtime is not what its operations ask for
    ├── InputError            arrays do not fit the inputs of a network                (also a ValueError)
    ├── DataError             a data set is missing, damaged or of the wrong form
    ├── TrainingError         training cannot start or go on
    │   └── ResumeError       a checkpoint does not belong to this run
    └── ArtifactError         a file cannot be written or read
        └── ...               one class per way of being malformed: see featherweight.artifact.errors
"""

from __future__ import annotations


class FeatherweightError(Exception):
    """Base of every exception raised on purpose by featherweight."""


class SettingError(FeatherweightError, ValueError):
    """A setting is out of range or of the wrong type."""


class UnknownNameError(SettingError, KeyError):
    """A name is not in the registry that was asked for it."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of its message


class ModelError(FeatherweightError):
    """The model given cannot be worked on as asked."""


class MaskError(ModelError):
    """Masks and the model, or the file they come from, do not fit each other."""


class TraceError(ModelError):
    """The operations of the model cannot be followed."""


class SurgeryError(ModelError):
    """A network that was cut is not what it should be; it was not changed."""


class OnnxError(ModelError):
    """An ONNX network cannot be read, written, or trusted."""


class UnsupportedError(ModelError):
    """The runtime lacks operators of a network; nothing was written."""


class GraphError(ModelError):
    """A graph of the runtime is not what its operations ask for."""


class InputError(FeatherweightError, ValueError):
    """Arrays do not fit the inputs of a network."""


class DataError(FeatherweightError):
    """A data set is missing, damaged or of the wrong form."""


class TrainingError(FeatherweightError):
    """Training cannot start or go on."""


class ResumeError(TrainingError):
    """A checkpoint does not belong to the run that is asked to resume from it."""


class ArtifactError(FeatherweightError):
    """A file cannot be written or read."""
