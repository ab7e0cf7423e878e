"""What the contracts of students and teachers have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def expect(holds: bool, otherwise: str) -> None:
    """Fail with a sentence unless something holds.

    Raises:
        AssertionError: if it does not.
    """
    if not holds:
        raise AssertionError(otherwise)


def inputs_of(shape: Shape, count: int = 6) -> Tensor:
    """The same standardised examples each time, (count, *shape)."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(7))


def expect_numbers(what: str, found: Tensor, shape: Shape) -> None:
    """Fail unless a tensor is finite, float32 and of that shape."""
    expect(found.shape == shape, f"{what} are of shape {tuple(found.shape)}, not {shape}.")
    expect(found.dtype == torch.float32, f"{what} are {found.dtype}, not torch.float32.")
    expect(bool(found.isfinite().all()), f"{what} are not finite.")


def expect_gradients(what: str, network: nn.Module, shape: Shape) -> None:
    """Fail unless the gradient of the last loss has reached every parameter.

    In a sequence of one step a recurrent layer has no past to weigh, so some may be idle.
    """
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    one_step = len(shape) == 2 and shape[0] == 1
    allowed = sum(1 for _ in network.parameters()) - 1 if one_step else 0
    expect(len(idle) <= allowed, f"{what}: no gradient reaches {', '.join(idle)}.")
