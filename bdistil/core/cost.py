"""What an evaluation costs: FLOPs, parameters and measured time."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bdistil.core.threads import one_thread


def flops(module: nn.Module, input_shape: Sequence[int]) -> int:
    """FLOPs of one example, counted by torch (matrix products and convolutions, 2 a product).

    Counted on the meta device, where fused kernels (such as the CPU's LSTM) show their products.
    """
    shadow = copy.deepcopy(module).to("meta").eval()
    return count_flops(lambda: shadow(torch.empty(1, *input_shape, device="meta")))


def count_flops(call: Callable[[], object]) -> int:
    """FLOPs that torch counts while `call` runs."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return int(counter.get_total_flops())


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def latencies(
    modules: Sequence[Callable[[Tensor], object]], x: Tensor, *, repeats: int = 30, warmup: int = 3
) -> list[float]:
    """Median seconds of each module on `x`, one thread, taken in turns so that noise is shared.

    On a GPU the seconds last until it has finished.
    """
    with one_thread():
        for module in list(modules) * warmup:
            module(x)
        samples = [[_seconds(module, x) for module in modules] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*samples, strict=True)]


def _seconds(module: Callable[[Tensor], object], x: Tensor) -> float:
    _synchronise(x.device)
    start = time.perf_counter()
    module(x)
    _synchronise(x.device)
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    """Wait for an accelerator, whose calls return before it is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
