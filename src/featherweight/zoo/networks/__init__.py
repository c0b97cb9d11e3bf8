"""The networks of the zoo; importing this package registers them all."""

from featherweight.zoo.networks import resnet_cifar, small_cnn

__all__ = ["resnet_cifar", "small_cnn"]
