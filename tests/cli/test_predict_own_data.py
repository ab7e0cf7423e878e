"""`bdistil predict` takes what the search took: folders, hub Parquet and tables with gaps."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_files as files
import pandas as pd
import pyarrow.parquet as pq
import pytest

from bdistil import Predictor, read_examples
from bdistil.errors import DataError

Command = Callable[..., Any]
QUICK = (
    *("workers.count=0", "search.rounds=2", "search.tries_per_class=1", "space.epochs=20"),
    *("teacher.epochs=30", "space.ladder=[4]"),
)


def predicted(bdistil: Command, *arguments: object) -> tuple[list[dict[str, str]], str]:
    answer = bdistil("predict", *arguments)
    assert answer.status == 0, answer.errors
    return list(csv.DictReader(io.StringIO(answer.printed))), answer.errors


@pytest.fixture
def photographs(bdistil: Command, tmp_path: Path) -> Path:
    """A run whose students know colours."""
    run = tmp_path / "run"
    folder = files.write_photographs(tmp_path / "mine", 12)
    assert bdistil("search", "--data", folder, "--out", run, *QUICK).status == 0
    return run


def test_photographs_in_folders_of_any_shape(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "holiday"
    for name in files.COLOURS:
        for number in range(2):
            (folder / "deep").mkdir(parents=True, exist_ok=True)
            picture = files.photograph(name, number, (48, 24))
            picture.save(folder / "deep" / f"{name}-{number}.jpg")
    rows, errors = predicted(bdistil, photographs, tmp_path / "new")
    assert [row["file"] for row in rows][:2] == [
        "holiday/deep/cherry-0.jpg",
        "holiday/deep/cherry-1.jpg",
    ]
    assert all(row["file"].split("/")[-1].startswith(row["prediction"]) for row in rows)
    assert "accuracy" not in errors
    rows, _ = predicted(bdistil, photographs, folder / "deep" / "sky-1.jpg", "--proba")
    assert rows[0]["file"] == "sky-1.jpg"
    assert rows[0]["prediction"] == "sky"
    assert {"probability_cherry", "probability_leaf", "probability_sky"} < {*rows[0]}


def test_folders_that_are_classes_are_compared(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    new = files.write_photographs(tmp_path / "test", 3, ".webp")
    _, errors = predicted(bdistil, photographs, new)
    assert "accuracy on the labels in" in errors
    assert errors.endswith("test: 1.0000\n")
    _, errors = predicted(bdistil, photographs, new / "sky")  # itself named as a class
    assert errors.endswith("sky: 1.0000\n")


def test_files_of_other_kinds_are_counted(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    new = files.write_photographs(tmp_path / "new", 1)
    files.photograph("sky", 1).save(new / "sky" / "animated.gif")
    (new / "notes.txt").write_text("of the trip")
    rows, errors = predicted(bdistil, photographs, new)
    assert len(rows) == 3
    assert "new: 2 other files are left out (.gif, .txt)" in errors


def test_of_folders_a_column_called_label_is_compared_with(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    table = pq.read_table(files.write_hub_table(tmp_path / "hub.parquet", 3))
    rows, errors = predicted(bdistil, photographs, tmp_path / "hub.parquet")
    assert len(rows) == len(table)
    assert "accuracy on the labels in" in errors


def test_python_reads_as_the_command_does(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    new = files.write_photographs(tmp_path / "new", 2, ".jpg", (30, 40))
    rows, _ = predicted(bdistil, photographs, new, "--proba")
    predictor = Predictor(photographs)
    x = read_examples(predictor, new)
    assert x.shape == (6, 3, 24, 24)
    names = predictor.manifest.class_names
    expected = [[float(row[f"probability_{name}"]) for name in names] for row in rows]
    np.testing.assert_allclose(predictor.predict_proba(x), expected, atol=1e-5)
    one = read_examples(predictor, str(new / "sky" / "01.jpg"))
    np.testing.assert_array_equal(one[0], x[-1])
    content = (new / "sky" / "01.jpg").read_bytes()
    for encoded in ([content], ["a.jpg", "b.jpg"], [{"bytes": content, "path": None}]):
        with pytest.raises(DataError, match=r"decoded by bdistil\.read_examples"):
            predictor.predict(encoded)


def test_a_table_without_rows_is_refused(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    whole = pq.read_table(files.write_hub_table(tmp_path / "mine.parquet", 3))
    pq.write_table(whole.slice(0, 0), tmp_path / "none.parquet")
    answer = bdistil("predict", photographs, tmp_path / "none.parquet")
    assert answer.status == 2
    assert "the table has no rows" in answer.errors


def test_a_damaged_photograph_and_a_file_of_another_kind_are_named(
    bdistil: Command, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "broken.png").write_bytes(b"\x89PNG nothing")
    answer = bdistil("predict", photographs, tmp_path / "new")
    assert answer.status == 2
    assert "broken.png (no image that Pillow reads)" in answer.errors
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "sound.flac").write_bytes(b"fLaC")
    for other in ("table.csv", "sound.flac"):
        answer = bdistil("predict", photographs, tmp_path / other)
        assert answer.status == 2
        assert "training used photographs; give a file or a folder of them (.jpg" in answer.errors


def test_hub_tables_give_labels_and_columns_to_keep(bdistil: Command, tmp_path: Path) -> None:
    run, names = tmp_path / "run", [f"id-{row:03d}" for row in range(36)]
    table = files.write_hub_table(tmp_path / "mine.parquet", 36, name=names)
    assert bdistil("search", "--data", table, "--out", run, *QUICK).status == 0
    rows, errors = predicted(bdistil, run, table, "--keep", "name", "--keep", "label")
    assert [row["name"] for row in rows] == names
    assert [row["label"] for row in rows] == [str(row % 3) for row in range(36)]
    assert "accuracy on the labels in" in errors
    right = [row["prediction"] == list(files.COLOURS)[int(row["label"])] for row in rows]
    assert errors.endswith(f"{np.mean(right):.4f}\n")
    content = pq.read_table(table)
    renamed = content.rename_columns(["picture", "label", "name"])
    pq.write_table(renamed.replace_schema_metadata(None), tmp_path / "new.parquet")
    again, _ = predicted(bdistil, run, tmp_path / "new.parquet")
    assert [row["prediction"] for row in again] == [row["prediction"] for row in rows]


def test_recordings_in_a_folder(bdistil: Command, tmp_path: Path) -> None:
    pytest.importorskip("torchaudio")
    run = tmp_path / "run"
    folder = files.write_recordings(tmp_path / "mine", 10)
    assert bdistil("search", "--data", folder, "--out", run, *QUICK).status == 0
    rows, errors = predicted(bdistil, run, files.write_recordings(tmp_path / "new", 3, ".flac"))
    assert rows[0]["file"] == "high/00.flac"
    assert "accuracy on the labels in" in errors


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_identifiers_are_carried_to_the_answers(
    bdistil: Command, tmp_path: Path, suffix: str
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 2)), columns=["a", "b"])
    frame["code"] = [f"{row:05d}" for row in range(120)]
    frame["y"] = np.where(frame.a > 0, 7, 3)
    frame.loc[::10, "b"] = np.nan
    path, run = tmp_path / f"t.{suffix}", tmp_path / "run"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    search = ("search", "--data", path, "--label", "y", "--out", run, *QUICK)
    assert bdistil(*search).status == 0
    rows, _ = predicted(bdistil, run, path, "--keep", "code", "--keep", "b")
    assert list(rows[0]) == ["code", "b", "prediction", "probability"]
    assert [row["code"] for row in rows] == list(frame.code)
    assert [row["b"] == "" for row in rows] == list(frame.b.isna())
    answer = bdistil("predict", run, path, "--keep", "cod")
    assert answer.status == 2
    assert "--keep names column 'cod', which is missing; did you mean 'code'?" in answer.errors
    clashing = frame.assign(prediction=1)
    clashing.to_csv(tmp_path / "clash.csv", index=False)
    answer = bdistil("predict", run, tmp_path / "clash.csv", "--keep", "prediction")
    assert (answer.status, "as a column of the answers is called" in answer.errors) == (2, True)
    np.save(tmp_path / "x.npy", np.zeros((2, 3), np.float32))
    answer = bdistil("predict", run, tmp_path / "x.npy", "--keep", "code")
    assert "arrays have no columns to keep" in answer.errors


def test_rows_of_json_may_leave_out_what_may_be_missing(bdistil: Command, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=80), "b": random.normal(size=80)})
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    frame.loc[::3, "b"] = np.nan
    frame.to_json(tmp_path / "mine.jsonl", orient="records", lines=True)
    run = tmp_path / "run"
    data = ("--data", tmp_path / "mine.jsonl", "--label", "y")
    assert bdistil("search", *data, "--out", run, *QUICK).status == 0
    (tmp_path / "new.jsonl").write_text('{"a": 2.0}\n{"a": -2.0}\n')
    assert [row["prediction"] for row in predicted(bdistil, run, tmp_path / "new.jsonl")[0]] == [
        "yes",
        "no",
    ]
    (tmp_path / "new.jsonl").write_text('{"b": 2.0}\n')
    answer = bdistil("predict", run, tmp_path / "new.jsonl")
    assert (answer.status, "the table lacks column 'a'" in answer.errors) == (2, True)
