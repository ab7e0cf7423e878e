"""One network of the search's students, trained as a whole: exit t reads the students 1 to t.

What differs from an ensemble is the training alone: all exits at once, instead of student after
student with those before it at rest.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bdistil.core.connections import Hidden
from bdistil.core.cost import parameters
from bdistil.core.folding import FoldedPrefix
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student, StudentConfig
from bdistil.experiments.clock import prefixes
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.joint_training import Exits, fit_jointly
from bdistil.export.checkpoint import build_student
from bdistil.export.evaluation import streamed_flops


def nested(contest: Contest) -> list[Entry]:
    """A network of the ensemble's students with an exit after each, all trained together.

    It sees the training split as often as each student of an ensemble does, so that its training
    costs what all of theirs does.
    """
    return nested_exits(contest, passes=1)


def nested_long(contest: Contest) -> list[Entry]:
    """The same with as many passes as all students together, each at the whole network's cost."""
    return nested_exits(contest, passes=contest.stages)


class Nested(Exits):
    """Students with dense heads: the head of exit t reads the features of students 1 to t."""

    def __init__(self, students: Sequence[Student]) -> None:
        super().__init__()
        self.students = nn.ModuleList(students)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (B, L) of each exit."""
        states: list[Hidden] = []
        answers = []
        for student in self.students:
            logits, state = student(x, states)
            answers.append(logits)
            states.append(state)
        return answers


def nested_exits(contest: Contest, passes: int) -> list[Entry]:
    """Every exit of the network that is best on validation."""
    found = fit_jointly(contest, lambda: nested_network(contest), passes)
    ensemble = as_ensemble(found.network, contest.outputs)
    costs = itertools.accumulate(map(contest.cost, contest.widths()))
    streamed = streamed_flops(ensemble, contest.shape)
    return [
        Entry(
            flops=cost,
            streamed=streamed[stage - 1],
            validation=found.validation[stage - 1],
            test=found.test[stage - 1],
            parameters=parameters(FoldedPrefix(ensemble, stage)),
            trained=float(streamed[-1] * found.epochs),
            students=prefix,
        )
        for stage, (cost, prefix) in enumerate(zip(costs, prefixes(ensemble), strict=True), start=1)
    ]


def nested_network(contest: Contest) -> Nested:
    """New students of the search's class and widths, which read inputs alone, with dense heads."""
    students: list[Student] = []
    for width in contest.widths():
        config = StudentConfig(contest.spec.space.students[0], width, "dense", skip=False)
        sizes = [student.features for student in students]
        students.append(build_student(config, contest.shape, contest.outputs, sizes))
    return Nested(students)


@torch.no_grad()
def as_ensemble(network: Nested, outputs: int) -> ProgressiveEnsemble:
    """The same network as students with skip: student t adds exit t less exit t-1."""
    students: list[Student] = copy.deepcopy(list(network.students))  # type: ignore[arg-type]
    for before, student in reversed(list(itertools.pairwise(students))):
        read = before.head.in_features
        student.head.weight[:, :read].sub_(before.head.weight)
        student.head.bias.sub_(before.head.bias)
    for student in students:
        student.config = dataclasses.replace(student.config, skip=True)
    return ProgressiveEnsemble(outputs, students).eval()
