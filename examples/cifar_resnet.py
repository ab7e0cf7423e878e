"""Residual networks for 32 x 32 photographs (He et al. 2016), as a teacher of your own.

    teacher: {model: examples/cifar_resnet.py:resnet56, weights: resnet56.safetensors}

Weights are keyed as in github.com/akamaster/pytorch_resnet_cifar10: conv1, bn1, layer1.0.conv1, ...
The network takes raw pixels from 0 to 255 and scales them itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions; a shortcut without parameters subsamples and pads the channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding))
        own = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(own + shortcut)


class ResNet(nn.Module):
    """Three stages of basic blocks with 16, 32 and 64 channels."""

    def __init__(self, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(
            Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(blocks - 1))
        )
        self.layer3 = nn.Sequential(
            Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(blocks - 1))
        )
        self.linear = nn.Linear(64, classes)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = (x / 255 - self.mean) / self.deviation
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet20(classes: int = 10) -> ResNet:
    """270,000 parameters."""
    return ResNet(3, classes)


def resnet56(classes: int = 10) -> ResNet:
    """850,000 parameters."""
    return ResNet(9, classes)
