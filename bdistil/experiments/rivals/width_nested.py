"""A width-nested student (slimmable, arXiv 1812.08928; Matryoshka, arXiv 2205.13147).

Exit t is a student of its own size whose body is the first units or channels of the widest one's.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bdistil.core.cost import flops, parameters
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student
from bdistil.errors import SearchError
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.joint_training import Exits, fit_jointly

SLICED = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Layers of which the first rows are a layer of fewer units or channels."""


def width_nested(contest: Contest) -> list[Entry]:
    """Students of every budget that share the weights of the widest, all trained together.

    Raises:
        SearchError: if the student class has other layers with weights than such as can be sliced.
    """
    found = fit_jointly(contest, lambda: WidthNested(students_of(contest)))
    students = found.network.standing_alone()
    costs = [contest.cost(student.config.width) for student in students]
    trained = float(sum(costs) * found.epochs)
    return [
        Entry(cost, validation, test, parameters(student), trained, streamed, alone)
        for cost, streamed, validation, test, student, alone in zip(
            costs,
            streamed_costs(costs, students),
            found.validation,
            found.test,
            students,
            (ProgressiveEnsemble(contest.outputs, [student]).eval() for student in students),
            strict=True,
        )
    ]


def students_of(contest: Contest) -> list[Student]:
    """A new student for every budget."""
    return [contest.student(contest.width(budget)) for budget in contest.budgets]


class WidthNested(Exits):
    """The widest student's body, and a head for each width.

    Args:
        students: narrowest first; the last one's body and the heads of all are what is trained.
    """

    def __init__(self, students: Sequence[Student]) -> None:
        super().__init__()
        for student in students:
            check_sliceable(student)
        self.body = students[-1].body
        self.heads = nn.ModuleList(student.head for student in students)
        self._students = tuple(students)  # their own bodies' weights are not part of the network

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (B, L) of each width."""
        return [
            head(functional_call(student.body, self.weights(student), (x,)))
            for head, student in zip(self.heads, self._students, strict=True)
        ]

    def weights(self, student: Student) -> dict[str, Tensor]:
        """The first rows and columns of the body's weights, as many as a narrower one has."""
        whole = dict(self.body.named_parameters())
        return {
            name: whole[name][tuple(map(slice, own.shape))]
            for name, own in student.body.named_parameters()
        }

    @torch.no_grad()
    def standing_alone(self) -> list[Student]:
        """Each width as a student with weights of its own; the network is of no use after it."""
        for student in self._students:
            weights = {name: each.clone() for name, each in self.weights(student).items()}
            student.body.load_state_dict(weights)
        return [student.eval() for student in self._students]


def check_sliceable(student: Student) -> None:
    """Refuse bodies whose first rows are no narrower body.

    Raises:
        SearchError: naming the layer.
    """
    for module in student.body.modules():
        own = next(module.parameters(recurse=False), None)
        if own is not None and not isinstance(module, SLICED):
            raise SearchError(
                f"width-nested slices linear layers and convolutions, and the student class "
                f"{student.config.kind} has a {type(module).__name__}; take another space.student."
            )


def streamed_costs(costs: Sequence[int], students: Sequence[Student]) -> list[int]:
    """FLOPs up to each width when all before it are answered too.

    A single layer goes on from the units that are there. Deeper bodies start over, as what later
    layers give for the first channels depends on the width.
    """
    layers = [module for module in students[-1].body.modules() if isinstance(module, SLICED)]
    if len(layers) > 1:
        return list(itertools.accumulate(costs))
    heads = [flops(student.head, (student.features,)) for student in students]
    before = itertools.accumulate(heads[:-1], initial=0)
    return [cost + paid for cost, paid in zip(costs, before, strict=True)]
