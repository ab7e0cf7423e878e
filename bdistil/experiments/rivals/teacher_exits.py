"""Exits attached to the teacher itself (Shallow-Deep Networks, arXiv 1810.07052).

The teacher stays as it is; a linear head after some of its blocks learns to answer, all heads
together. With reuse each head also reads the answer of the one before (Zero Time Waste, arXiv
2106.05409, its cascade connections). The last answer is the teacher's own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.core.cost import parameters
from bdistil.errors import SearchError
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.joint_training import Exits, fit_jointly
from bdistil.experiments.rivals.teacher_blocks import Place, places_in, run_up_to, whole

CELLS = 4
"""A side, to which feature maps are averaged."""

NO_NETWORK = (
    "teacher-exits attaches exits to the blocks of a torch network, and this teacher is none that "
    "is at hand here; leave the method out."
)
NO_BLOCKS = (
    "teacher-exits found no block of the teacher that gives one tensor before its end; leave the "
    "method out."
)


def teacher_exits(contest: Contest) -> list[Entry]:
    """Answers after some of the teacher's blocks and its own.

    Raises:
        SearchError: if the teacher is no torch network, or has no blocks.
    """
    return exits_of_teacher(contest, reuse=False)


def teacher_exits_reuse(contest: Contest) -> list[Entry]:
    """The same, where each exit reads the answer of the exit before it too.

    Raises:
        SearchError: if the teacher is no torch network, or has no blocks.
    """
    return exits_of_teacher(contest, reuse=True)


class TeacherExits(Exits):
    """Linear heads on averaged features of the teacher, which is at rest and not part of it."""

    def __init__(
        self, teacher: nn.Module, places: Sequence[Place], outputs: int, reuse: bool
    ) -> None:
        super().__init__()
        self._teacher = (teacher,)
        self.names = [place.name for place in places]
        self.reuse = reuse
        sizes = [averaged(torch.zeros(1, *place.shape)).shape[1] for place in places]
        earlier = [0, *[outputs if reuse else 0] * (len(places) - 1)]
        self.read = [size + more for size, more in zip(sizes, earlier, strict=True)]
        self.heads = nn.ModuleList(nn.Linear(size, outputs) for size in self.read)

    def forward(self, x: Tensor, exits: int | None = None) -> list[Tensor]:
        """Logits (B, L) of the first `exits` exits, or of all."""
        with torch.no_grad():
            features = run_up_to(self._teacher[0], self.names[:exits], x)
        answers: list[Tensor] = []
        for head, output in zip(self.heads, features, strict=False):
            read = averaged(output)
            if self.reuse and answers:  # an exit is not trained for the sake of the next
                read = torch.cat([read, answers[-1].detach().softmax(dim=1)], dim=1)
            answers.append(head(read))
        return answers


class UpTo(nn.Module):
    """One exit as a network: the teacher runs as far as its block, and no further."""

    def __init__(self, network: TeacherExits, stage: int) -> None:
        super().__init__()
        self.network, self.stage = network, stage

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L)."""
        network = self.network
        if network.reuse:
            return network(x, self.stage)[-1]  # type: ignore[no-any-return]
        *_, output = run_up_to(network._teacher[0], [network.names[self.stage - 1]], x)
        logits: Tensor = network.heads[self.stage - 1](averaged(output))
        return logits


def averaged(output: Tensor) -> Tensor:
    """Features (B, D): of images in 4x4 cells; of (B, C, T) or (B, T, C) the means along both."""
    if output.dim() == 4:
        height, width = (min(CELLS, side) for side in output.shape[2:])
        return F.adaptive_avg_pool2d(output, (height, width)).flatten(1)
    if output.dim() == 3:
        return torch.cat([output.mean(dim=1), output.mean(dim=2)], dim=1)
    return output.flatten(1)


def exits_of_teacher(contest: Contest, reuse: bool) -> list[Entry]:
    """Entries at costs of their own, whatever the budgets."""
    teacher = contest.teacher
    if teacher is None:
        raise SearchError(NO_NETWORK)
    places = places_in(teacher, contest.shape, contest.stages - 1)
    if not places:
        raise SearchError(NO_BLOCKS)
    found = fit_jointly(contest, lambda: TeacherExits(teacher, places, contest.outputs, reuse))
    network, end = found.network, whole(teacher, contest.shape)
    heads = [2 * size * contest.outputs for size in network.read]
    paid = list(itertools.accumulate(heads))
    own = paid if reuse else heads
    trained = float((end.flops + paid[-1]) * found.epochs)
    sizes = [parameters(head) for head in network.heads]
    stored = list(itertools.accumulate(sizes)) if reuse else sizes
    exits = [
        Entry(
            flops=place.flops + own[at],
            streamed=place.flops + paid[at],
            validation=found.validation[at],
            test=found.test[at],
            parameters=place.parameters + stored[at],
            trained=trained,
            runs=UpTo(network, at + 1).eval(),
        )
        for at, place in enumerate(places)
    ]
    last = Entry(
        flops=end.flops,
        streamed=end.flops + paid[-1],
        validation=contest.validation.teacher_logits,
        test=contest.test.teacher_logits,
        parameters=end.parameters,
        trained=trained,
        runs=teacher,
    )
    return [*exits, last]
