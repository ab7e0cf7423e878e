"""Journals, cards, figures and students of any content: a run is read, or refused in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fuzzing import damaged, fuzz, mutated, right_or_one_sentence
from hypothesis import given
from hypothesis import strategies as st
from tally import tally

from bdistil.export import evaluation
from bdistil.report.report import render
from bdistil.searching.result import SearchResult

pytestmark = pytest.mark.filterwarnings("ignore")
JSON = ("rounds.jsonl", "evaluation.json", "data.json", "teacher/config.json")


@pytest.fixture(scope="module", autouse=True)
def untimed() -> Iterator[None]:
    """Figures that are computed anew are not timed anew, which takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        nothing = lambda ensemble, *_: ([1.0] * len(ensemble), None)  # noqa: E731
        patch.setattr(evaluation, "stage_latencies", nothing)
        yield


@pytest.fixture(scope="module")
def copy(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "run"))


def read(run: Path) -> None:
    with right_or_one_sentence():
        result = SearchResult.of(run)
        assert result.rounds is not None
        _ = result.data_card, result.ended, result.complete
        if result.rounds:
            assert 0 <= result.evaluation.teacher.metric <= 1
            render(result)


def with_other_content(run: Path, name: str, content: bytes, whole: Path) -> None:
    (run / name).write_bytes(content)
    try:
        read(run)
    finally:
        for each in (name, "evaluation.json"):
            shutil.copy(whole / each, run / each)


@fuzz(40)
@given(st.data())
def test_damaged_files(finished_run: Path, copy: Path, data: st.DataObject) -> None:
    files = sorted(path for path in finished_run.rglob("*") if path.is_file())
    name = str(data.draw(st.sampled_from(files)).relative_to(finished_run))
    content = data.draw(damaged((finished_run / name).read_bytes()))
    with_other_content(copy, name, content, finished_run)


@fuzz(60)
@given(st.sampled_from(JSON), st.data())
def test_fields_of_any_value(
    finished_run: Path, copy: Path, name: str, data: st.DataObject
) -> None:
    lines = (finished_run / name).read_text().splitlines()
    texts = lines if name.endswith("jsonl") else ["\n".join(lines)]
    row = data.draw(st.integers(0, len(texts) - 1))
    texts[row] = json.dumps(data.draw(mutated(json.loads(texts[row]))))
    with_other_content(copy, name, ("\n".join(texts) + "\n").encode(), finished_run)


COMMANDS = ("status", "report", "export", "predict", "pareto")
WORDS = st.one_of(
    st.sampled_from(("--json", "--out", "--stages", "--help", "--int8", "--deadline", "--keep")),
    st.sampled_from(("RUN", "RUN/ensemble", "missing", "/", "", "-", "s3://", "0", "-1", "1e9ms")),
    st.text(max_size=6),
)


@fuzz(80)
@given(st.sampled_from(COMMANDS), st.lists(WORDS, max_size=4))
def test_arguments_of_any_kind(
    bdistil: Callable[..., Any], copy: Path, command: str, words: list[str]
) -> None:
    arguments = [word.replace("RUN", str(copy)) for word in words]
    answer = bdistil(command, *arguments)
    tally("hostile inputs: arguments")
    assert answer.status in (0, 1, 2), answer.errors
    assert "Traceback" not in answer.errors + answer.printed
