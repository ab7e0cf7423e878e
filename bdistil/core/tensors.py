"""Numpy arrays as tensors."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def as_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor that shares the array's memory, which may be read-only (object store)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")  # nothing here writes to it
        return torch.from_numpy(array)
