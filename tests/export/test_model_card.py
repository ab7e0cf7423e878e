"""The README.md beside the weights tells what the model is and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_ensembles import small_ensemble

from bdistil.export.evaluation import Evaluation, StageFigures, TeacherFigures

DENSE = (("mlp", 3, "dense", True), ("mlp", 4, "dense", True))


def stage(number: int, teacher_known: bool) -> StageFigures:
    return StageFigures(
        stage=number,
        metric=0.5 + number / 10,
        flops=1000 * number,
        streamed_flops=1500 * number,
        flops_fraction=number / 10 if teacher_known else None,
        parameters=70 * number,
        latency=1.2345e-5,
        latency_ratio=0.25 if teacher_known else None,
    )


def figures(teacher_known: bool = True) -> Evaluation:
    costs = (10_000, 700) if teacher_known else (None, None)
    teacher = TeacherFigures(metric=0.9, flops=costs[0], parameters=costs[1])
    stages = (stage(1, teacher_known), stage(2, teacher_known))
    return Evaluation(task="classification", examples=1234, teacher=teacher, stages=stages)


def card(folder: Path, **changes: Any) -> str:
    small_ensemble(*DENSE, **changes).save_pretrained(folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def header(text: str) -> dict[str, Any]:
    _, front, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def test_a_card_names_task_classes_and_every_stage(tmp_path: Path) -> None:
    text = card(tmp_path, figures=figures())
    assert header(text)["pipeline_tag"] == "tabular-classification"
    assert 'classification, 3 classes: "class 0", "class 1", "class 2"' in text
    assert "| 1 | 0.6000 | 12.3 | 0.25× | 1,000 | 10.0% | 70 |" in text
    assert "| 2 | 0.7000 | 12.3 | 0.25× | 2,000 | 20.0% | 140 |" in text
    assert "| teacher | 0.9000 | – |  | 10,000 |" in text
    assert "1,234 test examples" in text


def test_a_card_does_without_figures_and_without_the_teachers_cost(tmp_path: Path) -> None:
    assert "Anytime curve" not in card(tmp_path)
    assert "| 2 | 0.7000 | 12.3 | – | 2,000 | – | 140 |" in card(tmp_path, figures=figures(False))


def test_the_python_of_a_card_runs(tmp_path: Path) -> None:
    text = card(tmp_path, name="my model")
    code = text.split("```python\n")[1].split("```")[0]
    assert "ensemble.predict(x, stages=1)" in code
    exec(code.replace("path/to/this/folder", str(tmp_path)), {"x": torch.zeros(2, 5)})


def test_a_card_of_a_table_names_its_columns(tmp_path: Path) -> None:
    features = [{"name": "Längen|maß_a", "categories": None}]
    features += [{"name": "place", "categories": ["a", "b", "c", "d"]}]
    text = card(tmp_path, columns={"features": features, "label": "y"})
    assert r'with the columns "Längen\|maß\_a", "place"' in text
    assert "predict(frame)" in text
    assert "data.csv" in text


@pytest.mark.parametrize(
    ("series", "said"),
    [
        (
            {"column": "who", "time": "t_0"},
            r"those of one who the steps of a series, in the order of t\_0",
        ),
        ({"column": "who"}, "those of one who the steps of a series\n"),
        ({}, "lists of the steps of a series each, or one value for all of them"),
        ({"across": True}, 'with the columns "a", the steps of a series in this order\n'),
    ],
)
def test_a_card_of_series_says_what_a_series_is(tmp_path: Path, series: dict, said: str) -> None:
    columns = {"features": [{"name": "a"}], "label": "y", "series": {"steps": 5, **series}}
    assert said in card(tmp_path, columns=columns)


def test_a_card_of_recordings_names_files(tmp_path: Path) -> None:
    text = card(tmp_path, form={"medium": "recording"})
    assert "recordings in files or a folder" in text
    assert "predict path/to/this/folder recordings/ --stages" in text


@pytest.mark.parametrize("name", ["<script>alert(1)<script>", "a: b", "x # y", "--- \u2028"])
def test_a_hostile_name_stays_text(tmp_path: Path, name: str) -> None:
    text = card(tmp_path, name=name, class_names=("<b>", "`", "\n# title"))
    assert "<script>" not in text
    assert "<b>" not in text
    assert "\n# title" not in text
    assert header(text)["library_name"] == "bdistil"


def test_many_classes_are_cut_short(tmp_path: Path) -> None:
    ensemble = small_ensemble(*DENSE, outputs=300)
    ensemble.save_pretrained(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "300 classes" in text
    assert "and 280 more" in text
    assert len(text) < 3000
