"""What copies of examples can differ by, from uniform numbers in [0, 1) for each of them."""

from __future__ import annotations

import torch
from torch import Tensor


def moved_image(x: Tensor, numbers: Tensor, most: int, flip: bool) -> Tensor:
    """Images (B, C, H, W) moved by up to `most` pixels each way, and maybe mirrored."""
    if not (most or flip):
        return x
    height, width = x.shape[2:]
    down, right = ((numbers[:, :2] * (2 * most + 1)).long() - most).T
    ys = _mirrored(torch.arange(height, device=x.device) + down[:, None], height)
    xs = _mirrored(torch.arange(width, device=x.device) + right[:, None], width)
    if flip:
        xs = torch.where(numbers[:, 2:3] < 0.5, width - 1 - xs, xs)
    places = (ys[:, :, None] * width + xs[:, None, :]).flatten(1)
    return x.flatten(2).gather(2, places[:, None].expand(-1, x.shape[1], -1)).view(x.shape)


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Places beyond an end, reflected there."""
    last = max(1, size - 1)
    places = places.abs() % (2 * last)
    return torch.where(places > last, 2 * last - places, places).clamp(max=size - 1)


def erased(x: Tensor, numbers: Tensor, most: float, fill: Tensor) -> Tensor:
    """Images (B, C, H, W) with a square wiped out, its side up to a share of the shorter side."""
    if not most:
        return x
    height, width = x.shape[2:]
    side = numbers[:, 3, None] * most * min(height, width) / 2

    def inside(size: int, centre: Tensor) -> Tensor:
        return (torch.arange(size, device=x.device) + 0.5 - centre[:, None] * size).abs() < side

    hole = inside(height, numbers[:, 4])[:, :, None] & inside(width, numbers[:, 5])[:, None, :]
    return torch.where(hole[:, None], fill.to(x), x)


def moved_sequence(x: Tensor, numbers: Tensor, most: int) -> Tensor:
    """Sequences (B, T, F) moved by up to `most` steps each way, their ends repeated."""
    if not most:
        return x
    steps = x.shape[1]
    later = (numbers[:, 0] * (2 * most + 1)).long() - most
    places = (torch.arange(steps, device=x.device) + later[:, None]).clamp(0, steps - 1)
    return x.gather(1, places[:, :, None].expand_as(x))


def masked(x: Tensor, numbers: Tensor, most: float, fill: Tensor, axis: int) -> Tensor:
    """Sequences (B, T, F) with a stretch of an axis wiped out, up to a share of its length."""
    if not most:
        return x
    size = x.shape[axis]
    length = numbers[:, 0] * most * size
    start = numbers[:, 1] * (size - length)
    place = torch.arange(size, device=x.device) + 0.5
    hole = (place >= start[:, None]) & (place < (start + length)[:, None])
    return torch.where(hole[:, :, None] if axis == 1 else hole[:, None, :], fill.to(x), x)


def stretched(x: Tensor, numbers: Tensor, most: float, axis: int, fixed: int) -> Tensor:
    """Sequences (B, T, F) stretched or squeezed along an axis by up to `most`, numbers (B,).

    Of frequencies: "Vocal Tract Length Perturbation (VTLP) improves speech recognition" (Jaitly and
    Hinton, ICML 2013), linear from the lowest on. Places between two are their weighted mean, and
    those beyond an end have what is there.

    Args:
        x: examples.
        numbers: half of them squeeze.
        most: share of the axis.
        axis: 1 or 2.
        fixed: the place that stays.
    """
    if not most:
        return x
    size = x.shape[axis]
    factors = (1 + most) ** (2 * numbers - 1)
    places = fixed + (torch.arange(size, device=x.device) - fixed) * factors[:, None]
    places = places.clamp(0, size - 1)
    before = places.long().clamp(max=max(0, size - 2))
    share = places - before
    if axis == 1:
        before, share = before[:, :, None].expand_as(x), share[:, :, None]
    else:
        before, share = before[:, None].expand_as(x), share[:, None]
    after = (before + 1).clamp(max=size - 1)
    return torch.lerp(x.gather(axis, before), x.gather(axis, after), share.to(x))
