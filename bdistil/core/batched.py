"""Students of one architecture with K sets of weights in one pass, written out.

torch's vmap does this for whatever it can batch, but on students of a few thousand weights most of
the pass is then its own calls. A body that is a chain of linear layers, convolutions and layers
without weights, a connection that is linear, and a head are easily written out. Values are
(B, K, ...), the member behind the example, or (B, ...) before the first layer with weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from operator import methodcaller
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bdistil.core.connections import Connection, Hidden, Residual
from bdistil.core.own_head import WithOwnHead
from bdistil.core.student import Student
from bdistil.errors import FOREIGN

Weights = Mapping[str, Tensor]
Step = Callable[[Weights, Tensor], Tensor]

ACTIVATIONS = (
    *(nn.GELU, nn.ReLU, nn.SiLU, nn.Tanh),
    *(nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Hardswish),
)
POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d)
ACTIVATION_FUNCTIONS = (F.gelu, F.relu, F.silu, torch.relu, torch.tanh, torch.sigmoid)
RESHAPING = ("transpose", "permute", "flatten", "unsqueeze")  # methods that move values about
FOR_MEMBERS = "for_members"
"""A method of a layer of one's own, from its weights and buffers (K, ...) by name and inputs
(B, K, ...) to outputs (B, K, ...), for students of it to train together in a written-out pass."""
CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
}


class NotBatchableError(Exception):
    """The student is not simple enough; vmap may batch it."""


class BatchedStudent:
    """Logits of all members and of their second heads.

    Args:
        architecture: of the members, or of their training with a second head.
        names: of all weights; one that is tied to another has none of its own.

    Raises:
        NotBatchableError: if it is more than a chain, a linear connection and a head; also when it
            is called, if what a layer gets is not shaped as was thought.
    """

    def __init__(self, architecture: Student | WithOwnHead, names: Collection[str]) -> None:
        has_second = isinstance(architecture, WithOwnHead)
        student = architecture.student if isinstance(architecture, WithOwnHead) else architecture
        linear = type(student.connection).forward in (Connection.forward, Residual.forward)
        if type(student) is not Student or not linear:
            raise NotBatchableError
        self.student = student
        self.prefix = "student." if has_second else ""
        self.second = "own_head" if has_second else None
        self.body = list(steps_of(student.body, f"{self.prefix}body.", names))

    def __call__(
        self, weights: Weights, x: Tensor, earlier: Sequence[Hidden]
    ) -> tuple[Tensor, Tensor | None]:
        """Logits, float (K, B, L) each, for inputs (B, ...) and the weights (K, ...) by name."""
        for step in self.body:
            x = step(weights, x)
        own = x.transpose(0, 1)  # products of each member's own take the members first
        connection = self.student.connection
        if isinstance(connection, Residual) and connection.projection is not None:
            matrix = weights[f"{self.prefix}connection.projection.weight"]
            own = own + earlier[-1].features @ matrix.mT
        second = None if self.second is None else product(weights, self.second, own)
        if self.student.sources:
            shared = [earlier[source].features for source in self.student.sources]
            parts = [each.expand(len(own), *each.shape) for each in shared]
            own = torch.cat([*parts, own], dim=-1)
        return product(weights, f"{self.prefix}head", own), second


def batched_or_none(
    architecture: Student | WithOwnHead, names: Collection[str]
) -> BatchedStudent | None:
    """All members in one pass, if their architecture allows it."""
    try:
        return BatchedStudent(architecture, names)
    except NotBatchableError:
        return None


def steps_of(body: nn.Module, prefix: str, names: Collection[str]) -> Iterator[Step]:
    """What a body does, one operation after another; its weights have names of this prefix.

    Raises:
        NotBatchableError: if it is no such chain.
    """
    try:
        graph = _Tracer().trace(body)
    except FOREIGN:
        raise NotBatchableError from None
    before: fx.Node | None = None
    shared = True
    for node in graph.nodes:
        if before is not None and node.all_input_nodes != [before]:
            raise NotBatchableError
        before = node
        if node.op == "call_module":
            layer, name = body.get_submodule(str(node.target)), f"{prefix}{node.target}"
            own = {f"{name}.{each}" for each, _ in layer.named_parameters()}
            if not own <= set(names) or layer._forward_hooks or layer._forward_pre_hooks:
                raise NotBatchableError  # tied, or changed when it runs
            yield step_of(layer, name, shared)
            shared = shared and not own
        elif node.op == "call_method" and shared and node.target in RESHAPING:
            yield partial(called, methodcaller(str(node.target), *node.args[1:], **node.kwargs))
        elif node.op == "call_function" and node.target in ACTIVATION_FUNCTIONS:
            yield of_one_argument(node)
        elif node.op not in ("placeholder", "output"):
            raise NotBatchableError
    if shared:
        raise NotBatchableError


def of_one_argument(node: fx.Node) -> Step:
    """A function of the value alone.

    Raises:
        NotBatchableError: if it takes more.
    """
    if len(node.args) > 1 or not callable(node.target):
        raise NotBatchableError
    return partial(called, partial(node.target, **node.kwargs))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return hasattr(m, FOR_MEMBERS) or super().is_leaf_module(m, module_qualified_name)


def step_of(layer: nn.Module, name: str, shared: bool) -> Step:
    """What a layer does for all members.

    Raises:
        NotBatchableError: if that is not known.
    """
    kind = type(layer)
    if hasattr(layer, FOR_MEMBERS) and not shared:
        return partial(of_its_own, getattr(layer, FOR_MEMBERS), f"{name}.")
    if kind is nn.Linear:
        return partial(shared_product if shared else own_product, name)
    if kind in CONVOLUTIONS and layer.padding_mode == "zeros":
        if shared and layer.groups != 1:
            raise NotBatchableError  # whose groups would mix the members
        return partial(convolved, layer, name, shared)
    if kind in (*ACTIVATIONS, nn.Identity) or (shared and kind in (*POOLS, nn.Flatten)):
        return partial(called, layer)
    if kind in POOLS:
        return lambda _, x: layer(x.flatten(1, 2)).unflatten(1, x.shape[1:3])
    if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
        return lambda _, x: x.flatten(2)
    raise NotBatchableError


def of_its_own(function: Callable[..., Tensor], prefix: str, weights: Weights, x: Tensor) -> Tensor:
    """What a layer of another's says itself that it does for all members."""
    own = {k.removeprefix(prefix): each for k, each in weights.items() if k.startswith(prefix)}
    return function(own, x)


def called(function: Callable[[Tensor], Tensor], weights: Weights, x: Tensor) -> Tensor:
    """What has no weights, and works on all members as on one."""
    return function(x)


def shared_product(name: str, weights: Weights, x: Tensor) -> Tensor:
    """A linear layer of each member on the same inputs (B, d), as one product."""
    if x.dim() != 2:
        raise NotBatchableError
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    made = F.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())
    return made.view(len(x), *weight.shape[:2])


def own_product(name: str, weights: Weights, x: Tensor) -> Tensor:
    """A linear layer of each member on its own inputs (B, K, d)."""
    if x.dim() != 3:
        raise NotBatchableError
    return product(weights, name, x.transpose(0, 1)).transpose(0, 1)


def product(weights: Weights, name: str, x: Tensor) -> Tensor:
    """A linear layer of each member on its own inputs (K, B, d)."""
    matrix, bias = weights[f"{name}.weight"].mT, weights.get(f"{name}.bias")
    return torch.bmm(x, matrix) if bias is None else torch.baddbmm(bias[:, None], x, matrix)


def convolved(layer: Any, name: str, shared: bool, weights: Weights, x: Tensor) -> Tensor:
    """A convolution of each member, on the same inputs or in groups on its own."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    made: Tensor = CONVOLUTIONS[type(layer)](
        x if shared else x.flatten(1, 2),
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups * (1 if shared else len(weight)),
    )
    return made.view(len(x), *weight.shape[:2], *made.shape[2:])
