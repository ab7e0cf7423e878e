"""The public package ``torchensemble`` as a peer: its gradient boosting of our students."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bdistil.core.cost import parameters
from bdistil.core.recipes import Recipe
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.optional import require

PACKAGE = "torchensemble"
OF_LOGITS, OF_LABELS = "GradientBoostingRegressor", "GradientBoostingClassifier"


def torchensemble(contest: Contest) -> list[Entry]:
    """Gradient boosting by the package: of the teacher's logits, and to classify also of labels.

    Its members are all alike: of the first stage's cost, as many as the last budget pays for. Half
    of the candidates boost labels where that can be done.

    Raises:
        MissingDependencyError: if the package is not installed.
    """
    labelled = contest.task == "classification" and contest.train.labels is not None
    kinds = [OF_LOGITS, OF_LABELS] if labelled else [OF_LOGITS]
    chains = [
        boosted(contest, kinds[candidate % len(kinds)], candidate)
        for candidate in range(contest.candidates)
    ]
    return min(chains, key=lambda chain: contest.loss(chain[-1]))


def boosted(contest: Contest, kind: str, candidate: int) -> list[Entry]:
    """One candidate's answers, with the cost of training all candidates."""
    width = contest.width(contest.budgets[0])
    flops = contest.cost(width)
    count = max(1, int(contest.budgets[-1] // flops))
    recipe = contest.recipe(1, candidate)
    seed = contest.seeds(1)[candidate]
    torch.manual_seed(seed)
    model = getattr(require(PACKAGE, "peers"), kind)(
        estimator=Alone,
        n_estimators=count,
        estimator_args={"contest": contest, "width": width},
        cuda=False,
    )
    model.set_optimizer("Adam", lr=recipe.lr or 1e-2, weight_decay=recipe.weight_decay)
    model.set_scheduler("CosineAnnealingLR", T_max=recipe.epochs)
    targets = contest.train.labels if kind == OF_LABELS else contest.train.teacher_logits
    assert targets is not None
    model.fit(loader(contest, targets, recipe, seed), epochs=recipe.epochs, save_model=False)
    size, spent = parameters(model) // count, flops * float(recipe.epochs) * contest.candidates
    return [
        Entry(
            flops=flops * stage,
            validation=answers(model, stage, contest.validation.inputs),
            test=answers(model, stage, contest.test.inputs),
            parameters=size * stage,
            trained=spent * stage,
            streamed=flops * stage,
        )
        for stage in range(1, count + 1)
    ]


class Alone(nn.Module):
    """A student without connections, from inputs to logits, as the package wants its members."""

    def __init__(self, contest: Contest, width: int) -> None:
        super().__init__()
        self.student = contest.student(width)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, L)."""
        logits: Tensor = self.student(x, [])[0]
        return logits


def loader(contest: Contest, targets: Tensor, recipe: Recipe, seed: int) -> DataLoader[Any]:
    """The training split in shuffled batches."""
    rows = TensorDataset(contest.train.inputs, targets)
    rows.classes = range(contest.outputs)  # type: ignore[attr-defined]  # else it counts labels
    order = torch.Generator().manual_seed(seed)
    return DataLoader(rows, recipe.batch_for(len(rows)), shuffle=True, generator=order)


@torch.no_grad()
def answers(model: Any, stage: int, inputs: Tensor) -> Tensor:
    """Logits (N, L) of the first members together."""
    logits: Tensor = model.eval()._staged_forward(stage - 1, inputs)  # it has no public way
    return logits
