"""Where data lie: on the device that trains, or in host memory and copied batch by batch.

Data that take at most half of a worker's share of its GPU's memory move there at once; the other
half is for hidden states, weights and activations. On a CPU everything lies where it trains.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

from bdistil.errors import BdistilWarning

DATA_SHARE = 0.5  # of a worker's share of the GPU's memory
PINNED_BYTES = 64 * 2**20  # larger tensors move once, and torch never gives pinned memory back

Device = torch.device | str


def training_device(gpus: float) -> torch.device:
    """The device for a worker that was given so many GPUs, or such a share of one.

    A share also bounds the memory that this process may take, so that a worker that needs more
    fails by itself instead of failing its neighbours.
    """
    if gpus == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        warn_of_no_gpu(gpus, "here")
        return torch.device("cpu")
    torch.cuda.set_per_process_memory_fraction(min(1.0, gpus))
    return torch.device("cuda")


def warn_of_no_gpu(gpus: float, where: str) -> None:
    """Tell that a CPU trains where GPUs were asked for; by Python's default, once."""
    warnings.warn(
        f"workers.gpus is {gpus:g}, but torch sees no GPU {where}, so the CPU trains; install a "
        f"CUDA build of torch on every node.",
        BdistilWarning,
        stacklevel=2,
    )


def home(size: int, device: Device, gpus: float = 1) -> torch.device:
    """Where data of `size` bytes should lie for a worker that trains on `device`.

    Args:
        size: of all that a round needs of its examples.
        device: where students are trained.
        gpus: the worker's share of a GPU; more than one GPU counts as one.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return device
    memory = torch.cuda.get_device_properties(device).total_memory
    return device if size <= DATA_SHARE * min(1, gpus) * memory else torch.device("cpu")


def size_of(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def copied(tensor: Tensor, device: Device) -> Tensor:
    """The tensor on a device; a batch goes to a GPU through pinned memory, without waiting."""
    to_gpu = tensor.is_cpu and torch.device(device).type == "cuda"
    if to_gpu and tensor.nbytes <= PINNED_BYTES:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
