"""What operations there are: arity, attributes and shapes of each. docs/design/runtime.md has the table."""

from featherweight.runtime.operations import convolution, pointwise, pooling, reducing, shaping
from featherweight.runtime.operations.schema import Schema, schemas

__all__ = ["Schema", "convolution", "pointwise", "pooling", "reducing", "schemas", "shaping"]
