"""Layers on the first student's features, with an exit after each, as a narrow anytime rival.

All later exits see what the first student's few features tell, which ties them up: a network of
the search's own students (:mod:`.nested`) is better at the same cost. It stays so that earlier
figures can be had again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.core.cost import parameters
from bdistil.core.student import Student
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.experiments.rivals.joint_training import Exits, fit_jointly


def early_exit(contest: Contest) -> list[Entry]:
    """One network with exits, all trained together: a student and layers on its features.

    Layers are wide enough that exit t costs what stage t does. It sees the training split as often
    as each student of an ensemble does, so that its training costs what all of theirs does.
    """
    return branched_exits(contest, passes=1)


def long_early_exit(contest: Contest) -> list[Entry]:
    """The same with as many passes as all students together, each at the whole network's cost."""
    return branched_exits(contest, passes=contest.stages)


def branched_exits(contest: Contest, passes: int) -> list[Entry]:
    """Every exit of the network that is best on validation."""
    found = fit_jointly(contest, lambda: branched(contest), passes)
    costs = exit_costs(contest, found.network.first.features, found.network.widths)
    trained = float(costs[-1] * found.epochs)
    size = parameters(found.network)
    return [
        Entry(cost, validation, test, size, trained, streamed=cost)
        for cost, validation, test in zip(costs, found.validation, found.test, strict=True)
    ]


class Branched(Exits):
    """A student and further layers on its features, with a linear exit after each."""

    def __init__(self, first: Student, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.first, self.widths = first, list(widths)
        pairs = itertools.pairwise([first.features, *widths])
        self.layers = nn.ModuleList(nn.Linear(before, width) for before, width in pairs)
        self.exits = nn.ModuleList(nn.Linear(width, outputs) for width in widths)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (B, L) of each exit."""
        logits, state = self.first(x, [])
        hidden, answers = state.features, [logits]
        for layer, leave in zip(self.layers, self.exits, strict=True):
            hidden = F.gelu(layer(hidden))
            answers.append(leave(hidden))
        return answers


def exit_costs(contest: Contest, features: int, widths: Sequence[int]) -> list[int]:
    """FLOPs of one example up to each exit, the exits before it included."""
    steps = itertools.pairwise([features, *widths])
    products = [2 * width * (before + contest.outputs) for before, width in steps]
    return list(itertools.accumulate([contest.cost(first_width(contest)), *products]))


def first_width(contest: Contest) -> int:
    """Width of the student that all exits share."""
    return contest.width(contest.budgets[0])


def branch_widths(contest: Contest, features: int) -> list[int]:
    """The widest layers whose exits keep to the budgets."""
    widths: list[int] = []
    for budget in contest.budgets[1:]:
        spent = exit_costs(contest, features, widths)[-1]
        before = widths[-1] if widths else features
        widths.append(max(1, int((budget - spent) // (2 * (before + contest.outputs)))))
    return widths


def branched(contest: Contest) -> Branched:
    """A new network."""
    first = contest.student(first_width(contest))
    return Branched(first, contest.outputs, branch_widths(contest, first.features))
