"""Series in tables: steps in rows, in lists or in columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_tables import (
    COUNT,
    LABELS,
    RANDOM,
    expected,
    in_lists,
    in_rows,
    load,
    saved,
    sorted_rows,
)
from tiny import tiny

from bdistil import Predictor
from bdistil.cluster.launch import launch_search
from bdistil.data.new_examples import read_new_examples
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, SpecError
from bdistil.export.predict import predict_file
from bdistil.runtime.manifest import Manifest
from bdistil.runtime.series import SeriesRule, fold, lay_out
from bdistil.spec import DataSpec

FORMS = {
    "rows": (in_rows, "a.csv", {"series": "who", "time": "t"}),
    "shuffled rows": (
        lambda: in_rows().sample(frac=1, random_state=1),
        "a.parquet",
        {"series": "who", "time": "t"},
    ),
    "rows as they stand": (lambda: in_rows().drop(columns="t"), "a.csv", {"series": "who"}),
    "lists": (in_lists, "a.parquet", {}),
    "lists in JSON": (in_lists, "a.jsonl", {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_data(tmp_path: Path, form: str) -> None:
    make, name, spec = FORMS[form]
    dataset = load(make(), tmp_path / name, **spec)
    assert dataset.domain == "sequence"
    assert dataset.padding == 0
    x = expected()
    np.testing.assert_array_equal(sorted_rows(dataset), x[np.lexsort(x[:, -1].T)])
    assert dataset.card is not None
    assert "steps of 60 series" in str(dataset.card)
    assert "3 to 7 each" in str(dataset.card)
    assert dataset.card.classes == {f"c{i}": (12, 4, 4) for i in range(3)}


@pytest.mark.parametrize("form", FORMS)
def test_predictions_are_those_of_the_arrays(tmp_path: Path, form: str) -> None:
    """By file and from Python, in the order of the series' first rows, identifiers beside."""
    make, name, spec = FORMS[form]
    frame = make()
    data = {"path": str(saved(frame, tmp_path / name)), **spec}
    quick = ("teacher={model: cnn1d, epochs: 1}", "space.epochs=1", "space.student=cnn1d")
    launch_search(
        tiny(f"data={data}", *quick, "workers.count=0", "search.rounds=1"), tmp_path / "run"
    )
    predictor = Predictor(tmp_path / "run")
    order = pd.unique(frame["who"]).astype(int) if "who" in frame else np.arange(COUNT)
    answers = predictor.predict(expected()[order])
    np.testing.assert_array_equal(predictor.predict(frame.drop(columns="label")), answers)
    found = predict_file(tmp_path / "run", tmp_path / name, keep=["label"])
    assert [row[-2] for row in found.rows] == answers.tolist()
    assert found.comparison is not None
    assert found.comparison.metric == pytest.approx(np.mean(answers == LABELS[order]))
    if "who" in frame:
        assert found.header[:2] == ["who", "label"]
        assert [row[0] for row in found.rows] == pd.unique(frame["who"]).tolist()
    new = read_new_examples(tmp_path / name, Manifest.read(tmp_path / "run" / "ensemble"))
    np.testing.assert_array_equal(np.concatenate(list(new.batches)), expected()[order])


def test_columns_may_be_steps(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(COUNT, 20)).astype(np.float32)
    frame = pd.DataFrame(x, columns=[f"s{i}" for i in range(20)]).assign(label=LABELS)
    plain = load(frame, tmp_path / "a.parquet")
    assert plain.domain == "tabular"
    assert "s0 to s19 are numbered one after another" in str(plain.card)
    dataset = load(frame, tmp_path / "a.parquet", layout="sequence")
    assert dataset.input_shape == (20, 1)
    assert "numbered" not in str(dataset.card)
    np.testing.assert_array_equal(dataset.train.x[:, :, 0], plain.train.x)
    assert dataset.columns is not None
    np.testing.assert_array_equal(dataset.columns.encode(frame)[:, :, 0], x)
    frame.loc[3, "s4"] = None
    with pytest.raises(DataError, match=r"column 's4' cannot be a step, .*no number in every row"):
        load(frame, tmp_path / "a.parquet", layout="sequence")
    with pytest.raises(SpecError, match=r"data\.layout is for arrays and series"):
        load(frame, tmp_path / "a.parquet", layout="image")


def test_lists_of_one_length_are_asked_about(tmp_path: Path) -> None:
    values = [[1.0 * n, 2.0, 3.0] for n in range(COUNT)]
    lists = pd.DataFrame({"v": values, "age": np.arange(COUNT) % 7, "label": LABELS})
    with pytest.raises(DataError, match=r"in v: vectors, .* data\.layout=vector or .*sequence"):
        load(lists, tmp_path / "a.parquet")
    assert load(lists, tmp_path / "a.parquet", ignore=["v"]).input_shape == (1,)
    dataset = load(lists, tmp_path / "a.parquet", layout="sequence")
    assert dataset.input_shape == (3, 2)
    assert dataset.train.x[0, 1:, 0].tolist() == [2, 3]
    assert len(np.unique(dataset.train.x[0, :, 1])) == 1  # what is no list is that of every step


def test_gaps_categories_and_what_stays_the_same(tmp_path: Path) -> None:
    """A step is encoded as a row of a table is; what tells the series apart is left out."""
    frame = in_rows()
    frame["mode"] = np.where(np.arange(len(frame)) % 3, "on", "off")
    frame["name"] = "n" + frame["who"]
    frame.loc[4, "b"] = None
    with pytest.warns(UserWarning, match="column 'name' is left out: identifiers"):
        dataset = load(frame, tmp_path / "a.csv", series="who", time="t")
    assert dataset.columns is not None
    names = [name for column in dataset.columns.features for name in column.feature_names]
    assert names == ["a", "b", "b is missing", "mode=off", "mode=on"]
    assert (
        dataset.train.x[:, :, 2].sum()
        + dataset.validation.x[:, :, 2].sum()
        + dataset.test.x[:, :, 2].sum()
        == 1
    )


def test_few_long_series_are_cut(tmp_path: Path) -> None:
    frame = in_rows()
    longer = pd.DataFrame(
        {"who": "long", "t": np.arange(40), "a": np.arange(40.0), "b": 0.0, "label": "c0"}
    )
    dataset = load(pd.concat([longer, frame]), tmp_path / "a.csv", series="who", time="t")
    assert dataset.input_shape == (7, 2)
    assert "of 1 the first 7 steps are kept" in str(dataset.card)
    assert sorted_rows(dataset)[:, :, 0].max() == 6


@pytest.mark.parametrize(
    ("change", "spec", "message"),
    [
        (
            {"label": LABELS[np.arange(len(in_rows())) % 3]},
            {},
            r"'label' \(data.label\) holds c0 and c1 in steps of who '000'",
        ),
        (
            {"part": np.where(np.arange(len(in_rows())) % 2, "train", "test")},
            {"split": "part"},
            r"'part' \(data.split\) holds",
        ),
        ({"who": [None] + ["a"] * (len(in_rows()) - 1)}, {}, "column 'who' has 1 missing value"),
        ({"t": [None] + [1] * (len(in_rows()) - 1)}, {}, "column 't' has 1 missing value"),
        ({"t": ["soon"] * len(in_rows())}, {}, "column 't' holds 'soon'"),
        ({}, {"time": "tt"}, "data.time names column 'tt', which is missing"),
        (
            {},
            {"series": "wo"},
            "data.series names column 'wo', which is missing; did you mean 'who'",
        ),
    ],
)
def test_series_that_make_no_sense_are_refused(
    tmp_path: Path, change: dict, spec: dict, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(
            in_rows().assign(**change),
            tmp_path / "a.parquet",
            **{"series": "who", "time": "t", **spec},
        )


def test_lists_that_differ_in_length_are_refused(tmp_path: Path) -> None:
    frame = in_lists()
    frame.at[5, "a"] = frame.at[5, "a"][:-1]
    with pytest.raises(DataError, match=r"lists in row 5 .* 2 in 'a' and 3 in 'b'"):
        load(frame, tmp_path / "a.parquet")
    frame.at[5, "a"] = frame.at[5, "b"] = []
    with pytest.raises(DataError, match="an empty list in row 5"):
        load(frame, tmp_path / "a.parquet")


def test_what_hints_at_mixed_series_is_said(tmp_path: Path) -> None:
    frame = in_rows()
    (tmp_path / "parts").mkdir()
    for part, other in ((frame, "a"), (frame[frame["who"] < "003"], "b")):
        part.to_parquet(tmp_path / "parts" / f"{other}.parquet")
    spec = DataSpec(path=tmp_path / "parts", series="who", time="t")
    card = str(load_dataset(spec, 0).card)
    assert "12 steps have the same t as the one before" in card
    assert "3 series have steps in several files" in card
    assert "same t" not in str(load(frame, tmp_path / "c.parquet", series="who", time="t").card)


def test_longer_new_series_are_told(tmp_path: Path) -> None:
    columns = load(in_rows(), tmp_path / "a.csv", series="who", time="t").columns
    assert columns is not None
    longer = {"who": [1] * 9 + [2], "t": [*range(9), 0], "a": np.arange(10), "b": np.zeros(10)}
    with pytest.warns(UserWarning, match=r"1 of 2 series .*first 7 steps"):
        x = columns.encode(longer)
    assert x[0, :, 0].tolist() == [*range(7)]


@pytest.mark.parametrize("layout", [None, "sequence", "vector"])
def test_large_tables_of_lists_are_read_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str | None
) -> None:
    frame = in_lists()
    if layout is not None:
        frame["a"] = frame["b"] = [[1.0 * n, 2.0] for n in range(COUNT)]
    known = load(frame, tmp_path / "a.parquet", layout=layout)
    monkeypatch.setattr("bdistil.files.column_file.is_large", lambda _: True)
    found = load(frame, tmp_path / "a.parquet", layout=layout)
    assert found.columns == known.columns
    np.testing.assert_array_equal(found.test.x, known.test.x)


def test_steps_that_never_change_stay_steps(tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(COUNT, 4)), columns=list("abcd")).assign(label=LABELS)
    frame["b"] = 0.0
    assert load(frame, tmp_path / "a.csv", layout="sequence").input_shape == (4, 1)


def test_columns_in_another_order_than_their_numbers_are_told(tmp_path: Path) -> None:
    names = sorted(f"s{i}" for i in range(20))
    frame = pd.DataFrame(RANDOM.normal(size=(COUNT, 20)), columns=names).assign(label=LABELS)
    card = str(load(frame, tmp_path / "a.csv", layout="sequence").card)
    assert "from s0 to s9 are the steps, although their numbers are in another order" in card


@pytest.mark.parametrize("form", ["rows", "lists"])
def test_other_lists_are_left_out(tmp_path: Path, form: str) -> None:
    frame, spec = (
        (in_rows(), {"series": "who", "time": "t"}) if form == "rows" else (in_lists(), {})
    )
    frame["tags"] = [["x", "y"]] * len(frame)
    known = load(frame.drop(columns="tags"), tmp_path / "a.parquet", **spec)
    found = load(frame, tmp_path / "a.parquet", **spec, ignore=["tags"])
    np.testing.assert_array_equal(found.test.x, known.test.x)
    with pytest.warns(UserWarning, match="column 'tags' is left out: lists or structures"):
        load(frame, tmp_path / "a.parquet", **spec)
    with pytest.raises(DataError, match=r"data\.label names column 'tags', which holds lists"):
        load(frame.drop(columns="label"), tmp_path / "a.parquet", **spec, label="tags")


def test_lists_beside_series_are_refused(tmp_path: Path) -> None:
    frame = in_lists().assign(who=np.arange(COUNT))
    with pytest.raises(DataError, match=r"column 'a' holds lists of 3 to 7 numbers, no vectors"):
        load(frame, tmp_path / "a.parquet", series="who")
    with pytest.raises(DataError, match=r"data\.series names column 'a', which holds lists"):
        load(frame, tmp_path / "a.parquet", series="a")
    for layout in ("image", "NFT"):
        with pytest.raises(SpecError, match=r"data\.layout is for .* holds lists of steps"):
            load(frame, tmp_path / "a.parquet", layout=layout)


def test_lists_as_text_are_not_taken_for_categories(tmp_path: Path) -> None:
    frame = in_lists().assign(age=np.arange(COUNT) % 7)
    with pytest.warns(UserWarning, match="column 'a' is left out: lists written as text; Parquet"):
        assert load(frame, tmp_path / "a.csv").input_shape == (1,)


def test_refused_values_are_in_the_rows_of_the_file(tmp_path: Path) -> None:
    frame = in_rows().sample(frac=1, random_state=2).reset_index(drop=True)
    frame.loc[228, "a"] = np.inf
    with pytest.raises(DataError, match="'a' has 1 infinite value in row 228 "):
        load(frame, tmp_path / "a.parquet", series="who", time="t")
    columns = load(in_rows(), tmp_path / "b.parquet", series="who", time="t").columns
    assert columns is not None
    with pytest.raises(DataError, match="'a' has 1 infinite value in row 228 "):
        columns.encode(frame)


@pytest.mark.parametrize("form", ["rows", "lists"])
def test_series_without_label_are_left_out(tmp_path: Path, form: str) -> None:
    frame, spec = (
        (in_rows(), {"series": "who", "time": "t"}) if form == "rows" else (in_lists(), {})
    )
    frame.loc[frame["who"] == "003" if form == "rows" else 3, "label"] = None
    card = load(frame, tmp_path / "a.parquet", **spec).card
    assert "steps of 59 series" in str(card)
    assert "without label are left out" in str(card)
    if form == "rows":
        frame.loc[0, "label"] = None
        with pytest.raises(DataError, match=r"holds a value and none in steps of who '000'"):
            load(frame, tmp_path / "a.parquet", **spec)


def test_mixed_new_series_are_told(tmp_path: Path) -> None:
    columns = load(in_rows(), tmp_path / "a.csv", series="who", time="t").columns
    assert columns is not None
    new = in_rows()[in_rows()["who"] == "000"]
    with pytest.warns(UserWarning, match="3 of 6 steps have the same t as the one before"):
        columns.encode(pd.concat([new, new]))


def test_labels_of_new_series_are_those_of_any_step(tmp_path: Path) -> None:
    saved(in_rows(), tmp_path / "a.parquet")
    data = {"path": str(tmp_path / "a.parquet"), "series": "who", "time": "t"}
    quick = ("teacher={model: cnn1d, epochs: 1}", "space.epochs=1", "space.student=cnn1d")
    spec = tiny(f"data={data}", *quick, "workers.count=0", "search.rounds=1")
    launch_search(spec, tmp_path / "run")
    known = predict_file(tmp_path / "run", tmp_path / "a.parquet").comparison
    late = in_rows()
    late.loc[late["t"] == 8, "label"] = None
    found = predict_file(tmp_path / "run", saved(late, tmp_path / "late.parquet")).comparison
    assert known is not None
    assert found == known
    other = in_rows()
    other.loc[other["t"] == 9, "label"] = "c9"
    with pytest.warns(UserWarning, match="label differs within series"):
        predict_file(tmp_path / "run", saved(other, tmp_path / "other.parquet"))
    lists = in_rows().assign(label=[["c0"]] * len(in_rows()))
    predict_file(tmp_path / "run", saved(lists, tmp_path / "lists.parquet"))


@pytest.mark.parametrize("odd", [[[1, 2], [3]], [1, [2]], [], [None, None]])
def test_odd_lists_beside_other_features_are_left_out(tmp_path: Path, odd: list[Any]) -> None:
    rows = [{"a": n / 7, "odd": odd, "label": LABELS[n]} for n in range(COUNT)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.warns(UserWarning, match="column 'odd' is left out: lists or structures"):
        dataset = load_dataset(DataSpec(path=tmp_path / "a.json"), 0)
    assert dataset.input_shape == (1,)


def test_what_is_no_step_is_named(tmp_path: Path) -> None:
    frame = pd.DataFrame(RANDOM.normal(size=(COUNT, 20)), columns=[f"s{i}" for i in range(20)])
    frame = frame.assign(age=np.arange(COUNT) % 7, label=LABELS)
    card = str(load(frame, tmp_path / "a.csv", layout="sequence").card)
    assert "age named otherwise than most" in card


def test_single_values_for_columns_are_refused(tmp_path: Path) -> None:
    rows = load(in_rows(), tmp_path / "a.csv", series="who", time="t").columns
    lists = load(in_lists().assign(c=np.arange(COUNT) % 9), tmp_path / "b.parquet").columns
    assert rows is not None
    assert lists is not None
    ones = {"a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}
    for columns, table, message in (
        (rows, {"who": 1, "t": [0], "a": [1], "b": [1]}, "'who' is 1, one value"),
        (rows, {"who": [1, 2], "t": [0, 1], "a": [1], "b": [1]}, "'who' is not as long"),
        (lists, {**ones, "c": 3}, "'c' is 3, one value"),
        (lists, {**ones, "c": [3]}, r"differ in length \(2, 2, 1\)"),
        (lists, {"a": [{1.0}], "b": [{1.0}], "c": [1]}, "no column holds lists"),
    ):
        with pytest.raises(DataError, match=message):
            columns.encode(table)


def test_series_are_for_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((9, 4)), y=np.arange(9) % 3)
    with pytest.raises(SpecError, match=r"data\.series is for columns"):
        load_dataset(DataSpec(path=tmp_path / "a.npz", series="who"), 0)
    with pytest.raises(ValueError, match=r"data\.time sorts the steps of data\.series"):
        DataSpec(path=tmp_path / "a.csv", time="t")


def test_what_may_be_series_is_named(tmp_path: Path) -> None:
    rows = pd.concat([in_rows().assign(who=lambda f, k=k: f"{k}" + f["who"]) for k in range(3)])
    plain = load(rows, tmp_path / "a.csv")
    assert "all rows of one who (180 values) have one label" in str(plain.card)
    assert "data.series=who" in str(plain.card)
    dataset = load(rows, tmp_path / "a.csv", series="who")
    assert "t rises with every step of each series" in str(dataset.card)
    assert "t rises" not in str(load(rows, tmp_path / "a.csv", series="who", time="t").card)


def test_groups_and_weights_are_of_series(tmp_path: Path) -> None:
    frame = in_rows()
    number = frame["who"].astype(int)
    frame = frame.assign(person=number % 6, weight=1.0 + number % 2)
    dataset = load(
        frame, tmp_path / "a.csv", series="who", time="t", group="person", weight="weight"
    )
    assert dataset.train.groups is not None
    assert dataset.train.weights is not None
    splits = (dataset.train, dataset.validation, dataset.test)
    homes = [set(split.groups.tolist()) for split in splits]  # type: ignore[union-attr]
    assert len(set.union(*homes)) == sum(map(len, homes)) == 6
    assert sum(map(len, splits)) == COUNT


def test_new_lists_for_steps_in_rows_name_what_is_lacking(tmp_path: Path) -> None:
    dataset = load(in_rows(), tmp_path / "a.csv", series="who", time="t")
    assert dataset.columns is not None
    with pytest.raises(DataError, match="the table lacks column 'who'"):
        dataset.columns.encode(in_lists())
    lists = load(in_lists(), tmp_path / "b.parquet").columns
    assert lists is not None
    with pytest.raises(DataError, match="no column holds lists"):
        lists.encode(in_rows())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 6), st.randoms())
def test_steps_come_back_whatever_their_order(lengths: list[int], steps: int, random: Any) -> None:
    """Each series is its steps sorted by time, cut at the end, zeros in front."""
    rows = [
        (f"s{n}", t, 100.0 * n + t + 1) for n, length in enumerate(lengths) for t in range(length)
    ]
    random.shuffle(rows)
    who, time, value = (np.array(column) for column in zip(*rows, strict=True))
    rule = SeriesRule(steps, "who", "time")
    found = lay_out({"who": who, "time": time, "x": value}, rule, ["x"])
    x = fold(value[found.order], found.series, len(lengths), steps)
    for place, name in enumerate(dict.fromkeys(who)):
        n = int(name[1:])
        own = [100.0 * n + t + 1 for t in range(min(lengths[n], steps))]
        assert x[place].tolist() == [0.0] * (steps - len(own)) + own
        assert who[found.first[place]] == name
        assert time[found.first[place]] == 0
    assert found.lengths.tolist() == [lengths[int(name[1:])] for name in dict.fromkeys(who)]
