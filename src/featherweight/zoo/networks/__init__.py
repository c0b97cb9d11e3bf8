"""The networks of the zoo; importing this package registers them all."""

from featherweight.zoo.networks import (
    lenet,
    mobilenet_v1,
    mobilenet_v2,
    resnet,
    resnet_cifar,
    small_cnn,
    vgg,
    vit,
)

__all__ = ["lenet", "mobilenet_v1", "mobilenet_v2", "resnet", "resnet_cifar", "small_cnn", "vgg", "vit"]
