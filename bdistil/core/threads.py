"""How many threads torch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

AT_START = torch.get_num_threads()  # the cores of this process, or what OMP_NUM_THREADS says


def one_thread() -> AbstractContextManager[None]:
    """Torch on one thread for the body: repeatable figures, and other cores stay free."""
    return torch_threads(1)


def all_threads() -> AbstractContextManager[None]:
    """Torch on as many threads as it began with, for work that nothing runs beside."""
    return torch_threads(AT_START)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch on so many threads for the body."""
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
