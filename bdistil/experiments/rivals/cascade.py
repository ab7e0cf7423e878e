"""Cascades: the next model is asked where the one before it is not sure (arXiv 2012.01988).

Up to four models, the last of which may be the teacher; all leave at one probability of the
likeliest class. Which models and which probability, validation decides, for each budget anew. A
budget is kept in the mean over examples, so that a cascade of separate students stands beside one
of our stages, and not beside what keeps to the budget for every example.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.errors import SearchError
from bdistil.experiments.clock import Shares, prefixes
from bdistil.experiments.rivals.contest import Contest, Entry
from bdistil.export.evaluation import Evaluation

MODELS = 4
"""In a cascade, at most, the teacher included."""
PROBABILITIES = 33
"""Of the likeliest class that are tried: quantiles of those of the models that may pass on."""


@dataclass(frozen=True)
class Chain:
    """Models that are asked in turn.

    Attributes:
        models: students or stages, cheapest first.
        teacher: asked last, if given.
        separate: whether each starts from the example; stages go on from one another.
    """

    models: tuple[Entry, ...]
    teacher: Entry | None
    separate: bool

    @property
    def all(self) -> tuple[Entry, ...]:
        """With the teacher."""
        return self.models if self.teacher is None else (*self.models, self.teacher)

    @property
    def paid(self) -> Tensor:
        """FLOPs of one example up to each model, float64 (K,)."""
        if self.separate:
            paid = list(itertools.accumulate(each.flops for each in self.models))
        elif len(self.models) == 1:  # nothing is answered on the way
            paid = [self.models[0].flops]
        else:
            paid = [each.streamed for each in self.models]
        more = [] if self.teacher is None else [paid[-1] + self.teacher.flops]
        return torch.tensor([*paid, *more], dtype=torch.float64)

    @property
    def parameters(self) -> int:
        """To store, without the teacher's; a stage's are those of all before it, too."""
        sizes = [each.parameters for each in self.models]
        return sum(sizes) if self.separate else sizes[-1]

    def sure(self, split: str) -> Tensor:
        """Probability of the likeliest class, (K-1, N), of all models but the last."""
        answers = torch.stack([getattr(each, split) for each in self.all])
        return answers[:-1].softmax(dim=2).amax(dim=2)

    def left(self, sure: Tensor, enough: float) -> Tensor:
        """Which model answers each example, integers (N,): the last one what none is sure of."""
        last = torch.ones(1, sure.shape[1], dtype=torch.bool)
        return torch.cat([sure >= enough, last]).int().argmax(dim=0)

    def answers(self, split: str, left: Tensor) -> Tensor:
        """Logits (N, L) of the models that answer."""
        logits = torch.stack([getattr(each, split) for each in self.all])
        return logits[left, torch.arange(len(left))]

    def timed(self, left: Tensor) -> Shares | None:
        """Networks and the shares of examples that run each; None if one cannot be timed.

        A stage is run straight by whoever leaves there or goes on to the teacher.
        """
        last = len(self.models) - 1
        own, asked = left.clamp(max=last), left > last
        runs = [own >= at if self.separate else own == at for at in range(last + 1)]
        shares = [each.double().mean().item() for each in (*runs, asked)]
        parts = [(s, each.runs) for s, each in zip(shares, self.all, strict=False) if s > 0]
        networks = [(s, runs) for s, runs in parts if isinstance(runs, torch.nn.Module)]
        return Shares(tuple(networks)) if len(networks) == len(parts) else None


@dataclass(frozen=True)
class Found:
    """A chain and the probability that is enough, with its figures on validation.

    Attributes:
        chain: the models.
        enough: of the likeliest class, to leave.
        metric: of the answers.
        loss: likewise.
        spent: FLOPs of one example, in the mean.
    """

    chain: Chain
    enough: float
    metric: float
    loss: float
    spent: float


def cascade(contest: Contest) -> list[Entry]:
    """Separate students, as the oracle's, and the teacher behind them where its FLOPs are known.

    Raises:
        SearchError: if answers of the task do not say how sure they are.
    """
    check_task(contest)
    students = contest.fleet()
    trained = sum(each.trained for each in students)
    return best_cascades(contest, students, trained, separate=True)


def ours_in_cascade(
    contest: Contest, ensemble: ProgressiveEnsemble, found: Evaluation, trained: float
) -> list[Entry]:
    """The same of an ensemble's stages.

    Args:
        contest: of the ensemble's data, teacher and seed.
        ensemble: the students.
        found: the costs of its stages.
        trained: see :class:`~bdistil.experiments.rivals.contest.Entry`.

    Raises:
        SearchError: if answers of the task do not say how sure they are.
    """
    check_task(contest)
    with torch.inference_mode():
        validation = list(ensemble.stages(contest.validation.inputs))
        test = list(ensemble.stages(contest.test.inputs))
    stages = [
        Entry(
            flops=stage.flops,
            validation=validation[at],
            test=test[at],
            parameters=stage.parameters,
            trained=trained,
            streamed=stage.streamed_flops,
            runs=prefix,
        )
        for at, (stage, prefix) in enumerate(zip(found.stages, prefixes(ensemble), strict=True))
    ]
    return best_cascades(contest, stages, trained, separate=False)


def check_task(contest: Contest) -> None:
    """Refuse tasks without one likeliest class."""
    if contest.task != "classification":
        raise SearchError(
            "a cascade asks its next model where no class is likely enough, which answers of this "
            f"task ({contest.task}) do not say; leave the method out."
        )


def best_cascades(
    contest: Contest, models: Sequence[Entry], trained: float, separate: bool
) -> list[Entry]:
    """The best cascade on validation for each budget, which it keeps to in the mean there.

    Its FLOPs are the mean over the test split. A budget below every model has none.

    Raises:
        SearchError: if that is so of all budgets.
    """
    chains = list(chains_of(models, teacher_of(contest), separate))
    found = [each for chain in chains for each in tried(contest, chain)]
    within = [[each for each in found if each.spent <= budget] for budget in contest.budgets]
    best = [max(some, key=lambda each: (each.metric, -each.loss)) for some in within if some]
    if not best:
        raise SearchError("every model of the cascade costs more than the last stage may.")
    return [entry_of(each, trained) for each in best]


def chains_of(models: Sequence[Entry], teacher: Entry | None, separate: bool) -> Iterator[Chain]:
    """Every choice of models, in their order, with the teacher behind them and without."""
    for count in range(1, MODELS + 1):
        for each in itertools.combinations(models, count):
            yield Chain(each, None, separate)
            if teacher is not None and count < MODELS:
                yield Chain(each, teacher, separate)


def teacher_of(contest: Contest) -> Entry | None:
    """The teacher, which is there already; None if its FLOPs are not known."""
    flops = contest.teacher_flops
    if flops is None:
        return None
    return Entry(
        flops=flops,
        validation=contest.validation.teacher_logits,
        test=contest.test.teacher_logits,
        parameters=0,
        trained=0.0,
        streamed=flops,
        runs=contest.teacher,
    )


def tried(contest: Contest, chain: Chain) -> Iterator[Found]:
    """A chain at every probability."""
    sure = chain.sure("validation")
    levels = torch.linspace(0, 1, PROBABILITIES)
    for enough in sure.flatten().quantile(levels).unique().tolist() if len(sure) else [1.0]:
        left = chain.left(sure, enough)
        answers = chain.answers("validation", left)
        metric = contest.measure.accuracy(answers, contest.validation)
        loss = contest.measure.loss(answers, contest.validation)
        yield Found(chain, enough, metric, loss, chain.paid[left].mean().item())


def entry_of(found: Found, trained: float) -> Entry:
    """What is found, with its costs on the test split."""
    chain = found.chain
    left = {each: chain.left(chain.sure(each), found.enough) for each in ("validation", "test")}
    flops = round(chain.paid[left["test"]].mean().item())
    return Entry(
        flops=flops,
        validation=chain.answers("validation", left["validation"]),
        test=chain.answers("test", left["test"]),
        parameters=chain.parameters,
        trained=trained,
        streamed=flops,
        runs=chain.timed(left["test"]),
    )
