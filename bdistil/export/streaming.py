"""An ensemble of students for sequences, step by step: what it carries, and its answers so far.

A body with ``carried`` and ``carry``, as recurrent ones have, goes on from its state. All others
look at the whole sequence whenever an answer is wanted: they share one memory of what was heard,
and steps that are not known yet are the training mean, 0. After the last step both answer as they
do for the whole sequence.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bdistil.core.folding import connected
from bdistil.export.ensemble import Ensemble

HEARD = "heard"


class StreamGraph(nn.Module):
    """More steps (B, time, inputs), raw, and what is carried in; F_1 to F_k and the next state out.

    Args:
        ensemble: of students for sequences (time, inputs), with a standardisation that is the same
            at each step.
        stages: k.

    Attributes:
        shapes: of what is carried for one sequence, by name; zeros at the start.
        anew: classes of the students that look at all that was heard, each time.
        logits: names of the first outputs, the rest being what is carried.
        one_by_one: whether a graph of it takes one step at a time, as some body's loop over steps
            would be unrolled.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, ensemble: Ensemble, stages: int) -> None:
        super().__init__()
        self.register_buffer("shift", ensemble.shift)
        self.register_buffer("scale", ensemble.scale)
        prefixes = [ensemble.prefix(stage) for stage in range(1, stages + 1)]
        self.heads = nn.ModuleList(prefix.head for prefix in prefixes)
        self.bodies, self.connections = prefixes[-1].bodies, prefixes[-1].connections
        kinds = [student.config.kind for student in ensemble]
        self.anew = {k for k, b in zip(kinds, self.bodies, strict=False) if shape_of(b) is None}
        time, inputs = ensemble.config.input_shape
        self.shapes: dict[str, tuple[int, ...]] = {}
        if self.anew:
            self.shapes[HEARD] = (time, inputs + 1)  # and whether the step is known
        self.names = [f"state_{stage}" for stage in range(1, stages + 1)]
        for name, body in zip(self.names, self.bodies, strict=True):
            if (shape := shape_of(body)) is not None:
                self.shapes[name] = shape
        self.one_by_one = any(getattr(body, "unrolled", False) for body in self.bodies)
        self.logits = [f"logits_{stage}" for stage in range(1, stages + 1)]

    def forward(self, x: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        """F_1, ..., F_k, float (B, L) each, and what is carried on."""
        x, state = (x - self.shift) / self.scale, dict(zip(self.shapes, carried, strict=True))
        if HEARD in state:
            state[HEARD] = remembered(x, state[HEARD])
        features: list[Tensor] = []
        for name, body in zip(self.names, self.bodies, strict=True):
            if name in state:
                carry: Any = body.carry
                own, state[name] = carry(x, state[name])
            else:
                own = body(state[HEARD][..., :-1])
            features.append(own)
        hidden = [each.features for each in connected(features, self.connections)]
        logits = [head(torch.cat(hidden[:k], 1)) for k, head in enumerate(self.heads, start=1)]
        return *logits, *state.values()

    def any_size(self) -> tuple[Any, ...]:
        """The exporters' word for inputs that may be of any batch, and steps of any number."""
        batch, any_ = {0: torch.export.Dim.DYNAMIC}, torch.export.Dim.DYNAMIC
        return (batch if self.one_by_one else {0: any_, 1: any_}), tuple(batch for _ in self.shapes)

    def start(self, count: int) -> tuple[Tensor, ...]:
        """What is carried by so many sequences before their first step."""
        return tuple(self.shift.new_zeros(count, *shape) for shape in self.shapes.values())


def shape_of(body: Any) -> tuple[int, ...] | None:
    """Of what a body carries; None if it must look at the whole sequence."""
    return getattr(body, "carried", None)


def can_stream(ensemble: Ensemble) -> bool:
    """Whether it takes sequences, and each of their steps is standardised alike."""
    same = all(rule.ndim < 2 or rule.shape[0] == 1 for rule in (ensemble.shift, ensemble.scale))
    return len(ensemble.config.input_shape) == 2 and same


def remembered(x: Tensor, heard: Tensor) -> Tensor:
    """Standardised steps (B, time, inputs) behind those that are known, (B, all, inputs + 1)."""
    steps = torch.cat([x, torch.ones_like(x[..., :1])], dim=2)
    known = heard[..., -1].sum(dim=1, keepdim=True).long()
    places = known + torch.arange(x.shape[1], device=x.device)
    return heard.scatter(1, places[..., None].expand_as(steps), steps)
