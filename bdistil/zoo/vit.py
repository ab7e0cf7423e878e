"""A small vision transformer: patches that attend to one another."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from bdistil.zoo.cnn import windows
from bdistil.zoo.registry import register_student, register_teacher

PATCHES = 7  # a side


class Attention(nn.Module):
    """Self-attention as plain products, which are counted, stacked and exported everywhere.

    Args:
        size: of a token; a multiple of `heads`.
        heads: attentions side by side.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(size, 3 * size, bias=False)
        self.output = nn.Linear(size, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """What each token (B, tokens, size) takes from all."""
        split = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        weights = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        mixed = weights.softmax(dim=3) @ values
        taken: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return taken


class Block(nn.Module):
    """Attention, then a hidden layer for each token, each added to what came in."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(size), Attention(size, heads))
        self.layers = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, tokens, size) of tokens of the same shape."""
        tokens = tokens + self.attention(tokens)
        refined: Tensor = tokens + self.layers(tokens)
        return refined


class VisionTransformer(nn.Module):
    """Image patches with learnt places, blocks, and the mean over patches.

    Args:
        input_shape: channels, height and width.
        size: of a token; a multiple of `heads`.
        heads: of each attention.
        blocks: one after another.
    """

    def __init__(self, input_shape: tuple[int, ...], size: int, heads: int, blocks: int) -> None:
        super().__init__()
        channels, *sides = input_shape
        kernels, strides, cells = zip(*(windows(side, PATCHES) for side in sides), strict=True)
        self.features = size
        self.patches = nn.Conv2d(channels, size, kernels, strides)
        self.places = nn.Parameter(0.02 * torch.randn(math.prod(cells), size))
        self.blocks = nn.Sequential(*(Block(size, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(size)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, size) of images (B, channels, height, width)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        mean: Tensor = self.norm(self.blocks(tokens)).mean(dim=1)
        return mean


@register_student("vit", domains=("image",), lr=4e-3, growth=1.5)
def vit_student(input_shape: tuple[int, ...], width: int) -> nn.Module:
    """A vision transformer of 7x7 patches and one block, with two heads of `width` units."""
    return VisionTransformer(input_shape, 2 * width, heads=2, blocks=1)


@register_teacher("vit", domains=("image",))
def vit_teacher(
    input_shape: tuple[int, ...],
    outputs: int,
    *,
    width: PositiveInt = 16,
    heads: PositiveInt = 4,
    blocks: PositiveInt = 4,
) -> nn.Module:
    """A vision transformer of 7x7 patches and `blocks`, with `heads` of `width` units."""
    body = VisionTransformer(input_shape, width * heads, heads, blocks)
    return nn.Sequential(body, nn.Linear(body.features, outputs))
