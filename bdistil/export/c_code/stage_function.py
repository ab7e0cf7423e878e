"""One stage as a function in C: the operations of its graph, one after another."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.fx import Graph, Node

from bdistil.core.student import StudentConfig
from bdistil.errors import SpecError
from bdistil.export.c_code.literals import float_literal, identifier
from bdistil.export.c_code.operations import EMITTERS, VIEWS
from bdistil.export.c_code.scratch import Scratch


class StageFunction:
    """Writes the statements of one stage; keeps the protocol ``Writer`` of the emitters.

    Args:
        graph: of the stage at a batch of one, its operations as emitters know them.
        pointers: the C expression of each input, by the placeholder's name.
        student: of the stage, for refusals.
        stage: counted from 1.

    Attributes:
        lines: the statements.
        results: the C expressions of the graph's outputs.
        kernels: the functions of ``kernels/`` that are called.
        scratch: the memory that the statements need.

    Raises:
        SpecError: if an operation has no counterpart in C.
    """

    def __init__(
        self, graph: Graph, pointers: Mapping[str, str], student: StudentConfig, stage: int
    ) -> None:
        self.lines: list[str] = []
        self.results: list[str] = []
        self.kernels: set[str] = set()
        self.scratch = Scratch()
        self._student, self._stage = student, stage
        self._pointers: dict[Node, str] = {}
        self._parts: dict[Node, list[str]] = {}
        self._places: dict[Node, list[int]] = {}
        self._temporaries: list[int] = []
        last_uses = _last_uses(graph)
        for node in graph.nodes:
            if node.op == "placeholder":
                self._pointers[node] = pointers[node.name]
            elif node.op == "output":
                self.results = [self.at(value) for value in node.args[0]]
            elif node.meta.get("val") is not None:  # without a result it is an assertion
                self._emit(node)
            for ended in last_uses.get(node, ()):
                self._free(self._places.pop(ended, []))

    def _emit(self, node: Node) -> None:
        name = str(node.target)
        if node.target is operator.getitem:
            self._take_part(node)
        elif name not in EMITTERS:
            self.refuse(name)
        else:
            _check_types(self, node)
            EMITTERS[name](self, node)
        self._free(self._temporaries)
        self._temporaries = []

    def _take_part(self, node: Node) -> None:
        whole, number = node.args
        assert isinstance(whole, Node)
        assert isinstance(number, int)
        if number >= len(self._parts[whole]):
            self.refuse(f"result {number} of {whole.target}")
        self._pointers[node] = self._parts[whole][number]

    def write(self, *lines: str) -> None:
        """Add statements."""
        self.lines += lines

    def at(self, value: Any) -> str:
        """The C expression of a tensor (a pointer), of a number, or ``0`` for None."""
        if isinstance(value, Node):
            return self._pointers[value]
        return "0" if value is None else f"({float_literal(value)})"

    def new(self, node: Node) -> str:
        """Memory for an operation's result."""
        self._pointers[node] = self._declare(node, f"{node.name}_out", node.meta["val"])
        return self._pointers[node]

    def new_parts(self, node: Node, count: int) -> list[str]:
        """Memory for the first so many of an operation's results."""
        self._parts[node] = [
            self._declare(node, f"{node.name}_out_{number}", tensor)
            for number, tensor in enumerate(node.meta["val"][:count])
        ]
        return self._parts[node]

    def temporary(self, name: str, floats: int) -> str:
        """Memory that is free again after the operation."""
        offset = self.scratch.take(floats)
        self._temporaries.append(offset)
        self.write(f"float *const {name} = scratch + {offset};")
        return name

    def alias(self, node: Node, pointer: str) -> None:
        """Say that the result lies where something else does."""
        self._pointers[node] = pointer

    def call(self, kernel: str, *arguments: object) -> None:
        """A call of one of the functions in ``kernels/``, which then stands in the header."""
        self.kernels.add(kernel)
        self.write(f"ensemble_{kernel}({', '.join(map(str, arguments))});")

    def refuse(self, what: str) -> NoReturn:
        """Say which operation of which class cannot be written.

        Raises:
            SpecError: always.
        """
        raise SpecError(
            f"stage {self._stage}: a student of class {self._student.kind!r} (connection "
            f"{self._student.connection!r}) uses {what}, which has no counterpart in C; export "
            "the ensemble with --onnx or --executorch instead, or write the class otherwise."
        )

    def _declare(self, node: Node, name: str, tensor: Tensor) -> str:
        offset = self.scratch.take(tensor.numel())
        self._places.setdefault(node, []).append(offset)
        sizes = " x ".join(map(str, tensor.shape))
        self.write(f"float *const {identifier(name)} = scratch + {offset}; /* {sizes} */")
        return identifier(name)

    def _free(self, places: list[int]) -> None:
        for place in places:
            self.scratch.free(place)


def _check_types(function: StageFunction, node: Node) -> None:
    value = node.meta["val"]
    for tensor in value if isinstance(value, tuple | list) else [value]:
        if tensor is not None and tensor.dtype is not torch.float32:
            function.refuse(f"{node.target} on {str(tensor.dtype).removeprefix('torch.')}")


def _last_uses(graph: Graph) -> dict[Node, list[Node]]:
    """By node: whose memory nobody reads after it."""
    last: dict[Node, Node] = {}
    for node in graph.nodes:
        if node.op == "call_function":
            last[_owner(node)] = node
        for source in node.all_input_nodes:
            last[_owner(source)] = node
    ended: dict[Node, list[Node]] = {}
    for owner, user in last.items():
        ended.setdefault(user, []).append(owner)
    return ended


def _owner(node: Node) -> Node:
    """The node whose memory a result lies in."""
    while node.target is operator.getitem or str(node.target) in VIEWS:
        (node, *_) = node.all_input_nodes
    return node
