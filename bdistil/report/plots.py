"""Plots of a run as SVG text, drawn without a display."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bdistil.errors import SpecError
from bdistil.export.early_prediction import EarlyPoint
from bdistil.export.evaluation import Evaluation
from bdistil.names import METRIC, Task
from bdistil.optional import require
from bdistil.report.bench import Timing
from bdistil.report.pareto import Point
from bdistil.runs.journal import RoundRecord

if TYPE_CHECKING:
    import pandas as pd

TEST_METRIC = {task: f"test {name}" for task, name in METRIC.items()}
COLOURS = ("#888", "#1f6feb", "#d1242f")
LAST_DATE = 253_402_300_799  # the end of the year 9999
COST_LABELS = {
    "flops": "FLOPs an example",
    "latency": "seconds an example",
    "parameters": "parameters",
    "memory": "bytes",
}


def anytime_plot(evaluation: Evaluation) -> str:
    """Metric against measured time and FLOPs, stage by stage, with the teacher as reference."""
    known = [cost for cost in ("latency", "flops") if getattr(evaluation.stages[0], cost)]
    figure, panels = _canvas(len(known))
    stages, teacher = evaluation.stages, evaluation.teacher
    for cost, axes in zip(known, panels, strict=True):
        costs, values = [getattr(s, cost) for s in stages], [s.metric for s in stages]
        axes.plot(costs, values, "o-", color="#1f6feb", label="ensemble")
        for stage, at in zip(stages, costs, strict=True):
            axes.annotate(
                str(stage.stage), (at, stage.metric), xytext=(0, 6), ha="center",
                textcoords="offset points", fontsize=8, color="#555",
            )  # fmt: skip
        axes.axhline(teacher.metric, color="#888", linestyle="--", linewidth=1)
        if (reference := getattr(teacher, cost)) is not None:
            axes.plot([reference], [teacher.metric], "s", color="#888", label="teacher")
            _powers_of_ten_apart(axes)
        axes.set_xlabel(COST_LABELS[cost])
    panels[0].set_ylabel(TEST_METRIC[evaluation.task])
    panels[0].legend(frameon=False)
    return _svg(figure, "anytime")


def rounds_plot(records: Sequence[RoundRecord]) -> str:
    """Relative edge of every trial, and of the student that each round kept."""
    figure, [axes] = _canvas()
    trials = [(record.round, trial.relative_edge) for record in records for trial in record.trials]
    axes.plot(*zip(*trials, strict=True), ".", color="#bbb", label="trials")
    kept = [(record.round, record.result.relative_edge) for record in records]
    axes.plot(*zip(*kept, strict=True), "o", color="#1f6feb", label="kept")
    axes.axhline(0, color="#d1242f", linewidth=1)
    axes.set_xlabel("round")
    axes.set_ylabel("relative edge")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    return _svg(figure, "rounds")


def early_plot(points: Sequence[EarlyPoint], task: Task = "classification") -> str:
    """Metric against the fraction of the sequence seen: every stage, darker the later."""
    figure, [axes] = _canvas()
    fractions = [point.fraction for point in points]
    stages = list(zip(*(point.stages for point in points), strict=True))
    for stage, values in enumerate(stages, start=1):
        shade = 0.25 + 0.75 * stage / len(stages)
        label = f"stage {stage}" if stage in (1, len(stages)) else None
        axes.plot(fractions, values, "o-", color="#1f6feb", alpha=shade, label=label, markersize=4)
    teacher = [(point.fraction, point.teacher) for point in points if point.teacher is not None]
    if teacher:
        axes.plot(*zip(*teacher, strict=True), "--", color="#888", label="teacher")
    axes.set_xlabel("fraction of the sequence seen")
    axes.set_ylabel(TEST_METRIC[task])
    axes.legend(frameon=False)
    return _svg(figure, "early")


def pareto_plot(points: Sequence[Point], front: Sequence[Point], cost: str) -> str:
    """Validation metric of every point against a cost, with the front as a line of steps."""
    figure, [axes] = _canvas()
    axes.plot(*_columns(points, cost), ".", color="#bbb", label="stages")
    axes.plot(*_columns(front, cost), "o-", color="#1f6feb", drawstyle="steps-post", label="front")
    _powers_of_ten_apart(axes)
    axes.set_xlabel(COST_LABELS[cost])
    axes.set_ylabel("validation accuracy, micro F1 or R²")
    axes.legend(frameon=False)
    return _svg(figure, "pareto")


def bench_plot(timings: Sequence[Timing], task: Task) -> str:
    """Metric against cost relative to the teacher's: FLOPs beside measured time, one example."""
    figure, [axes] = _canvas()
    single = [t for t in timings if t.way == "straight" and t.batch == timings[0].batch]
    curves = {"FLOPs": ("torch", "flops_ratio"), "torch": ("torch", "ratio")}
    curves |= {"onnxruntime": ("onnxruntime", "ratio")}
    for (label, (runtime, cost)), colour in zip(curves.items(), COLOURS, strict=True):
        points = [(getattr(t, cost), t.metric) for t in single if t.runtime == runtime]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=label, markersize=4)
    teacher = next(t for t in timings if t.way == "teacher")
    axes.plot([1], [teacher.metric], "s", color="#888", label="teacher")
    _powers_of_ten_apart(axes)
    axes.set_xlabel("cost relative to the teacher's")
    axes.set_ylabel(TEST_METRIC[task])
    axes.legend(frameon=False)
    return _svg(figure, "bench")


def cells_plot(table: pd.DataFrame, data: str) -> str:
    """The mean anytime curve of every cell of an experiment on one data set, over its seeds."""
    figure, [axes] = _canvas()
    own = table[table.data == data]
    for cell, rows in own.groupby("cell", sort=False):
        means = rows.groupby("stage")[["flops", "metric"]].mean()
        axes.plot(means.flops, means.metric, "o-", label=cell, markersize=3, linewidth=1)
    axes.axhline(own.teacher.mean(), color="#888", linestyle="--", linewidth=1)
    _powers_of_ten_apart(axes)
    axes.set_xlabel("FLOPs an example")
    axes.set_ylabel("test metric, mean over seeds")
    axes.set_title(data)
    axes.legend(frameon=False, fontsize=7)
    return _svg(figure, f"cells-{data}")


def times_plot(table: pd.DataFrame, data: str) -> str:
    """Share of the teacher's metric against share of its time, method by method, over the seeds.

    As Figure 2 of the B-DISTIL paper has it. Bars are a standard deviation over the seeds.

    Args:
        table: a row a stage, with `cell`, `stage`, `metric`, `teacher` and `latency_ratio`.
        data: of which data set.
    """
    figure, [axes] = _canvas()
    own = table[table.data == data].assign(share=lambda rows: rows.metric / rows.teacher)
    for cell, rows in own.groupby("cell", sort=False):
        stages = rows.astype({"latency_ratio": float}).groupby("stage")[["latency_ratio", "share"]]
        means, spread = stages.mean(), stages.std().fillna(0.0)
        axes.errorbar(
            means.latency_ratio,
            means.share,
            xerr=spread.latency_ratio,
            yerr=spread.share,
            fmt="o-",
            label=str(cell).removeprefix("method="),
            markersize=3,
            linewidth=1,
            elinewidth=0.6,
        )
    axes.axhline(1.0, color="#888", linestyle="--", linewidth=1)
    axes.set_xlabel("time of one example, of the teacher's")
    axes.set_ylabel("test metric, of the teacher's")
    axes.set_title(data)
    axes.legend(frameon=False, fontsize=7)
    return _svg(figure, f"times-{data}")


def _columns(points: Sequence[Point], cost: str) -> tuple[list[float], list[float]]:
    return [getattr(point, cost) for point in points], [point.validation for point in points]


def _canvas(panels: int = 1) -> tuple[Any, Any]:
    """A figure and the axes of its panels, side by side."""
    figure = require("matplotlib.figure", "search").Figure(figsize=(6.4, 3.8), layout="constrained")
    row = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    for axes in row:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, row


def _powers_of_ten_apart(axes: Any) -> None:
    """A logarithmic axis of costs, labelled as people say them: 500, 2k, 10M."""
    ticker = require("matplotlib.ticker", "search")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())


def _check_date() -> None:
    """Refuse what matplotlib would trip over: it reads the date of builds, if only to drop it.

    Raises:
        SpecError: if the environment has one that is none.
    """
    date = os.environ.get("SOURCE_DATE_EPOCH")
    if date and not (date.isascii() and date.isdigit() and int(date) <= LAST_DATE):
        raise SpecError(
            f"SOURCE_DATE_EPOCH is {date!r}; give seconds since 1970, 0 to {LAST_DATE}, or unset "
            "it."
        )


def _svg(figure: Any, name: str) -> str:
    """The figure as an element for HTML; `name` keeps its ids apart from another plot's."""
    _check_date()
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return re.sub(r'( id="|href="#|url\(#)', rf"\1{name}-", text[text.index("<svg") :])
