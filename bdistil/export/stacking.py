"""Stages of an ensemble as one network: bodies side by side, heads of all stages in one product.

Students of the connections ``none`` and ``dense`` never read one another in their hidden states,
and what ``residual`` adds is linear, so that it goes into the heads. Bodies of one class become one
network (:mod:`~bdistil.export.merging`) with the standardisation folded in. Gates run as they are,
and so do bodies that do not merge, such as recurrent ones.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bdistil.core.connections import Connection, Residual
from bdistil.core.folding import connected, folded_head
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student, body_features
from bdistil.export.merged_layers import Affine, NotFoldableError, NotMergeableError, parts_of
from bdistil.export.merging import Merged, merge
from bdistil.export.side_by_side import SideBySide
from bdistil.names import Stacking


class StackedStages(nn.Module):
    """Raw features (B, ...) to F_k, float (B, L), or of several stages k at once, (B, stages, L).

    Args:
        students: first to last.
        affine: the standardisation.
        input_shape: of one example.
        stages: whose answers are wanted: one, or several.
        way: how layers after the first are stacked.

    Attributes:
        apart: for each student class whose bodies run one by one, why.
        stacks: whether the bodies of any class run as one.
        layered: whether there are layers after the first, so that the ways differ.
    """

    order: Tensor

    def __init__(
        self,
        students: ProgressiveEnsemble,
        affine: Affine,
        input_shape: Sequence[int],
        stages: int | Sequence[int],
        way: Stacking,
    ) -> None:
        super().__init__()
        wanted = [stages] if isinstance(stages, int) else list(stages)
        needed = list(students)[: max(wanted)]
        self.several = None if isinstance(stages, int) else (len(wanted), students.outputs)
        self.apart: dict[str, str] = {}
        bodies = self._standardised(needed, affine, input_shape, way)
        self.bodies, self.layered = bodies.network, bodies.layered
        self.stacks = len(self.apart) < len({student.config.kind for student in needed})
        self.connections: nn.ModuleList | None = None
        places, width = bodies.places, bodies.width
        linear = all(reads_linearly(student.connection) for student in needed)
        if not linear:
            self.connections = nn.ModuleList(student.connection for student in needed)
            self.register_buffer("order", torch.cat(places), persistent=False)
            self.sizes = [len(place) for place in places]
            width = sum(student.features for student in needed)
            places = list(torch.arange(width).split([student.features for student in needed]))
        heads = [stage_head(students, stage, onto_bodies=linear) for stage in wanted]
        self.head = joined_heads(heads, places, width)

    def forward(self, x: Tensor) -> Tensor:
        """F_k, or those of all the stages."""
        features = self.bodies(x)
        if self.connections is not None:
            own = features.index_select(1, self.order).split(self.sizes, dim=1)
            states = connected(own, self.connections)
            features = torch.cat([state.features for state in states], dim=1)
        logits: Tensor = self.head(features)
        return logits if self.several is None else logits.unflatten(1, self.several)

    def _standardised(
        self, students: Sequence[Student], affine: Affine, shape: Sequence[int], way: Stacking
    ) -> Merged:
        """The bodies of all classes as one network of raw features."""
        example = affine.shift.new_zeros(1, *shape)
        for before, folded in parts_of(affine):
            try:
                bodies = self._stacked(students, example, folded, way)
            except NotFoldableError:
                continue
            network = bodies.network if before is None else Standardised(bodies.network, before)
            return bodies._replace(network=network)
        raise AssertionError("nothing has to be folded in the end")

    def _stacked(
        self, students: Sequence[Student], example: Tensor, folded: Affine | None, way: Stacking
    ) -> Merged:
        """The bodies of all classes as one network, whose first layers do what is folded in."""
        places: dict[int, Tensor] = {}
        parts: list[Merged] = []
        for members in _groups(students, way):
            bodies = [students[member].body for member in members]
            try:
                part = merge(bodies, example, folded, way)
            except NotMergeableError as error:
                if folded is not None:
                    raise NotFoldableError(str(error)) from None
                self.apart[students[members[0]].config.kind] = str(error)
                part = _one_by_one(bodies, example)
            start = sum(each.width for each in parts)
            places |= {m: start + own for m, own in zip(members, part.places, strict=True)}
            parts.append(part)
        networks = [part.network for part in parts]
        return Merged(
            networks[0] if len(networks) == 1 else SideBySide(networks, example),
            [places[place] for place in range(len(students))],
            sum(part.width for part in parts),
            any(part.layered for part in parts),
        )


class AlignedBody(nn.Module):
    """A body whose layers have channels that are filled up to what the processor takes at once.

    Args:
        body: of a student.
        example: one standardised input (1, ...).

    Raises:
        NotMergeableError: if the body's layers cannot be filled up.
    """

    def __init__(self, body: nn.Module, example: Tensor) -> None:
        super().__init__()
        self.features = body_features(body)
        self.network = merge([body], example, None, "aligned").network

    def forward(self, x: Tensor) -> Tensor:
        """The body's features, (B, features)."""
        return self.network(x)[:, : self.features]  # type: ignore[no-any-return]


def aligned(student: Student, example: Tensor) -> Student:
    """The student with an :class:`AlignedBody`, or as it is if it cannot have one."""
    try:
        body = AlignedBody(student.body, example)
    except NotMergeableError:
        return student
    filled = copy.copy(student)  # the parts of a module are in a dictionary that copies share
    filled._modules = student._modules | {"body": body}
    return filled


class Standardised(nn.Module):
    """A network after its standardisation, or after the part of it that its layers do not do."""

    shift: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, affine: Affine) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", affine.shift)
        self.register_buffer("scale", affine.scale)
        self.scales = bool((affine.scale != 1).any())

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of raw features (B, ...)."""
        x = x - self.shift
        made: Tensor = self.network(x / self.scale if self.scales else x)
        return made


def _groups(students: Sequence[Student], way: Stacking) -> list[list[int]]:
    """Which students' bodies are to be one network."""
    groups: dict[object, list[int]] = {}
    for place, student in enumerate(students):
        key = place if way == "aligned" else student.config.kind
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _one_by_one(bodies: Sequence[nn.Module], example: Tensor) -> Merged:
    sizes = [body_features(body) for body in bodies]
    places = list(torch.arange(sum(sizes)).split(sizes))
    return Merged(SideBySide(bodies, example), places, sum(sizes), layered=False)


def reads_linearly(connection: Connection) -> bool:
    """Whether the hidden state is a linear map of the features of this and earlier bodies."""
    return type(connection).forward in (Connection.forward, Residual.forward)


@torch.no_grad()
def stage_head(
    students: ProgressiveEnsemble, stage: int, *, onto_bodies: bool
) -> tuple[list[Tensor], Tensor]:
    """Weights (L, d) of F_stage over each student's hidden state and the bias (L,).

    Args:
        students: first to last.
        stage: up to which they are needed.
        onto_bodies: over the features of the bodies instead, all connections being linear.
    """
    needed = list(students)[:stage]
    weight, bias = folded_head(students, stage)
    pieces = list(weight.split([student.features for student in needed], dim=1))
    for late in range(stage - 1, 0, -1) if onto_bodies else ():
        connection = needed[late].connection
        if isinstance(connection, Residual) and connection.projection is not None:
            pieces[late - 1] = pieces[late - 1] + pieces[late] @ connection.projection.weight
    return pieces, bias


@torch.no_grad()
def joined_heads(
    heads: Sequence[tuple[Sequence[Tensor], Tensor]], places: Sequence[Tensor], width: int
) -> nn.Linear:
    """Heads of several stages as one: the logits of one stage after those of another.

    Args:
        heads: of each stage.
        places: where what they read is, for each student.
        width: of all that can be read.
    """
    weights = []
    for pieces, bias in heads:
        weight = bias.new_zeros(len(bias), width)
        for place, piece in zip(places, pieces, strict=False):  # a stage reads only its students
            weight[:, place] = piece
        weights.append(weight)
    weight, bias = torch.cat(weights), torch.cat([bias for _, bias in heads])
    head = nn.Linear(width, len(bias), device="meta")
    head.weight, head.bias = nn.Parameter(weight), nn.Parameter(bias)
    return head
