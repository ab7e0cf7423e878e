"""Convolutions over the time and the frequencies of recordings, which these are images of.

Who speaks moves what is heard up or down in frequency and faster or slower in time. Networks that
slide over both, halve both and keep only the mean and the maximum of what they find hear new
speakers better than those that take each frequency as a feature of its own
(results/2026-11-29-spoken).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from bdistil.zoo.fcn import MeanAndMaximum
from bdistil.zoo.registry import register_student, register_teacher
from bdistil.zoo.teachers import Share, Sizes


@register_student("spectrogram", domains=("sequence",), lr=4e-3, growth=1.6)
class SpectrogramBody(nn.Module):
    """Four 3x3 convolutions of stride 2, of `width` to 4 x `width` channels; mean and maximum."""

    def __init__(self, input_shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.features = 2 * channels[-1]
        self.layers = nn.Sequential(*layers, MeanAndMaximum(), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of sequences (B, time, frequencies)."""
        hidden: Tensor = self.layers(x.unsqueeze(1))
        return hidden


@register_teacher("spectrogram", domains=("sequence",))
def spectrogram(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    channels: Sizes = (16, 32, 64, 128),
    dropout: Share = 0.3,
) -> nn.Module:
    """Convolutions over time and frequency, halved as often as there are `channels`."""
    as_image = nn.Unflatten(1, (1, input_shape[0]))
    layers = [_block(1, channels[0], stride=2)]
    for before, after in pairwise(channels[:-1]):
        layers += [_block(before, after, stride=1), _block(after, after, stride=2)]
    layers += [_block(*pair, stride=2) for pair in pairwise(channels[-2:])]
    head = nn.Linear(2 * channels[-1], outputs)
    return nn.Sequential(
        as_image, *layers, MeanAndMaximum(), nn.Flatten(), nn.Dropout(dropout), head
    )


def _block(before: int, after: int, stride: int) -> nn.Module:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
