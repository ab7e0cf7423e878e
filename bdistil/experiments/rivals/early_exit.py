"""One network with exits, as the anytime rival that is no ensemble."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.core.cost import parameters
from bdistil.core.examples import Examples
from bdistil.core.losses import fitting_loss
from bdistil.core.student import Student
from bdistil.experiments.rivals.contest import Contest, Entry

ROWS = 2048
"""Examples that are answered at once."""


def early_exit(contest: Contest) -> list[Entry]:
    """One network with exits, all trained together: a student and layers on its features.

    Layers are wide enough that exit t costs what stage t does. It sees the training split as often
    as each student of an ensemble does, so that its training costs what all of theirs does.
    """
    return best_network(contest, passes=1)


def long_early_exit(contest: Contest) -> list[Entry]:
    """The same with as many passes as all students together, each at the whole network's cost."""
    return best_network(contest, passes=contest.stages)


def best_network(contest: Contest, passes: int) -> list[Entry]:
    """The exits of the candidate that is best on validation.

    Args:
        contest: what is answered.
        passes: how many times a student's epochs.
    """
    best: list[Entry] | None = None
    for candidate in range(contest.candidates):
        epochs = passes * contest.recipe(1, candidate).epochs
        network = branched(contest, candidate, epochs)
        entries = exits_of(contest, network, float(epochs * contest.candidates))
        if best is None or mean_loss(contest, entries) < mean_loss(contest, best):
            best = entries
    assert best is not None
    return best


def mean_loss(contest: Contest, entries: list[Entry]) -> float:
    """The mean of all exits' losses on validation."""
    return sum(contest.loss(entry) for entry in entries) / len(entries)


class Branched(nn.Module):
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


def branched(contest: Contest, candidate: int, epochs: int) -> Branched:
    """A trained network."""
    recipe = contest.recipe(1, candidate)
    seed = contest.seeds(1)[candidate]
    torch.manual_seed(seed)
    first = contest.student(first_width(contest))
    network = Branched(first, contest.outputs, branch_widths(contest, first.features))
    train, size = contest.train, recipe.batch_for(len(contest.train))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.lr or 1e-2, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, epochs * math.ceil(len(train) / size)
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(train), generator=generator).split(size):
            optimiser.zero_grad()
            exits_loss(contest, network, rows, recipe.label_share, recipe.temperature).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def exits_loss(
    contest: Contest, network: Branched, rows: Tensor, label_share: float, temperature: float
) -> Tensor:
    """The mean of all exits' fitting losses on some training rows."""
    train = contest.train
    losses = [
        fitting_loss(
            logits,
            train.teacher_logits[rows],
            None if train.labels is None else train.labels[rows],
            task=contest.task,
            label_share=label_share,
            temperature=temperature,
            weights=None if train.weights is None else train.weights[rows],
        )
        for logits in network(train.inputs[rows])
    ]
    return torch.stack(losses).mean()


def exits_of(contest: Contest, network: Branched, epochs: float) -> list[Entry]:
    """Every exit's answers; `epochs` are those of all candidates."""
    costs = exit_costs(contest, network.first.features, network.widths)
    trained = costs[-1] * epochs
    answers = zip(
        answers_of(network, contest.validation), answers_of(network, contest.test), strict=True
    )
    return [
        Entry(cost, validation, test, parameters(network), trained)
        for cost, (validation, test) in zip(costs, answers, strict=True)
    ]


@torch.no_grad()
def answers_of(network: Branched, split: Examples) -> list[Tensor]:
    """Logits (N, L) of every exit."""
    parts = [network(inputs) for inputs in split.inputs.split(ROWS)]
    return [torch.cat(logits) for logits in zip(*parts, strict=True)]
