"""The report of a run: one self-contained page that says what the files say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import PATIENCE, tiny

import bdistil
from bdistil.errors import SpecError
from bdistil.export.early_prediction import EarlyPoint
from bdistil.export.evaluation import Evaluation, StageFigures, TeacherFigures
from bdistil.report.plots import anytime_plot, early_plot
from bdistil.report.report import headline, render, write_report
from bdistil.runs.run_directory import RunDirectory
from bdistil.runtime.clock import microseconds
from bdistil.searching.result import SearchResult

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page taken apart: checks that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.table: list[list[str]] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attributes)
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            if values.get(name):
                self.references.append(str(values[name]))
        if tag == "table":
            self.table = self.tables.setdefault(str(values["id"]), [])
        elif tag == "tr" and self.table is not None:
            self.table.append([])
        elif tag in ("td", "th") and self.table is not None:
            self.table[-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.table = None

    def handle_data(self, data: str) -> None:
        if self.table and self.table[-1] and self.open[-1] in ("td", "th", "span"):
            self.table[-1][-1] += data.strip()


def test_a_report_is_one_well_formed_page_without_outside_references(run: Path) -> None:
    text = write_report(SearchResult.of(run)).read_text(encoding="utf-8")
    page = Page(text)
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"@import|url\((?!#)|<script", text)
    assert page.tags.count("svg") == 2
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids)), "two plots share names of shapes"


def test_its_tables_hold_the_figures_of_the_files(run: Path) -> None:
    page = Page(render(SearchResult.of(run)))
    evaluation = json.loads((run / "evaluation.json").read_text())
    _, *rows, teacher = page.tables["stages"]
    assert len(rows) == 3
    scores = evaluation["scores"]
    for row, stage, own in zip(rows, evaluation["stages"], scores["stages"], strict=True):
        assert row[0] == str(stage["stage"])
        assert row[1] == f"{stage['metric']:.4f}"
        accuracy = own["scores"]["accuracy"]
        assert accuracy["value"] == pytest.approx(stage["metric"])
        assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
        assert row[2] == f"{accuracy['low']:.3f}–{accuracy['high']:.3f}"
        assert row[5] == microseconds(stage["latency"])
        assert row[6] == f"{stage['latency_ratio']:.2f}×"
        assert row[7:11] == [
            f"{stage['flops']:,}",
            f"{stage['flops_fraction']:.1%}",
            f"{stage['streamed_flops']:,}",
            f"{stage['parameters']:,}",
        ]
    assert teacher[:2] == ["teacher", f"{evaluation['teacher']['metric']:.4f}"]
    measures = {row[0]: row[1:] for row in page.tables["scores"][1:]}
    assert {*measures} == {"accuracy", "balanced accuracy", "macro F1", "log loss", "AUC"}
    assert all(len(cells) == len(rows) + 1 for cells in measures.values())
    assert sum(int(row[1]) for row in page.tables["classes"][1:]) == evaluation["examples"]
    records = RunDirectory(run).journal.read()
    assert [row[0] for row in page.tables["rounds"][1:]] == ["1", "2", "3"]
    for row, record in zip(page.tables["rounds"][1:], records, strict=True):
        assert row[1] == f"{record.student.kind}-{record.student.width}"
        assert f"{record.result.relative_edge:+.3f}" in row[5]


@pytest.mark.parametrize("name", ["<script>alert(1)<script>", "{{ 7 * 7 }}", '"><img src=x>', "&"])
def test_a_hostile_name_stays_text(run: Path, name: str) -> None:
    directory = RunDirectory(run)
    directory.create(directory.spec().model_copy(update={"name": name}))
    text = render(SearchResult(directory))
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", text)[0]


def stage(number: int, **changes: Any) -> StageFigures:
    figures = {
        "stage": number,
        "metric": 0.8,
        "flops": 100,
        "streamed_flops": 100,
        "flops_fraction": None,
        "parameters": 10,
        "latency_ratio": None,
    }
    return StageFigures(**(figures | changes))


def evaluation(teacher: float, *stages: StageFigures) -> Evaluation:
    figures = TeacherFigures(metric=teacher, flops=None, parameters=None)
    return Evaluation(task="regression", examples=3, teacher=figures, stages=stages)


def test_a_headline_for_any_teacher() -> None:
    assert "0.8000 (80.0% of the teacher's)" in headline(evaluation(1.0, stage(1), stage(2)))
    for useless in (0.0, -0.5):
        sentence = headline(evaluation(useless, stage(1)))
        assert sentence == f"The only student reaches test R² 0.8000 (the teacher: {useless:.4f})."


def test_a_curve_for_a_teacher_without_costs() -> None:
    assert anytime_plot(evaluation(0.5, stage(1))).startswith("<svg")


@pytest.mark.parametrize("date", ["yesterday", "-1", "9" * 14])
def test_a_date_of_builds_that_is_none(monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    with pytest.raises(SpecError, match=f"SOURCE_DATE_EPOCH is '{date}'; give seconds since 1970"):
        anytime_plot(evaluation(0.5, stage(1)))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert anytime_plot(evaluation(0.5, stage(1))).startswith("<svg")


def test_early_prediction_shows_every_stage_and_the_teacher() -> None:
    points = [
        EarlyPoint(fraction=share, stages=(share / 2, share), teacher=0.9) for share in (0.5, 1)
    ]
    plot = early_plot(points)
    assert plot.startswith("<svg")
    without = [point.model_copy(update={"teacher": None}) for point in points]
    assert len(early_plot(without)) < len(plot)


def test_a_report_on_sequences_has_a_table_of_early_prediction(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 6, 2)).astype(np.float32), np.arange(90) % 3
    np.savez(tmp_path / "own.npz", x=x + y[:, None, None], y=y)
    here = ("workers.count=0", "search.rounds=2")
    spec = tiny(*here, "space.student=gru", "space.ladder=[2, 3]").model_dump(mode="json")
    spec["data"] = {"path": str(tmp_path / "own.npz")}
    spec["teacher"] |= {"model": "gru", "options": {"width": 4}}
    directory = RunDirectory(bdistil.search(spec, tmp_path / "run").directory)
    page = Page(render(SearchResult(directory)))
    header, *rows = page.tables["early"]
    assert header == ["seen", "stage 1", "stage 2", "teacher"]
    assert [row[0] for row in rows] == [f"{tenth}0%" for tenth in range(1, 11)]
    assert rows[-1][1:] == [row[1] for row in page.tables["stages"][1:]]
    assert page.tags.count("svg") == 3


@pytest.mark.browser
def test_a_browser_shows_tables_and_plots(run: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not on PATH")
    report = write_report(SearchResult.of(run))
    options = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"]
    command = [browser, *options, f"--user-data-dir={tmp_path}", "--window-size=1100,1500"]
    picture = tmp_path / "report.png"
    subprocess.run(
        [*command, f"--screenshot={picture}", report.as_uri()],
        capture_output=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert picture.read_bytes().startswith(b"\x89PNG")
    done = subprocess.run(
        [*command, "--dump-dom", report.as_uri()],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.count("<svg") == 2
    assert done.stdout.count("<table") == 4
    assert done.stdout.count("<tr") == 2 + 3 + 1 + 3 + (1 + 5) + (1 + 4)  # measures, classes
