"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747): 60,000 + 10,000 images."""

from __future__ import annotations

from featherweight.zoo._registry import data_sets
from featherweight.zoo.data.idx_set import IdxSet, load_idx_set
from featherweight.zoo.data.splits import Splits

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
FILES = IdxSet(
    name="fashion_mnist",
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    folders=("/usr/share/datasets/fashion-mnist",),
    url="https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    hint="apt-get install dataset-fashion-mnist",
)


@data_sets.register("fashion_mnist")
def fashion_mnist() -> Splits:
    """Return Fashion-MNIST: 55,000 train, 5,000 validation, 10,000 test images of 28x28."""
    return load_idx_set(FILES, CLASSES, flip=True)
