"""The figures of a search on the test split as tables of text."""

from __future__ import annotations

from rich.table import Table

from bdistil.cli.display import empty_table, output
from bdistil.export.evaluation import Evaluation
from bdistil.export.score_figures import Score
from bdistil.names import METRIC
from bdistil.runtime.clock import microseconds, told_ratio


def print_evaluation(evaluation: Evaluation) -> None:
    """The anytime curve, and the other measures of its ends."""
    output.print(stages_table(evaluation))
    if any(stage.latency is not None for stage in evaluation.stages):
        output.print(
            f"µs: one example, one thread, straight to a stage {evaluation.timed_by}; more by "
            "`bdistil bench`"
        )
    if evaluation.scores is not None:
        output.print("", scores_table(evaluation), sep="\n")
        output.print(
            f"±: half of a 95% interval over {evaluation.examples:,} test examples"
            f"{evaluation.scores.drawn}"
        )
        if turning := evaluation.scores.told_turning:
            output.print(turning)
    for note in evaluation.notes:
        output.print(note)


def stages_table(evaluation: Evaluation) -> Table:
    """The anytime curve on the test split; narrow enough for a terminal of 80 columns."""
    metric = METRIC[evaluation.task]
    table = empty_table(
        "stage", metric, "of teacher", "µs", "ratio", "FLOPs", "ratio", "parameters"
    )
    reference, scores = evaluation.teacher, evaluation.scores
    for index, stage in enumerate(evaluation.stages):
        own = None if scores is None else scores.stages[index]
        of_teacher = share(stage.metric / reference.metric if reference.metric > 0 else None)
        table.add_row(
            str(stage.stage),
            f"{stage.metric:.4f}{_give_or_take(None if own is None else own.main)}",
            f"{of_teacher}{_points(None if own is None else own.of_teacher)}",
            "-" if stage.latency is None else microseconds(stage.latency),
            "-" if stage.latency_ratio is None else f"{told_ratio(stage.latency_ratio)}x",
            f"{stage.flops:,}",
            share(stage.flops_fraction),
            f"{stage.parameters:,}",
        )
    timed = any(stage.latency_ratio is not None for stage in evaluation.stages)
    teacher = None if scores is None else scores.teacher.main
    table.add_row(
        "teacher",
        f"{reference.metric:.4f}{_give_or_take(teacher)}",
        "100.0%",
        "-" if reference.latency is None else microseconds(reference.latency),
        "1.00x" if timed else "-",
        "-" if reference.flops is None else f"{reference.flops:,}",
        "-" if reference.flops is None else "100.0%",
        "-" if reference.parameters is None else f"{reference.parameters:,}",
        style="dim",
    )
    return table


def scores_table(evaluation: Evaluation) -> Table:
    """Every measure of the first stage, the last and the teacher."""
    assert evaluation.scores is not None
    stages, teacher = evaluation.scores.stages, evaluation.scores.teacher
    columns = {"stage 1": stages[0], f"stage {len(stages)}": stages[-1], "teacher": teacher}
    table = empty_table("on test", *columns)
    for measure in teacher.scores:
        scores = [answers.scores.get(measure) for answers in columns.values()]
        table.add_row(
            measure, *("-" if s is None else f"{s.value:.4g}{_give_or_take(s)}" for s in scores)
        )
    return table


def share(value: float | None) -> str:
    """A fraction as percent."""
    return "-" if value is None else f"{value:.1%}"


def _give_or_take(score: Score | None) -> str:
    """Half of the interval; the whole of it is in the report and the JSON."""
    return "" if score is None else f" ±{score.half:.2g}".replace("±0.", "±.")


def _points(score: Score | None) -> str:
    return "" if score is None else f" ±{100 * score.half:.1f}"
