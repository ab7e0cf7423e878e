"""One network with exits, as the anytime rival that is no ensemble."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bdistil.core.cost import parameters
from bdistil.core.losses import fitting_loss
from bdistil.distributed.trial import derived_seed
from bdistil.study.rivals.contest import Contest, Entry


def early_exit(contest: Contest) -> list[Entry]:
    """One network with an exit after each of its layers, all exits trained together.

    Layers are wide enough that exit t costs what stage t does. It reads inputs as one row.
    """
    best: list[Entry] | None = None
    for candidate in range(contest.candidates):
        network, spent = branched(contest, candidate)
        entries = exits_of(contest, network, spent * contest.candidates)
        if best is None or mean_loss(contest, entries) < mean_loss(contest, best):
            best = entries
    assert best is not None
    return best


def mean_loss(contest: Contest, entries: list[Entry]) -> float:
    """The mean of all exits' losses on validation."""
    return sum(contest.loss(entry) for entry in entries) / len(entries)


class Branched(nn.Module):
    """Layers with a linear exit after each."""

    def __init__(self, inputs: int, outputs: int, widths: list[int]) -> None:
        super().__init__()
        pairs = itertools.pairwise([inputs, *widths])
        self.layers = nn.ModuleList(nn.Linear(before, width) for before, width in pairs)
        self.exits = nn.ModuleList(nn.Linear(width, outputs) for width in widths)
        self.widths = [inputs, *widths]
        self.outputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (B, L) of each exit."""
        hidden, answers = x.flatten(1), []
        for layer, leave in zip(self.layers, self.exits, strict=True):
            hidden = F.gelu(layer(hidden))
            answers.append(leave(hidden))
        return answers

    def costs(self) -> list[int]:
        """FLOPs of one example up to each exit, the exits before it included."""
        products = [
            width * (before + self.outputs) for before, width in itertools.pairwise(self.widths)
        ]
        return [2 * total for total in itertools.accumulate(products)]


def branch_widths(contest: Contest) -> list[int]:
    """The widest layers whose exits keep to the budgets."""
    inputs = math.prod(contest.shape)
    widths: list[int] = []
    for budget in contest.budgets:
        spent = Branched(inputs, contest.outputs, widths).costs()[-1] if widths else 0
        before = widths[-1] if widths else inputs
        widths.append(max(1, int((budget - spent) // (2 * (before + contest.outputs)))))
    return widths


def branched(contest: Contest, candidate: int) -> tuple[Branched, float]:
    """A trained network and FLOPs of one example times epochs."""
    recipe = contest.recipe(1, candidate)
    seed = derived_seed(contest.spec.seed, "branches", candidate)
    torch.manual_seed(seed)
    widths = branch_widths(contest)
    network = Branched(math.prod(contest.shape), contest.outputs, widths)
    train, size = contest.train, recipe.batch_for(len(contest.train))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.lr or 1e-2, weight_decay=recipe.weight_decay
    )
    epochs = recipe.epochs * contest.stages  # as many passes as all our students together
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, epochs * -(-len(train) // size)
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(train), generator=generator).split(size):
            optimiser.zero_grad()
            exits_loss(contest, network, rows, recipe.label_share, recipe.temperature).backward()
            optimiser.step()
            schedule.step()
    return network.eval(), network.costs()[-1] * float(epochs)


def exits_loss(
    contest: Contest, network: Branched, rows: Tensor, label_share: float, temperature: float
) -> Tensor:
    """The mean of all exits' fitting losses on some training rows."""
    train = contest.train
    losses = [
        fitting_loss(
            logits,
            train.teacher[rows],
            None if train.labels is None else train.labels[rows],
            task=contest.task,
            label_share=label_share,
            temperature=temperature,
        )
        for logits in network(train.inputs[rows])
    ]
    return torch.stack(losses).mean()


@torch.no_grad()
def exits_of(contest: Contest, network: Branched, trained: float) -> list[Entry]:
    """Every exit's answers."""
    answers = zip(network(contest.validation.inputs), network(contest.test.inputs), strict=True)
    return [
        Entry(cost, validation, test, parameters(network), trained)
        for cost, (validation, test) in zip(network.costs(), answers, strict=True)
    ]
