"""What an experiment keeps of each search: its anytime curve and how its rounds went."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bdistil.experiments.design import Run
from bdistil.export.evaluation import Evaluation
from bdistil.runs.journal import RoundRecord
from bdistil.searching.result import SearchResult


@dataclass
class Figures:
    """One search of an experiment.

    Attributes:
        data: name of the search space.
        cell: value of each varied field.
        seed: of data split, teacher and search.
        teacher: its metric on the test split.
        teacher_flops: of one example; None if only its outputs are known.
        stages: for each stage `metric` (test), `validation`, `flops` (folded), `streamed_flops`
            (all stages answered on the way), `parameters`, `latency_ratio` (and in comparisons
            `latency`, seconds, see :mod:`bdistil.experiments.clock`), `sup_norm`
            (max|F_t - g| on the training split), `sup_norm_out_of_fold` (to the cross-fitted table;
            None without), `trained` (FLOPs of one example times epochs, over all candidates so
            far), and of its round `weak`, `edge` (relative), `largest_gap` (G), `trials`,
            `weak_trials`, `rungs` (classes tried) and `seconds`. Rivals have only what concerns
            answers, costs and time.
        seconds: of the search and its evaluation.
        failed: why there is no ensemble; empty if there is one.
        version: of bdistil, with its commit; empty if not recorded.
    """

    data: str
    cell: dict[str, str]
    seed: int
    teacher: float = 0.0
    teacher_flops: int | None = None
    stages: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    failed: str = ""
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Figures:
        """From what :meth:`to_json` gave."""
        return cls(**content)

    def check(self, run: Run) -> None:
        """Refuse what is not the outcome of a run.

        Raises:
            ValueError: if it is of another run, or has neither stages nor a reason for that.
            TypeError: if something is of another type.
            KeyError: if a stage lacks its metric or its cost.
        """
        if (self.data, self.cell, self.seed) != (run.data, dict(run.cell), run.seed):
            raise ValueError("it is of another run")
        if not (isinstance(self.stages, list) and isinstance(self.failed, str)):
            raise TypeError("stages or failed")
        numbers = [self.teacher, self.seconds]
        numbers += [stage[key] for stage in self.stages for key in ("metric", "flops")]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("a figure is no number")
        if bool(self.stages) == bool(self.failed):
            raise ValueError("it has neither stages nor a reason")


def figures_of(result: SearchResult, of: Run) -> Figures:
    """The figures of a search that has ended."""
    found, records = result.evaluation, result.rounds
    trained = training_cost(found, records)
    stages = [
        {
            "metric": stage.metric,
            "flops": stage.flops,
            "streamed_flops": stage.streamed_flops,
            "parameters": stage.parameters,
            "latency_ratio": stage.latency_ratio,
            "sup_norm": stage.sup_norm,
            "sup_norm_out_of_fold": stage.sup_norm_out_of_fold,
            "trained": cost,
        }
        | of_round(record)
        for stage, record, cost in zip(found.stages, records, trained, strict=True)
    ]
    teacher = found.teacher
    return Figures(of.data, dict(of.cell), of.seed, teacher.metric, teacher.flops, stages)


def training_cost(found: Evaluation, records: Sequence[RoundRecord]) -> list[float]:
    """FLOPs of one example times epochs, of all candidates up to each stage.

    A candidate counts as the student that its round kept, with all that it reads of earlier ones.
    """
    streamed = [0, *(stage.streamed_flops for stage in found.stages)]
    spent = [
        (after - before) * sum(trial.epochs for trial in record.compared)
        for (before, after), record in zip(itertools.pairwise(streamed), records, strict=True)
    ]
    return [float(total) for total in itertools.accumulate(spent)]


def of_round(record: RoundRecord) -> dict[str, Any]:
    """How a round went."""
    return {
        "validation": record.result.metric,
        "weak": record.result.weak,
        "edge": record.result.relative_edge,
        "largest_gap": record.result.largest_gap,
        "trials": len(record.compared),
        "weak_trials": sum(trial.weak for trial in record.trials),
        "rungs": 1 + max(trial.request.rung for trial in record.compared),
        "seconds": record.seconds,
    }
