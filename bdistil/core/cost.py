"""What an evaluation costs: FLOPs, parameters and measured time."""

from __future__ import annotations

import copy
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bdistil.core.threads import torch_threads


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


def warm_up_counting() -> None:
    """Count something: the first time loads torch's compiler, a second of each process."""
    flops(nn.Linear(1, 1), (1,))


def parameters(module: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def latencies(
    modules: Sequence[Callable[[Tensor], object]],
    x: Tensor,
    *,
    repeats: int = 30,
    warmup: int = 3,
    threads: int = 1,
) -> list[float]:
    """Median seconds of each module on `x`, taken in turns so that noise is shared.

    On a GPU the seconds last until it has finished.
    """

    def call(module: Callable[[Tensor], object]) -> Callable[[], object]:
        def finished() -> None:
            module(x)
            _synchronise(x.device)

        return finished

    _synchronise(x.device)
    calls = [call(module) for module in modules]
    rows = timed_in_turns(calls, repeats=repeats, warmup=warmup, threads=threads)
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def timed_in_turns(
    calls: Sequence[Callable[[], object]],
    *,
    repeats: int,
    warmup: int = 3,
    seconds: float = 0,
    threads: int = 1,
) -> list[list[float]]:
    """Seconds of each call: a row for each turn, in which all are called once.

    Each turn has an order of its own, so that none always comes after the one that has emptied the
    processor's caches.

    Args:
        calls: what is timed.
        repeats: turns, at least.
        warmup: turns before, which are not kept.
        seconds: goes on until so many have passed.
        threads: that torch may use.
    """
    rows: list[list[float]] = []
    order, shuffle = list(range(len(calls))), random.Random(0).shuffle
    with torch_threads(threads):
        for call in list(calls) * warmup:
            call()
        end = time.perf_counter() + seconds
        while len(rows) < repeats or time.perf_counter() < end:
            shuffle(order)
            taken = {place: _seconds(calls[place]) for place in order}
            rows.append([taken[place] for place in range(len(calls))])
    return rows


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    """Wait for an accelerator, whose calls return before it is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
