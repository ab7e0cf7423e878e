"""The contract of a teacher that is trained here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bdistil.core.cost import flops
from bdistil.names import Domain
from bdistil.testing.network_checks import (
    Shape,
    expect,
    expect_gradients,
    expect_numbers,
    inputs_of,
)
from bdistil.zoo import build_teacher, teacher_class

OUTPUTS = 3
TEACHER_SHAPES: dict[Domain, Sequence[Shape]] = {
    "tabular": [(16,), (1,)],
    "image": [(1, 8, 8), (3, 33, 50), (1, 1, 1)],
    "sequence": [(29, 12), (7, 1), (1, 4)],
}
"""Shapes of one example that a teacher of each domain has to take."""

Check = Callable[[str, Domain, Shape], None]


def check_teacher(
    name: str,
    shapes: Mapping[Domain, Sequence[Shape]] | None = None,
    larger: Mapping[str, Any] | None = None,
) -> None:
    """Hold a teacher to the whole contract.

    Args:
        name: of a registered teacher.
        shapes: of one example, by domain; None for ``TEACHER_SHAPES`` in the teacher's domains.
        larger: options that make it larger than by default; None does not look at its size.

    Raises:
        AssertionError: saying what is broken.
        SpecError: if there is no such teacher, or it refuses a shape or an option.
    """
    if shapes is None:
        shapes = {domain: TEACHER_SHAPES[domain] for domain in teacher_class(name).domains}
    for domain, of_domain in shapes.items():
        for shape in of_domain:
            for check in TEACHER_CHECKS:
                check(name, domain, shape)
            if larger is not None:
                check_options(name, domain, shape, larger)


def check_logits(name: str, domain: Domain, shape: Shape) -> None:
    """Logits are finite, float32 and one an output."""
    logits = _teacher(name, domain, shape)(inputs_of(shape))
    expect_numbers(f"{name}: logits", logits, (6, OUTPUTS))


def check_gradients(name: str, domain: Domain, shape: Shape) -> None:
    """The gradient reaches every parameter."""
    teacher = _teacher(name, domain, shape)
    cross_entropy(teacher(inputs_of(shape)), torch.arange(6) % OUTPUTS).backward()
    expect_gradients(name, teacher, shape)


def check_seeds(name: str, domain: Domain, shape: Shape) -> None:
    """Equal seeds give equal teachers, different ones give different teachers."""
    x = inputs_of(shape)
    first, same, other = (_teacher(name, domain, shape, seed=seed).eval()(x) for seed in (0, 0, 1))
    expect(torch.equal(first, same), f"{name}: two teachers of one seed differ.")
    expect(not torch.equal(first, other), f"{name}: teachers of two seeds are equal.")


def check_saving(name: str, domain: Domain, shape: Shape) -> None:
    """Weights survive safetensors, with the statistics of batch norm."""
    teacher, other = (_teacher(name, domain, shape, seed=seed) for seed in (0, 1))
    x = inputs_of(shape)
    teacher(x)  # moves the statistics
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(teacher.state_dict())))
    equal = torch.equal(teacher.eval()(x), other.eval()(x))
    expect(equal, f"{name}: the teacher answers differently after saving and loading its weights.")


TEACHER_CHECKS: tuple[Check, ...] = (check_logits, check_gradients, check_seeds, check_saving)
"""All of the contract but the size: functions of a name, a domain and a shape."""


def check_options(name: str, domain: Domain, shape: Shape, larger: Mapping[str, Any]) -> None:
    """Options change the size: with `larger` the teacher takes more FLOPs than by default."""
    counts = [flops(_teacher(name, domain, shape, o), shape) for o in ({}, larger)]
    grows = 0 < counts[0] < counts[1]
    expect(grows, f"{name}: {counts[0]} FLOPs by default and {counts[1]} with {dict(larger)}.")


def _teacher(
    name: str, domain: Domain, shape: Shape, options: Mapping[str, Any] | None = None, seed: int = 0
) -> nn.Module:
    torch.manual_seed(seed)
    return build_teacher(name, domain, shape, OUTPUTS, options or {})
