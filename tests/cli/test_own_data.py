"""A search on the user's own folder: what was read is said, kept and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_files as files
import pytest

from bdistil.searching.result import SearchResult

QUICK = (
    *("workers.count=0", "search.rounds=1", "search.tries_per_class=1", "space.epochs=1"),
    *("teacher.epochs=1", "space.ladder=[2]"),
)


@pytest.mark.parametrize("kind", ["photographs", "recordings"])
def test_a_folder_can_be_searched(bdistil: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    pytest.importorskip("torchaudio")
    write = files.write_photographs if kind == "photographs" else files.write_recordings
    folder, run = write(tmp_path / "mine", 10), tmp_path / "run"
    answer = bdistil("search", "--data", folder, "--out", run, *QUICK)
    assert answer.status == 0, answer.errors
    card = SearchResult.of(run).data_card
    assert card is not None
    assert card.source == "folder mine"
    said = "\n  ".join(card.lines())
    assert said in answer.errors
    assert f"{kind}: " in said
    assert said in bdistil("status", run).printed
    status = json.loads(bdistil("status", run, "--json").printed)
    assert status["data"] == json.loads((run / "data.json").read_text())
    assert status["data"]["splits"]["test"] == card.splits["test"]
    page = (run / "report.html").read_text()
    assert "by chance, stratified by class" in page
    assert bdistil("search", "--data", folder, "--out", run, *QUICK).status == 0


def test_splits_of_their_own_are_part_of_the_spec(
    bdistil: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.write_photographs(tmp_path / "mine").parent)
    files.write_photographs(tmp_path / "theirs", 2)
    run = tmp_path / "run"
    arguments = ("search", "--data", "mine", "--out", run, "data.test_path=theirs", *QUICK)
    assert bdistil(*arguments).status == 0
    monkeypatch.chdir("/")
    assert bdistil("report", run).status == 0  # paths are absolute in the run
    answer = bdistil("search", "--data", tmp_path / "mine", "--out", run, *QUICK)
    assert answer.status == 2
    assert "holds another search (data.test_path is 'a file' there and None here)" in answer.errors
