"""Every way in which a compact file can be refused, one class each.

The tree::

    ArtifactError                  (featherweight.errors)
    ├── NotSafetensorsError        not a safetensors file at all
    │   └── PickleRefusedError     a pickle or a PyTorch archive: never loaded, it can run code
    ├── TruncatedError             the file ends before what its header describes
    ├── HeaderError                the safetensors header is not what the format asks for
    │   └── OverlapError           byte ranges overlap, leave holes or lie outside the file
    ├── VersionError               a compact file of a version that this library does not know
    ├── ManifestError              the manifest is not what spec.md asks for
    ├── DtypeError                 a dtype that is unknown, or impossible at that place
    ├── SizeMismatchError          two sizes or counts that must agree do not
    ├── TooLargeError              the decoded size is above the limit (a decompression bomb, or a big model)
    ├── FrameError                 a compressed frame is damaged, or is not the size it must be
    ├── PositionError              positions of nonzeros out of range, or not as many as claimed
    ├── ContentError               decoded values that cannot be (a bool that is neither 0 nor 1)
    └── ChecksumError              the bytes are not those that were written
"""

from __future__ import annotations

from featherweight.errors import ArtifactError


class NotSafetensorsError(ArtifactError):
    """Not a safetensors file at all."""


class PickleRefusedError(NotSafetensorsError):
    """A pickle or a PyTorch archive, which is never loaded since loading it can run code."""


class TruncatedError(ArtifactError):
    """The file ends before what its header describes."""


class HeaderError(ArtifactError):
    """The safetensors header is not what the format asks for."""


class OverlapError(HeaderError):
    """Byte ranges overlap, leave holes or lie outside the file."""


class VersionError(ArtifactError):
    """A compact file of a version that this library does not know."""


class ManifestError(ArtifactError):
    """The manifest is not what spec.md asks for."""


class DtypeError(ArtifactError):
    """A dtype that is unknown, or impossible at that place."""


class SizeMismatchError(ArtifactError):
    """Two sizes or counts that must agree do not."""


class TooLargeError(ArtifactError):
    """The decoded size is above the limit."""


class FrameError(ArtifactError):
    """A compressed frame is damaged, or is not the size it must be."""


class PositionError(ArtifactError):
    """Positions of nonzeros are out of range, or not as many as claimed."""


class ContentError(ArtifactError):
    """Decoded values that cannot be."""


class ChecksumError(ArtifactError):
    """The bytes are not those that were written."""
