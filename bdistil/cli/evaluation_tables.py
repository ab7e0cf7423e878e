"""The figures of a search on the test split as tables of text."""

from __future__ import annotations

from rich.table import Table

from bdistil.cli.display import empty_table, output
from bdistil.core.examples import METRIC
from bdistil.export.evaluation import Evaluation
from bdistil.export.score_figures import AnswerScores, Score


def print_evaluation(evaluation: Evaluation) -> None:
    """The anytime curve, and the other measures of its ends."""
    output.print(stages_table(evaluation))
    if evaluation.scores is not None:
        output.print("", scores_table(evaluation), sep="\n")


def stages_table(evaluation: Evaluation) -> Table:
    """The anytime curve on the test split, with 95% intervals over its examples."""
    metric = METRIC[evaluation.task]
    table = empty_table(
        "stage", metric, "95%", "of teacher", "95%", "time", "FLOPs", "of teacher", "parameters"
    )
    reference, scores = evaluation.teacher, evaluation.scores
    for index, stage in enumerate(evaluation.stages):
        own = None if scores is None else scores.stages[index]
        table.add_row(
            str(stage.stage),
            f"{stage.metric:.4f}",
            _interval(_main(own)),
            share(stage.metric / reference.metric if reference.metric > 0 else None),
            _shares(None if own is None else own.of_teacher),
            "-" if stage.latency_ratio is None else f"{stage.latency_ratio:.2f}x",
            f"{stage.flops:,}",
            share(stage.flops_fraction),
            f"{stage.parameters:,}",
        )
    timed = any(stage.latency_ratio is not None for stage in evaluation.stages)
    table.add_row(
        "teacher",
        f"{reference.metric:.4f}",
        _interval(_main(None if scores is None else scores.teacher)),
        "100.0%",
        "",
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
    names = [f"on {evaluation.examples:,} test examples"]
    for name in columns:
        names += [name, "95%"]
    table = empty_table(*names)
    for measure in teacher.scores:
        row = [measure]
        for answers in columns.values():
            score = answers.scores.get(measure)
            row += ["-" if score is None else f"{score.value:.4g}", _interval(score)]
        table.add_row(*row)
    return table


def share(value: float | None) -> str:
    """A fraction as percent."""
    return "-" if value is None else f"{value:.1%}"


def _main(answers: AnswerScores | None) -> Score | None:
    """The measure that stages are compared by, the first one."""
    return None if answers is None else next(iter(answers.scores.values()), None)


def _interval(score: Score | None) -> str:
    return "-" if score is None else f"{score.low:.4g} to {score.high:.4g}"


def _shares(score: Score | None) -> str:
    return "-" if score is None else f"{score.low:.1%} to {score.high:.1%}"
