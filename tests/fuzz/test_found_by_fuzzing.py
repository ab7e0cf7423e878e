"""What fuzzing has found, each case by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import own_teachers
import pandas as pd
import pytest

from bdistil.data.sources import load_own
from bdistil.errors import BdistilError, DataError, TeacherError
from bdistil.files.column_file import ColumnFile
from bdistil.report.report import render
from bdistil.searching.result import SearchResult
from bdistil.spec import DataSpec

HUGE = {
    "NULs": "\0" * 5_000,
    "one word": "1" + "x" * 50_000,
    "words": "1 and more " * 5_000,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cell", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("column", ["a", "label", "split", "name of a column"])
def test_a_huge_cell_does_not_make_a_huge_sentence(tmp_path: Path, column: str, cell: str) -> None:
    frame = pd.DataFrame({"a": [f"{n}.5" for n in range(90)], "label": [n % 3 for n in range(90)]})
    frame = frame.astype(object)
    settings: dict[str, Any] = {"path": tmp_path / "huge.csv"}
    if column == "split":
        frame["split"] = "train"
        settings["split"] = "split"
    if column == "name of a column":
        frame = frame.rename(columns={"a": cell})
        settings["group"] = cell[:-1]
    else:
        frame.loc[7, column] = cell
    if column == "label":
        settings["task"] = "regression"
    frame.to_csv(settings["path"], index=False)
    with pytest.raises(DataError) as caught:
        load_own(DataSpec(**settings), 0)
    assert len(str(caught.value)) < 1_600
    assert str(caught.value).startswith(str(tmp_path))  # what is left out is in the middle
    assert str(caught.value).endswith(".")


def test_a_short_sentence_is_whole() -> None:
    sentence = f"{'/a/path/of/255/' * 17} cannot be read; " + "words " * 100
    assert str(BdistilError(sentence)) == sentence
    assert str(BdistilError("x" * 399)) == "x" * 399
    assert len(str(BdistilError("x" * 400))) < 400


@pytest.mark.parametrize("missing", ["lr", "gamma"])
def test_a_winner_of_an_older_version_lacks_values(run: Path, missing: str) -> None:
    lines = (run / "rounds.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    del record["result"]["request"]["params"][missing]
    (run / "rounds.jsonl").write_text("\n".join([json.dumps(record), *lines[1:], ""]))
    assert "<td>recipe</td>" in render(SearchResult.of(run))


@pytest.mark.parametrize("whole", [True, False], ids=["in memory", "on demand"])
def test_text_in_parquet_that_is_no_utf8(tmp_path: Path, whole: bool) -> None:
    path = tmp_path / "table.parquet"
    frame = pd.DataFrame({"city": ["Oslo", "Rome"] * 20, "label": [0, 1] * 20})
    frame.to_parquet(path, compression="none")
    path.write_bytes(path.read_bytes().replace(b"Rome", b"\xd2ome"))
    table = ColumnFile([path])
    with pytest.raises(DataError, match=r"cannot be read .*Invalid UTF8"):
        table.read(["city"]) if whole else list(table.frames(["city"], 10))


PICKLES: dict[str, Callable[[bytes], bytes]] = {
    "no magic number": lambda content: b"Q" + content[1:],
    "not even a header": lambda content: b"PK\3\4" + bytes(60),
    "an operation without operands": lambda content: b"\x80\x02Q.",
    "half a file": lambda content: content[: len(content) // 2],
    "nothing": lambda content: b"\0",
}


@pytest.mark.parametrize("damage", PICKLES.values(), ids=PICKLES)
def test_weights_that_only_look_like_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    own_teachers.users_folder(tmp_path, monkeypatch)
    file = Path("weights.pt")
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TeacherError, match=r"weights\.pt (is damaged|holds more than weights)"):
        own_teachers.taught(own_teachers.spec_of("code.py:network", weights="weights.pt"))
