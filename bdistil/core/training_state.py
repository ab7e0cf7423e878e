"""Training after a whole epoch: all that the rest of it hangs on, so that it can go on elsewhere.

Numbers and tensors alone; who keeps them, how often and where is not the method's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
GPU_RANDOM = "random.cuda"


class StateError(ValueError):
    """A state is not one of these candidates; nothing of it was taken in."""


@dataclass(frozen=True)
class TrainingState:
    """Candidates that have trained for some epochs and have more before them.

    Attributes:
        epochs: trained.
        seconds: spent on that.
        tensors: weights, momenta and states of random generators by their names, on the CPU;
            copies, which training on does not change.
        values: everything else, as JSON knows it.
    """

    epochs: int
    seconds: float
    tensors: Tensors
    values: Mapping[str, Any]


TakeState = Callable[[], TrainingState]
Keep = Callable[[TakeState], object]
"""Told after each epoch but the last; takes the state if it is to be kept."""


def keep_nothing(take: TakeState) -> None:
    """What a :data:`Keep` is that keeps nothing."""


@contextmanager
def only_its_own() -> Iterator[None]:
    """For a body that takes a state in, make what is missing in it, or strange, one error.

    Raises:
        StateError: instead of whatever the body stumbles over.
    """
    try:
        yield
    except StateError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"{type(error).__name__}: {error}") from None


def on_cpu(tensors: Tensors) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }


def check_alike(given: Tensors, wanted: Tensors) -> None:
    """Refuse tensors that do not fit in the place of others.

    That of a GPU's generator may be missing or too much: training may go on on another device.

    Raises:
        StateError: naming the first that is missing, too much, or of another shape or dtype.
    """
    for name in sorted({*given, *wanted} - {GPU_RANDOM}):
        if name not in given or name not in wanted:
            raise StateError(f"{name} is {'missing' if name in wanted else 'not known here'}")
        there, here = given[name], wanted[name]
        if (there.shape, there.dtype) != (here.shape, here.dtype):
            raise StateError(
                f"{name} is {there.dtype} {[*there.shape]}, not {here.dtype} {[*here.shape]}"
            )


def random_states(shuffle: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """States of the generators that training draws from: the order's, and torch's for dropout."""
    states = {"random.shuffle": shuffle.get_state(), "random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states[GPU_RANDOM] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: Tensors, shuffle: torch.Generator, device: torch.device) -> None:
    """Bring the generators to the states of :func:`random_states`.

    Raises:
        StateError: if one is no state of a generator.
    """
    try:
        shuffle.set_state(states["random.shuffle"])
        torch.set_rng_state(states["random.cpu"])
        if GPU_RANDOM in states and device.type == "cuda":
            torch.cuda.set_rng_state(states[GPU_RANDOM], device)
    except (RuntimeError, TypeError) as error:
        raise StateError(f"the state of a random generator is none: {error}") from None
