"""Places inside a teacher after which it could answer, found by hooks while it runs once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bdistil.core.cost import parameters


@dataclass(frozen=True)
class Place:
    """After a module of the teacher.

    Attributes:
        name: of the module, as ``named_modules`` has it.
        flops: of one example up to there.
        shape: of one example's output, without the batch.
        parameters: of all modules that have run by then.
    """

    name: str
    flops: int
    shape: tuple[int, ...]
    parameters: int


@torch.no_grad()
def places_in(teacher: nn.Module, input_shape: Sequence[int], wanted: int) -> list[Place]:
    """Up to `wanted` places, about equally far apart in FLOPs, none of them the teacher's end.

    Blocks are modules at the least depth at which there are enough; of several places of the same
    cost (a layer and its activation) the last counts. Modules that run more than once, or give
    anything else than one tensor with the batch in front, are no places.
    """
    found, total = completed(teacher, input_shape)
    depth = 1
    deepest = max((place.name.count(".") + 1 for place in found), default=1)
    while len(levels := levels_at(found, depth, total)) < wanted and depth < deepest:
        depth += 1
    chosen: dict[int, Place] = {}
    for step in range(1, wanted + 1):
        aim = total * step / (wanted + 1)
        free = [place for place in levels if place.flops not in chosen]
        if free:
            best = min(free, key=lambda place: abs(place.flops - aim))
            chosen[best.flops] = best
    return [chosen[cost] for cost in sorted(chosen)]


def levels_at(found: Sequence[Place], depth: int, total: int) -> list[Place]:
    """The last place of each cost, of modules no deeper than `depth`."""
    shallow = [place for place in found if place.name.count(".") < depth]
    return list({place.flops: place for place in shallow if 0 < place.flops < total}.values())


def completed(teacher: nn.Module, input_shape: Sequence[int]) -> tuple[list[Place], int]:
    """All places in the order in which their modules end, and the FLOPs of the whole teacher."""
    names = {module: name for name, module in teacher.named_modules() if name}
    found: list[Place] = []
    done: dict[str, int] = {}
    again: set[str] = set()
    counter = FlopCounterMode(display=False)

    def note(module: nn.Module, _: object, output: object) -> None:
        name = names[module]
        if name in done:
            again.add(name)
        done[name] = sum(each.numel() for each in module.parameters(recurse=False))
        if isinstance(output, Tensor) and output.dim() > 1 and len(output) == 1:
            shape = tuple(output.shape[1:])
            size = sum(done.values())
            found.append(Place(name, int(counter.get_total_flops()), shape, size))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        with counter:
            teacher.eval()(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    once = [place for place in found if place.name not in again]
    return once, int(counter.get_total_flops())


class Reached(Exception):  # noqa: N818
    """The teacher has run as far as it was asked to."""


def run_up_to(teacher: nn.Module, names: Sequence[str], x: Tensor) -> list[Tensor]:
    """Outputs of these modules, in the order in which they end; what comes after does not run."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, _: object, output: Tensor) -> None:
        outputs.append(output)
        if len(outputs) == len(names):
            raise Reached

    hooks = [teacher.get_submodule(name).register_forward_hook(keep) for name in names]
    try:
        teacher(x)
    except Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def whole(teacher: nn.Module, input_shape: Sequence[int]) -> Place:
    """The teacher's end."""
    _, total = completed(teacher, input_shape)
    return Place("", total, (), parameters(teacher))
