"""The report of a run: one HTML file without outside references."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bdistil.export.evaluation import Evaluation, StageFigures
from bdistil.export.score_figures import AnswerScores
from bdistil.optional import require
from bdistil.report.plots import TEST_METRIC, anytime_plot, early_plot, rounds_plot
from bdistil.runtime.clock import microseconds, told_ratio
from bdistil.searching.result import SearchResult
from bdistil.store.durable import write_atomic
from bdistil.version import version_and_commit


def write_report(result: SearchResult, out: Path | None = None) -> Path:
    """Write the report of the accepted rounds and return its path.

    Raises:
        CheckpointError: if no round is accepted yet.
    """
    path = out or result.run.report_file
    write_atomic(path, render(result).encode())
    return path


def render(result: SearchResult) -> str:
    """The report as HTML."""
    jinja2 = require("jinja2", "search")
    figures, records, spec = result.evaluation, result.rounds, result.run.spec()
    early = result.early_points
    source = files("bdistil.report").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    html: str = environment.from_string(source).render(
        name=spec.name,
        version=version_and_commit(),
        rounds=spec.search.most_rounds,
        crossfit=spec.teacher.crossfit,
        records=records,
        ended=result.ended,
        guarantee=result.guarantee,
        evaluation=figures,
        scores=figures.scores,
        all_answers=()
        if figures.scores is None
        else (*figures.scores.stages, figures.scores.teacher),
        interval=interval,
        headline=headline(figures),
        metric=TEST_METRIC[figures.task],
        anytime=anytime_plot(figures),
        edges=rounds_plot(records),
        early=early,
        early_plot=early_plot(early, figures.task) if early else "",
        data=result.data_card,
        spec=spec.to_yaml(),
        share=share,
        told_ratio=told_ratio,
        number=number,
        microseconds=microseconds,
    )
    return html


def headline(figures: Evaluation) -> str:
    """The run in one sentence."""
    first, last, teacher = figures.stages[0], figures.stages[-1], figures.teacher

    def beside_teacher(stage: StageFigures) -> str:
        if teacher.metric <= 0:
            return f"{stage.metric:.4f} (the teacher: {teacher.metric:.4f})"
        told = f"{stage.metric:.4f} ({share(stage.metric / teacher.metric)} of the teacher's)"
        if stage.latency_ratio is not None:
            told += f" in {told_ratio(stage.latency_ratio)} of its time"
        if stage.flops_fraction is not None:
            told += f" at {stage.flops_fraction:.1%} of its FLOPs"
        return told

    reaches = f"reaches {TEST_METRIC[figures.task]} {beside_teacher(first)}"
    if last.stage == 1:
        return f"The only student {reaches}."
    return f"The first student {reaches}; all {last.stage} together reach {beside_teacher(last)}."


def interval(answers: AnswerScores | None) -> str:
    """The 95% interval of the measure that stages are compared by."""
    score = None if answers is None else answers.main
    return "–" if score is None else f"{score.low:.3f}–{score.high:.3f}"


def share(value: float | None) -> str:
    """A fraction as percent."""
    return "–" if value is None else f"{value:.1%}"


def number(value: object) -> str:
    """A short number; the recipe's own value if the search left it."""
    if isinstance(value, int | float):
        return f"{value:.3g}"
    return "recipe" if value is None else str(value)
