"""Which candidates of a round are cut while they train, as Optuna's pruners decide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler

from bdistil.core.milestones import Milestones
from bdistil.runs.trial import TrialRequest, TrialResult
from bdistil.spec.search import PrunerSpec


class RoundPruner:
    """Compares the candidates of one round, those of each class of the ladder with each other.

    Nothing of other rounds is looked at, and what is kept of an interrupted one is recalled, so a
    resumed search decides as one that was never interrupted.

    Args:
        spec: `search.pruner`.
        number: of the round.
    """

    def __init__(self, spec: PrunerSpec, number: int) -> None:
        self.spec = spec
        self.number = number
        self.studies: dict[int, optuna.Study] = {}
        self.trials: dict[int, optuna.Trial] = {}
        self.decided: dict[tuple[int, int], bool] = {}
        optuna.logging.set_verbosity(optuna.logging.ERROR)

    def __call__(
        self, requests: Sequence[TrialRequest], step: int, losses: Sequence[float]
    ) -> list[bool]:
        """Which of some candidates of one class go no further than a milestone.

        One whose worker was lost asks again, and is told the same.

        Args:
            requests: those that have come so far together.
            step: of the milestone: 1, `factor`, `factor`², ...
            losses: on validation, one a candidate.
        """
        order = sorted(range(len(requests)), key=losses.__getitem__)
        # Optuna holds each against those before it. So the better part of those that come together
        # goes first, the best of it last: it would otherwise be held against the best alone.
        half = math.ceil(len(order) / self.spec.factor)
        for index in (*reversed(order[:half]), *order[half:]):
            self._decide(requests[index], step, losses[index])
        return [self.decided[request.number, step] for request in requests]

    def recall(self, results: Sequence[TrialResult]) -> None:
        """Take in a cohort that was compared before the search was interrupted.

        One after another, as with one worker, this brings back the pruner's state to the bit.

        Args:
            results: of all of it, each finished or cut.
        """
        together = results[0].cohort > 1
        for group in [results] if together else [[result] for result in results]:
            losses = [dict(result.milestones) for result in group]
            for epochs, step in self._steps(group[0].request.recipe().epochs).items():
                there = [index for index, reached in enumerate(losses) if epochs in reached]
                if there:
                    requests = [group[index].request for index in there]
                    self(requests, step, [losses[index][epochs] for index in there])
                for index in there:  # with several workers the order may have been another
                    is_last = max(losses[index]) == epochs
                    cut = is_last and group[index].status == "cut"
                    self.decided[group[index].request.number, step] = cut

    def _steps(self, epochs: int) -> dict[int, int]:
        return Milestones(self.spec.first, self.spec.factor, lambda *_: ()).steps(epochs)

    def _decide(self, request: TrialRequest, step: int, loss: float) -> None:
        if (request.number, step) in self.decided:
            return
        if request.number not in self.trials:
            self.trials[request.number] = self._study(request.rung).ask()
        trial = self.trials[request.number]
        trial.report(loss, step)
        self.decided[request.number, step] = trial.should_prune()

    def _study(self, rung: int) -> optuna.Study:
        if rung not in self.studies:
            self.studies[rung] = optuna.create_study(
                study_name=f"round {self.number}, class {rung}",  # hyperband draws brackets by it
                sampler=RandomSampler(seed=0),
                pruner=optunas_pruner(self.spec),
            )
        return self.studies[rung]


def optunas_pruner(spec: PrunerSpec) -> BasePruner:
    """Optuna's pruner, which counts in units of the first milestone."""
    if spec.name == "halving":
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=spec.factor)
    whole = max(2, math.floor(1 / spec.first))
    return HyperbandPruner(min_resource=1, max_resource=whole, reduction_factor=spec.factor)
