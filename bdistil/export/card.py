"""The model card of a saved ensemble, as model hubs expect it: ``README.md``."""

from __future__ import annotations

import html
import json

from bdistil.export.config import EnsembleConfig
from bdistil.export.evaluation import Evaluation
from bdistil.names import METRIC
from bdistil.runtime.clock import microseconds, told_ratio
from bdistil.version import version_and_commit
from bdistil.words import counted

MOST_NAMES = 20
HUB_TASKS = {
    ("tabular", "classification"): "tabular-classification",
    ("tabular", "regression"): "tabular-regression",
    ("image", "classification"): "image-classification",
}

CARD = """\
---
library_name: bdistil
tags: [progressive-ensemble, knowledge-distillation, anytime-inference]
{hub_task}---
# {name}

A progressive ensemble: {count}, distilled from one large teacher. Stages answer one after another,
each at a cost of its own, so inference can stop at any time, or run straight to the stage that a
budget allows.

- **Task**: {task}
- **Input**: {inputs}
- **Students**: {students}

{curve}## Use

```python
import bdistil  # pip install 'bdistil[torch]'

ensemble = bdistil.Ensemble.from_pretrained("path/to/this/folder")
ensemble.predict({x})            # all stages
ensemble.predict({x}, stages=1)  # straight to a stage, which costs no more than that stage
for logits in ensemble.stages(ensemble.as_inputs({x})):
    ...  # one answer after another; leave the loop at any time
```

```shell
bdistil predict path/to/this/folder {file} --stages 1 --out answers.csv
```

Written by bdistil {version}.
"""


def model_card(config: EnsembleConfig) -> str:
    """The card as Markdown with the header that hubs read."""
    hub_task = HUB_TASKS.get((config.domain, config.task))
    return CARD.format(
        hub_task=f"pipeline_tag: {hub_task}\n" if hub_task else "",
        name=_plain(config.name),
        count=counted(len(config.students), "small network"),
        task=_task(config),
        inputs=_inputs(config),
        students=", ".join(f"{s.kind}-{s.width} ({s.connection})" for s in config.students),
        curve="" if config.figures is None else _curve(config.figures),
        x="x" if config.columns is None else "frame",
        file=_file(config),
        version=version_and_commit(),
    )


def _task(config: EnsembleConfig) -> str:
    if config.class_names is None:
        return f"regression, {counted(config.outputs, 'target')}"
    if config.task == "multilabel":
        return f"{counted(config.outputs, 'label')}, each holds or not: {_list(config.class_names)}"
    return f"classification, {config.outputs} classes: {_list(config.class_names)}"


def _inputs(config: EnsembleConfig) -> str:
    if config.columns is not None:
        names, series = _list(config.columns.names), config.columns.series
        rows = f"rows of a table (a DataFrame, CSV or Parquet) with the columns {names}"
        if series is None:
            return rows
        if series.across:
            return f"{rows}, the steps of a series in this order"
        if series.column is None:
            return (
                f"rows of a table (a DataFrame, Parquet or JSON) with the columns {names}: lists "
                "of the steps of a series each, or one value for all of them"
            )
        order = "" if series.time is None else f", in the order of {_plain(series.time)}"
        return f"{rows}, those of one {_plain(series.column)} the steps of a series{order}"
    shape = ", ".join(map(str, ("batch", *config.input_shape)))
    if config.form is not None:
        medium = config.form["medium"]
        return (
            f"{medium}s in files or a folder, by `bdistil predict`, which decodes them as for the "
            f"search; in Python float32 ({shape}), which `bdistil.read_examples(predictor, PATH)` "
            "decodes alike: standardisation is built in"
        )
    return f"float32 ({shape}), as measured: standardisation is built in"


def _file(config: EnsembleConfig) -> str:
    """What `bdistil predict` could be given."""
    if config.form is not None:
        return f"{config.form['medium']}s/"
    return "data.npz" if config.columns is None else "data.csv"


def _curve(figures: Evaluation) -> str:
    """The anytime curve as a table."""
    teacher, metric = figures.teacher, METRIC[figures.task]
    rows = [
        (
            "stage",
            metric,
            "time, µs",
            "of the teacher's",
            "FLOPs",
            "of the teacher's",
            "parameters",
        ),
        ("---:",) * 7,
        *(
            (
                str(stage.stage),
                f"{stage.metric:.4f}",
                "–" if stage.latency is None else microseconds(stage.latency),
                "–" if stage.latency_ratio is None else f"{told_ratio(stage.latency_ratio)}×",
                f"{stage.flops:,}",
                "–" if stage.flops_fraction is None else f"{stage.flops_fraction:.1%}",
                f"{stage.parameters:,}",
            )
            for stage in figures.stages
        ),
        (
            "teacher",
            f"{teacher.metric:.4f}",
            "–" if teacher.latency is None else microseconds(teacher.latency),
            "",
            "–" if teacher.flops is None else f"{teacher.flops:,}",
            "",
            "–" if teacher.parameters is None else f"{teacher.parameters:,}",
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"## Anytime curve\n\n{table}\n\n{metric[0].upper()}{metric[1:]} on {figures.examples:,} "
        "test examples. Time: of one example, one thread, run straight to the stage, measured "
        f"{figures.timed_by}; FLOPs likewise of one example.\n\n"
        + "".join(f"{_plain(note)}\n\n" for note in figures.notes)
    )


def _list(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(_plain(json.dumps(name, ensure_ascii=False)) for name in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _plain(text: str) -> str:
    """Text that Markdown and HTML leave alone."""
    return "".join("\\" + c if c in "\\`*_[]#|" else c for c in html.escape(text, quote=False))
