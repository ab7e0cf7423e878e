"""The goal of a search in figures of its run: when it has found enough, and what is too dear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.data.dataset import Dataset
from bdistil.errors import TeacherError
from bdistil.names import GOAL_METRICS, GoalMetric
from bdistil.runs.journal import EndRecord, RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.goal_metric import teacher_score
from bdistil.searching.outcome import teacher_network
from bdistil.searching.progress import Reporter
from bdistil.searching.time_limit import TimeShare, timer_of
from bdistil.spec import Spec
from bdistil.teachers.obtain import metric_of
from bdistil.teachers.teacher_store import Logits


@dataclass(frozen=True)
class Goal:
    """The goal as figures of one run.

    Attributes:
        keep: share of the teacher's metric; None if the cost alone ends the search.
        teacher_metric: on validation.
        examples: of the validation split.
        counts: whether the metric is a share of the examples, so that it has a standard error.
        most_flops: of the last stage; None without a limit.
        metric: that is meant; None for the task's own.
        error: its standard error; None for that of a share of the examples, if it is one.
        within_time: share of the teacher's time that the last stage may take; None without a limit.
        time_share: measures what an ensemble's last stage takes of the teacher's time.
    """

    keep: float | None
    teacher_metric: float
    examples: int
    counts: bool
    most_flops: float | None
    metric: GoalMetric | None = None
    error: float | None = None
    within_time: float | None = None
    time_share: TimeShare | None = None

    @property
    def wanted(self) -> float | None:
        """The validation metric that is enough: what is to be kept, and a standard error.

        At most the teacher's own, above which few examples could put it: 1% and a standard error of
        36 rows is more than all of them.
        """
        if self.keep is None:
            return None
        kept = self.keep * self.teacher_metric
        error = self.error
        if error is None:
            error = math.sqrt(max(0.0, kept * (1 - kept)) / self.examples) if self.counts else 0.0
        return min(kept + error, max(kept, self.teacher_metric))

    def too_slow(self, ensemble: ProgressiveEnsemble) -> str | None:
        """Why a stage takes longer than it may, in words; None if it does not."""
        if self.within_time is None or self.time_share is None:
            return None
        taken = self.time_share(ensemble)
        if not taken > self.within_time:
            return None
        return (
            f"the best candidate for stage {len(ensemble)} would take {taken:.1%} of the teacher's "
            f"time here, more than goal.within_time={self.within_time:.3g}"
        )

    def end(
        self, record: RoundRecord, flops: int, least: int, score: float | None = None
    ) -> EndRecord | None:
        """Why no stage is wanted after a round; None if the search goes on.

        Args:
            record: of the round.
            flops: of its stage.
            least: that another student would cost.
            score: of its stage, in the goal's metric; the record's if that is the task's own.
        """
        metric, wanted = record.result.metric if score is None else score, self.wanted
        share = metric / self.teacher_metric if self.teacher_metric else math.nan
        name = "metric" if self.metric is None else GOAL_METRICS[self.metric][0]
        here = f"stage {record.round} has {share:.1%} of the teacher's {name} on validation"
        if wanted is not None and metric >= wanted:
            enough = f"enough are {self.keep:.4g} of it and a standard error, {wanted:.4f}"
            if wanted == self.teacher_metric:
                enough = f"{self.examples:,} validation examples could not tell it from more"
            return EndRecord(end="goal", reason=f"{here} ({metric:.4f}); {enough}")
        if self.most_flops is not None and flops + least > self.most_flops:
            used = f"{here} and uses {flops:,} of the {self.most_flops:,.0f} FLOPs allowed"
            return EndRecord(end="cost", reason=used)
        return None


def goal_of(
    spec: Spec, run: RunDirectory, dataset: Dataset, logits: Logits, reporter: Reporter
) -> Goal | None:
    """The goal in figures, by what is known of the teacher; None if the spec has none."""
    if spec.goal is None:
        return None
    flops, within = run.teacher.card().flops, spec.goal.within
    most_flops = None if within is None or flops is None else within * flops
    if within is not None and flops is None:
        reporter.message(
            f"The teacher's FLOPs are not known, so goal.within={within:g} sets no limit; the "
            f"search ends after {spec.search.most_rounds} stages at the latest."
        )
    elif within is not None:
        reporter.message(
            f"Planned: {spec.search.most_rounds} stages, each about {spec.space.growth:.3g} times "
            f"the cost of the one before, up to {most_flops:,.0f} FLOPs."
        )
    timer = None
    if spec.goal.within_time is not None:
        timer = teacher_timer(run, dataset)
        reporter.message(
            f"The best candidate of each round is timed beside the teacher, and kept only within "
            f"{spec.goal.within_time:.0%} of its time (goal.within_time)."
        )
    metric, error = spec.goal.metric, None
    teacher = metric_of(dataset, "validation", logits)
    if metric is not None:
        truth = dataset.validation.y
        teacher, error = teacher_score(logits["validation"], truth, dataset.task, metric)
    return Goal(
        keep=spec.goal.keep,
        teacher_metric=teacher,
        examples=len(dataset.validation),
        counts=dataset.task == "classification",
        most_flops=most_flops,
        metric=metric,
        error=error,
        within_time=spec.goal.within_time,
        time_share=timer,
    )


def teacher_timer(run: RunDirectory, dataset: Dataset) -> TimeShare:
    """Measures stages beside the run's teacher.

    Raises:
        TeacherError: if it is gone.
    """
    network, seconds = teacher_network(run, dataset), run.teacher.card().seconds
    if network is None and seconds is None:
        raise TeacherError(
            "the teacher can no longer be timed, as goal.within_time asks; remove that, or bring "
            "back the files of the teacher."
        )
    return timer_of(network, dataset.input_shape, seconds)
