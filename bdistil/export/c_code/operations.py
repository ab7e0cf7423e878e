"""The registry of operations that can be written in C, and what an operation is written with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch.fx import Node

Emitter = Callable[["Writer", Node], None]

EMITTERS: dict[str, Emitter] = {}
"""By the operation's name in torch, such as ``aten.linear.default``."""
VIEWS: set[str] = set()
"""Operations whose result is their first argument, seen in another shape."""


class Writer(Protocol):
    """What emitters write a stage's function with."""

    def write(self, *lines: str) -> None:
        """Add statements."""

    def at(self, value: Any) -> str:
        """The C expression of a tensor (a pointer), of a number, or ``0`` for None."""

    def new(self, node: Node) -> str:
        """Memory for an operation's result."""

    def new_parts(self, node: Node, count: int) -> list[str]:
        """Memory for the first so many of an operation's results."""

    def temporary(self, name: str, floats: int) -> str:
        """Memory that is free again after the operation."""

    def alias(self, node: Node, pointer: str) -> None:
        """Say that the result lies where something else does."""

    def call(self, kernel: str, *arguments: object) -> None:
        """A call of one of the functions in ``kernels/``, which then stands in the header."""

    def refuse(self, what: str) -> None:
        """Raise SpecError: what the student does cannot be written."""


def emits(*names: str) -> Callable[[Emitter], Emitter]:
    """Make a function known as the one that writes these operations."""

    def register(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(names, emitter))
        return emitter

    return register


def shape_of(value: Any) -> tuple[int, ...]:
    """Of the tensor that a node stands for; () for a number."""
    return tuple(map(int, value.meta["val"].shape)) if isinstance(value, Node) else ()


def argument(node: Node, position: int, default: Any = None) -> Any:
    """A positional argument, which torch leaves out where it has its default."""
    return node.args[position] if len(node.args) > position else default


def kept_whole() -> list[torch._ops.OpOverload]:
    """Operations that are written as they are and need not be taken apart."""
    found = []
    for name in EMITTERS:
        space, packet, overload = name.split(".")
        found.append(getattr(getattr(getattr(torch.ops, space), packet), overload))
    return found
