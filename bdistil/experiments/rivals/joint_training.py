"""Networks with several exits, trained as a whole: every exit is fitted at every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from bdistil.core.examples import Examples
from bdistil.core.objective import Objective
from bdistil.core.progressive_ensemble import ROWS
from bdistil.core.recipes import Recipe
from bdistil.core.trainer import DEFAULT_LR, shuffled_batches
from bdistil.errors import SearchError
from bdistil.experiments.rivals.contest import Contest, all_failed


class Exits(nn.Module):
    """A network that answers at several places."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits (B, L) of each exit, cheapest first, for inputs (B, ...)."""
        raise NotImplementedError


Network = TypeVar("Network", bound=Exits)


@dataclass(frozen=True)
class Fitted(Generic[Network]):
    """The candidate that is best on validation.

    Attributes:
        network: in evaluation mode.
        validation: logits of each exit on the validation split, float (N, L).
        test: the same on the test split.
        epochs: of all candidates.
    """

    network: Network
    validation: list[Tensor]
    test: list[Tensor]
    epochs: int


def fit_jointly(contest: Contest, build: Callable[[], Network], passes: int = 1) -> Fitted[Network]:
    """Train as many candidates as a round of the search has, with its draws, rows and copies.

    The best has the least mean over its exits of the loss on validation.

    Args:
        contest: what is answered.
        build: a new network, with random weights.
        passes: how many times a student's epochs.

    Raises:
        SearchError: if every candidate's loss is no longer finite.
    """
    found: list[tuple[float, Network]] = []
    failed: list[SearchError] = []
    epochs = 0
    for candidate, seed in enumerate(contest.seeds(1)):
        torch.manual_seed(seed)
        network, recipe = build(), contest.recipe(1, candidate)
        epochs += passes * recipe.epochs
        train(network, contest, recipe, seed, passes * recipe.epochs)
        exits = answers_of(network, contest.validation)
        loss = sum(contest.measure.loss(each, contest.validation) for each in exits) / len(exits)
        if math.isfinite(loss):
            found.append((loss, network))
        else:
            failed.append(SearchError(f"the validation loss became {loss}; {recipe.remedy}."))
    if not found:
        raise all_failed(failed)
    _, best = min(found, key=lambda pair: pair[0])
    validation, test = (answers_of(best, split) for split in (contest.validation, contest.test))
    return Fitted(best, validation, test, epochs)


def train(network: Exits, contest: Contest, recipe: Recipe, seed: int, epochs: int) -> None:
    """Minimise the mean of all exits' fitting losses, as a student of the first round is trained.

    Adam takes no notice of a factor, so that the mean is as good as the sum.
    """
    state = contest.state()
    objective = Objective(state, recipe, skip=False)
    shards, size = state.train.shards, recipe.batch_for(len(state.train))
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=recipe.lr or DEFAULT_LR,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    batches = sum(math.ceil(len(shard) / size) for shard in shards)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * batches)
    order = torch.Generator().manual_seed(seed)
    network.train()
    for epoch in range(epochs):
        for batch in objective.batches(shuffled_batches(shards, size, order), epoch):
            optimiser.zero_grad()
            answers = network(batch.examples.inputs)
            losses = [objective.fitting_loss(each, batch) for each in answers]
            torch.stack(losses).mean().backward()
            optimiser.step()
            schedule.step()
    network.eval()


@torch.no_grad()
def answers_of(network: Exits, split: Examples) -> list[Tensor]:
    """Logits (N, L) of every exit on a split."""
    parts = [network(inputs) for inputs in split.inputs.split(ROWS)]
    return [torch.cat(logits) for logits in zip(*parts, strict=True)]
