"""The goal of a search in figures of its run: when it has found enough, and what is too dear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.data.dataset import Dataset
from bdistil.data.own import count_groups
from bdistil.errors import TeacherError
from bdistil.export.stage_timing import StageTimer
from bdistil.names import GOAL_METRICS, GoalMetric
from bdistil.runs.journal import EndRecord, RoundRecord
from bdistil.runs.run_directory import RunDirectory
from bdistil.searching.cost_limits import COSTS, CostLimits, Costs, check_counted
from bdistil.searching.goal_metric import teacher_score
from bdistil.searching.outcome import teacher_network
from bdistil.searching.progress import Reporter
from bdistil.searching.time_limit import TimeLimit, timer_of
from bdistil.spec import Spec
from bdistil.teachers.teacher_store import Logits
from bdistil.teachers.yardsticks import metric_of
from bdistil.words import counted

BEST = 1.0
"""The largest value of every metric of a goal."""


@dataclass(frozen=True)
class Goal:
    """The goal as figures of one run.

    Attributes:
        keep: share of the teacher's metric; None if the cost alone ends the search.
        teacher_metric: on validation.
        examples: of the validation split.
        counts: whether the metric is a share of the examples, so that it has a standard error.
        limits: of the last stage's cost.
        metric: that is meant; None for the task's own.
        error: its standard error; None for that of a share of the examples, if it is one.
        time_limit: of the last stage; None without one.
        timer: measures an ensemble's last stage for it.
    """

    keep: float | None
    teacher_metric: float
    examples: int
    counts: bool
    limits: CostLimits
    metric: GoalMetric | None = None
    error: float | None = None
    time_limit: TimeLimit | None = None
    timer: StageTimer | None = None

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
        if self.time_limit is None or self.timer is None:
            return None
        return self.time_limit.exceeded(self.timer(ensemble), len(ensemble))

    def above_limits(self, stage: int, costs: Costs) -> str | None:
        """Why a stage costs more than it may, in words; None if it does not.

        Widths are chosen so that it does not; a student of one unit may still be too large.
        """
        for name in self.limits.exceeded_by(costs):
            unit, field = COSTS[name]
            return (
                f"the best candidate for stage {stage} would bring it to {getattr(costs, name):,} "
                f"{unit}, more than the {getattr(self.limits, name):,.0f} of goal.{field}"
            )
        return None

    def told(self, stage: int, score: float) -> str:
        """How far a stage is in the goal's metric, for people."""
        name = _called(self.metric)
        teacher = f"the teacher's {self.teacher_metric:.4f}"
        return f"stage {stage}: {name} {score:.4f} on validation, {teacher}"

    def told_wanted(self) -> str:
        """What is enough, in words."""
        wanted = self.wanted
        assert wanted is not None
        if wanted == self.teacher_metric:
            share = f"{self.examples:,} validation examples cannot tell {self.keep:.4g} of it"
            why = "" if self.keep == 1 else f", as {share}"
            return f"enough is the teacher's own {wanted:.4f}{why}"
        assert self.keep is not None
        more = " and a standard error" if wanted > self.keep * self.teacher_metric else ""
        return f"enough are {self.keep:.4g} of it{more}, {wanted:.4f}"

    def end(
        self,
        record: RoundRecord,
        used: Costs,
        least: Costs,
        score: float | None = None,
        rounds: int | None = None,
    ) -> EndRecord | None:
        """Why no stage is wanted after a round; None if the search goes on.

        Args:
            record: of the round.
            used: by its stage.
            least: that another student would add.
            score: of its stage, in the goal's metric; the record's if that is the task's own.
            rounds: most of the search; None without a limit.
        """
        metric, wanted = record.result.metric if score is None else score, self.wanted
        name = _called(self.metric)
        here = f"stage {record.round} has a {name} of {metric:.4f} on validation"
        if self.teacher_metric > 0:
            share = metric / self.teacher_metric
            here = f"stage {record.round} has {share:.1%} of the teacher's {name} on validation"
        if wanted is not None and metric >= wanted:
            return EndRecord(end="goal", reason=f"{here} ({metric:.4f}); {self.told_wanted()}")
        more = Costs(*map(sum, zip(used, least, strict=True)))
        for name in self.limits.exceeded_by(more):
            spent, most = getattr(used, name), getattr(self.limits, name)
            reason = f"{here} and uses {spent:,} of the {most:,.0f} {COSTS[name][0]} allowed"
            return EndRecord(end="cost", reason=reason)
        if wanted is not None and record.round == rounds:
            reason = f"{here} ({metric:.4f}), and no more students are allowed (search.rounds)"
            return EndRecord(end="rounds", reason=f"{reason}; {self.told_wanted()}")
        return None


def goal_of(
    spec: Spec, run: RunDirectory, dataset: Dataset, logits: Logits, reporter: Reporter
) -> Goal | None:
    """The goal in figures, by what is known of the teacher; None if the spec has none."""
    if spec.goal is None:
        return None
    card, within = run.teacher.card(), spec.goal.within
    check_counted(spec.goal, card.parameters, card.source)
    limits = CostLimits.of(spec.goal, card.flops, card.parameters)
    if within is not None and limits.flops is None:
        reporter.message(
            f"The teacher's FLOPs are not known, so goal.within={within:g} sets no limit; the "
            f"search ends after {counted(spec.search.most_rounds, 'stage')} at the latest."
        )
    if limits:
        rounds, growth = spec.search.most_rounds, spec.space.growth
        steps = f"s, each about {growth:.3g} times the cost of the one before, up to"
        reporter.message(
            f"Planned: {rounds} stage{' within' if rounds == 1 else steps} {limits.told()}."
        )
    timer, time_limit = None, TimeLimit.of(spec.goal)
    if time_limit is not None:
        timer = run_timer(time_limit, run, dataset, spec)
        reporter.message(
            f"The best candidate of each round is timed {time_limit.how}, and kept only within "
            f"{time_limit.told(time_limit.most)} (goal.within_time)."
        )
    metric, error = spec.goal.metric, None
    teacher = metric_of(dataset, "validation", logits)
    validation, keep, groups = dataset.validation, spec.goal.keep, count_groups(dataset.validation)
    if metric is None and groups is not None and dataset.task == "classification":
        metric = "accuracy"  # whose error is then one over groups
    if metric is not None:
        own = validation.y, dataset.task, metric, validation.groups
        teacher, error = teacher_score(logits["validation"], *own)
    untold = None if keep is None else _why_untold(keep, teacher, metric, groups)
    if untold is not None:
        keep = None
        reporter.message(
            f"{untold}, so the search goes on until nothing helps or a limit of the goal is met."
        )
    return Goal(
        keep=keep,
        teacher_metric=teacher,
        examples=len(validation),
        counts=dataset.task == "classification",
        limits=limits,
        metric=metric,
        error=error,
        time_limit=time_limit,
        timer=timer,
    )


def _called(metric: GoalMetric | None) -> str:
    return "metric" if metric is None else GOAL_METRICS[metric][0]


def _why_untold(
    keep: float, teacher: float, metric: GoalMetric | None, groups: int | None
) -> str | None:
    """Why nothing on validation can tell that `goal.keep` is reached; None if something can.

    A share of what is negative, as R² may be, is more than the whole: any student would reach it.
    """
    if groups == 1:
        return "Whether goal.keep is reached for others, a single group of data.group cannot tell"
    its = f"The teacher's {_called(metric)} on validation is {teacher:.4f}, of which goal.keep"
    if not teacher > 0:
        return f"{its} can be no share"
    if keep * teacher > BEST:
        return f"{its}={keep:g} would be {keep * teacher:.4f}, more than anything has"
    return None


def run_timer(limit: TimeLimit, run: RunDirectory, dataset: Dataset, spec: Spec) -> StageTimer:
    """Measures stages, for a share of time beside the run's teacher.

    Raises:
        TeacherError: if it is gone.
        MissingDependencyError: if the runtime is not installed.
    """
    if limit.share is None:
        return timer_of(limit, None, dataset)
    network, seconds = teacher_network(run, dataset, spec), run.teacher.card().seconds
    if network is None and seconds is None:
        raise TeacherError(
            "the teacher can no longer be timed, as goal.within_time asks; remove that, give a "
            "duration such as 2ms, or bring back the files of the teacher."
        )
    return timer_of(limit, network, dataset, seconds)
