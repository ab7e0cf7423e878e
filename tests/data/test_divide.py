"""Splits of the user's own, by groups, by time, and repeated rows."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdistil.data.divide import Known, divide, known_of
from bdistil.data.labels import Labels
from bdistil.data.split import split_indices
from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError
from bdistil.files.parts import part_in
from bdistil.spec import DataSpec

SPEC = DataSpec(path="mine.csv")
ROWS = 60
NAMES = ("a", "b", "c")
LABELS = Labels(np.arange(ROWS) % 3, NAMES)


def parts_of(rows, count=ROWS):
    parts = np.full(count, -1)
    for part, own in enumerate(rows):
        parts[own] = part
    assert (parts >= 0).all()
    assert sum(map(len, rows)) == count
    return parts


def test_without_anything_known_it_is_the_plain_stratified_split():
    division = divide(LABELS, Known(), SPEC, 3)
    plain = split_indices(LABELS.y, LABELS.class_names, validation=0.2, test=0.2, seed=3)
    for own, other in zip(division.rows, plain, strict=True):
        np.testing.assert_array_equal(own, other)
    assert division.how == "by chance, stratified by class"
    unlike = Known(same=np.arange(ROWS, dtype=np.uint64))
    np.testing.assert_array_equal(divide(LABELS, unlike, SPEC, 3).rows.test, plain.test)


@given(
    repeats=st.lists(st.integers(0, 40), min_size=60, max_size=60),
    seed=st.integers(0, 5),
)
def test_repeated_rows_stay_together_or_it_is_said(repeats, seed):
    same = np.array(repeats, np.uint64)
    division = divide(LABELS, Known(same=same), SPEC, seed)
    parts = parts_of(division.rows)
    torn = [value for value in set(repeats) if len(set(parts[same == value])) > 1]
    assert bool(torn) == ("too few rows are different" in division.how) or not torn
    said = " ".join(division.notes)
    assert f"{ROWS - len(set(repeats)):,} row" in said
    twins = int(np.isin(same[division.rows.test], same[division.rows.train]).sum())
    assert (f"{twins} in test" in said) == bool(twins)


@settings(max_examples=50)
@given(
    groups=st.lists(st.integers(0, 11), min_size=40, max_size=90),
    shares=st.sampled_from([(0.2, 0.2), (0.1, 0.3), (0.45, 0.45)]),
    seed=st.integers(0, 9),
)
def test_no_group_stands_in_two_splits(groups, shares, seed):
    groups = np.array([*groups, 0, 1, 2])
    y = np.zeros((len(groups), 1), np.float32)
    spec = DataSpec(path="mine.csv", validation=shares[0], test=shares[1])
    division = divide(Labels(y, None), Known(groups=groups), spec, seed)
    parts = parts_of(division.rows, len(groups))
    for group in set(groups):
        assert len(set(parts[groups == group])) == 1
    assert set(parts) == {0, 1, 2}
    for name, own in zip(("train", "validation", "test"), division.rows, strict=True):
        members = sorted({int(group) for group in groups[own]})
        shown = ", ".join(map(str, members[:8])) + (
            f" and {len(members) - 8} more" if len(members) > 8 else ""
        )
        assert f"{shown} in {name}" in division.how


def test_groups_are_drawn_so_that_classes_are_in_proportion():
    rng = np.random.default_rng(0)
    groups = rng.integers(30, size=600)
    y = ((groups % 5 == 0) & (rng.random(600) < 0.8)).astype(np.int64)  # a class of few groups
    division = divide(Labels(y, ("no", "yes")), Known(groups=groups), SPEC, 0)
    for own in division.rows:
        assert y[own].mean() == pytest.approx(y.mean(), abs=0.05)
    assert len(division.rows.test) == pytest.approx(120, abs=25)


def test_too_few_groups_are_refused():
    with pytest.raises(DataError, match=r"data\.group has 2 different values, fewer than the 3 s"):
        divide(LABELS, Known(groups=np.arange(ROWS) % 2), SPEC, 0)


@given(times=st.lists(st.integers(0, 30), min_size=30, max_size=30), later=st.integers(2, 20))
def test_the_last_rows_are_test_and_equal_times_stay_together(times, later):
    order = np.array([*times, *range(31, 31 + later)])
    y = np.zeros((len(order), 1), np.float32)
    rows = divide(Labels(y, None), Known(order=order), SPEC, 0).rows
    assert order[rows.train].max() < order[rows.validation].min()
    assert order[rows.validation].max() < order[rows.test].min()


def test_the_shares_are_met_where_times_differ():
    order = np.random.default_rng(0).permutation(100)
    rows = divide(Labels(np.zeros((100, 1)), None), Known(order=order), SPEC, 0).rows
    assert set(order[rows.test]) == set(range(80, 100))
    assert set(order[rows.validation]) == set(range(60, 80))
    with pytest.raises(DataError, match=r"data\.order has 2 different values"):
        divide(Labels(np.zeros((100, 1)), None), Known(order=order // 50), SPEC, 0)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.date_range("2026-01-01", periods=9, tz="Europe/Berlin"))[::-1],
        pd.Series([datetime.date(2026, 1, 9 - day) for day in range(9)]),
        pd.Series([f"2026-01-0{9 - day} 12:00" for day in range(9)]),
        np.arange(9.0)[::-1],
    ],
)
def test_times_of_every_kind_are_sorted(values):
    known = known_of({"when": values}, DataSpec(path="a.csv", order="when"), None)
    assert np.argsort(known.order).tolist() == list(range(9))[::-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["3/4/2026", "5/4/2026"], "holds '3/4/2026' and the like, whose order is not plain"),
        ([1.0, np.nan], "has 1 missing value in row 1"),
    ],
)
def test_times_without_a_plain_order_are_refused(values, message):
    with pytest.raises(DataError, match=rf"data\.order, column 'when', {message}"):
        known_of({"when": pd.Series(values)}, DataSpec(path="a.csv", order="when"), None)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("train-00000-of-00002.parquet", 0),
        ("data/test-00000-of-00001-a0ef37.parquet", 2),
        ("validation.csv", 1),
        ("my_val_rows.csv", 1),
        ("training/part-0.parquet", 0),
        ("part-00000-0b9f7e1c.snappy.parquet", None),
        ("trains.parquet", None),
    ],
)
def test_files_name_their_split(path, part):
    assert part_in(path) == part


class TestTables:
    def frame(self):
        rng = np.random.default_rng(0)
        return pd.DataFrame(
            {
                "x": rng.normal(size=ROWS),
                "part": np.repeat(["train", "Valid", "TEST"], [30, 12, 18]),
                "who": np.repeat(list("uvwxyz"), 10),
                "day": pd.date_range("2026-01-01", periods=ROWS).strftime("%Y-%m-%d"),
                "label": np.array(NAMES)[np.arange(ROWS) % 3],
            }
        )

    def load(self, tmp_path, frame=None, **settings):
        path = tmp_path / "mine.csv"
        (self.frame() if frame is None else frame).to_csv(path, index=False)
        return load_dataset(DataSpec(path=path, **settings), 0)

    def test_a_column_of_splits(self, tmp_path):
        dataset = self.load(tmp_path, split="part", ignore=["who", "day"])
        x = self.frame()["x"].to_numpy(np.float32)
        np.testing.assert_array_equal(dataset.train.x[:, 0], x[:30])
        np.testing.assert_array_equal(dataset.test.x[:, 0], x[42:])
        assert dataset.card.how == "validation and test as given"
        assert dataset.input_shape == (1,)

    def test_a_column_of_splits_is_no_feature_by_accident(self, tmp_path):
        with pytest.raises(DataError, match=r"column 'part' holds nothing .* set data\.split=part"):
            self.load(tmp_path, ignore=["day"])

    @pytest.mark.parametrize("value", ["holdout", ""])
    def test_other_words_are_no_splits(self, tmp_path, value):
        frame = self.frame()
        frame.loc[3, "part"] = value
        with pytest.raises(DataError, match=r"data\.split, column 'part', holds .* in row 3"):
            self.load(tmp_path, frame, split="part", ignore=["day"])

    def test_groups_and_times_are_no_features_unless_named(self, tmp_path):
        dataset = self.load(tmp_path, group="who", ignore=["part", "day"])
        assert dataset.input_shape == (1,)
        assert "in test" in dataset.card.how
        dataset = self.load(tmp_path, order="day", ignore=["part", "who"])
        assert dataset.input_shape == (1,)
        np.testing.assert_array_equal(
            np.sort(dataset.test.x[:, 0]), np.sort(self.frame()["x"].to_numpy(np.float32)[48:])
        )
        assert self.load(tmp_path, group="who", features=["x", "who"]).input_shape[0] > 1

    def test_examples_know_their_groups(self, tmp_path):
        dataset = self.load(tmp_path, group="who", ignore=["part", "day"])
        rows = {float(x): who for x, who in self.frame()[["x", "who"]].astype({"x": "f4"}).values}
        for split in (dataset.train, dataset.validation, dataset.test):
            people = [rows[float(x)] for x in split.x[:, 0]]
            assert [sorted("uvwxyz")[code] for code in split.groups] == people
            assert np.array_equal(split.take(slice(3, 7)).groups, split.groups[3:7])
        said = " ".join(dataset.card.notes)
        assert "validation is a single group of data.group" in said
        assert "test is a single group of data.group" in said
        assert self.load(tmp_path, ignore=["part", "day", "who"]).test.groups is None

    def test_groups_torn_by_given_splits_are_said(self, tmp_path):
        dataset = self.load(tmp_path, split="part", group="who", ignore=["day"])
        assert "groups in more than one split, as given: y" in dataset.card.notes

    def test_groups_torn_by_times_are_said(self, tmp_path):
        dataset = self.load(tmp_path, order="day", group="who", ignore=["part"])
        [note] = [note for note in dataset.card.notes if note.startswith("groups in more than one")]
        assert "since data.order goes before data.group: " in note

    def test_a_class_without_training_is_refused_and_without_test_said(self, tmp_path):
        frame = self.frame()
        frame.loc[frame["part"] == "TEST", "label"] = "a"
        dataset = self.load(tmp_path, frame, split="part", ignore=["who", "day"])
        assert "test has no example of b, c" in dataset.card.notes
        frame.loc[59, "label"] = "rare"
        with pytest.raises(DataError, match="class rare has no training example"):
            self.load(tmp_path, frame, split="part", ignore=["who", "day"])

    def test_files_of_their_own_for_splits(self, tmp_path):
        frame = self.frame()[["x", "label"]]
        frame[:40].to_csv(tmp_path / "a.csv", index=False)
        frame[40:].to_csv(tmp_path / "b.csv", index=False)
        spec = DataSpec(path=tmp_path / "a.csv", test_path=tmp_path / "b.csv")
        dataset = load_dataset(spec, 0)
        assert [len(s.x) for s in (dataset.train, dataset.validation, dataset.test)] == [32, 8, 20]
        np.testing.assert_array_equal(dataset.test.x[:, 0], frame["x"].to_numpy(np.float32)[40:])
        assert dataset.card.source == "a.csv and b.csv"
        frame[40:].drop(columns="label").to_csv(tmp_path / "b.csv", index=False)
        with pytest.raises(DataError, match=r"b\.csv lacks column label"):
            load_dataset(spec, 0)

    def test_repeated_rows_of_given_splits_are_counted(self, tmp_path):
        frame = self.frame()[["x", "label", "part"]]
        frame.loc[[31, 55, 56], "x"] = frame.loc[2, "x"]
        dataset = self.load(tmp_path, frame, split="part")
        said = "3 rows repeat the features of an earlier one; with a twin in training: "
        assert said + "1 in validation, 2 in test" in dataset.card.notes

    def test_arrays_may_say_it_too(self, tmp_path):
        x = np.arange(ROWS, dtype=np.float32)[:, None]
        who = np.repeat(list("uvwxyz"), 10)
        np.savez(tmp_path / "mine.npz", x=x, y=LABELS.y, who=who)
        dataset = load_dataset(DataSpec(path=tmp_path / "mine.npz", group="who"), 0)
        homes = [set(who[s.x[:, 0].astype(int)]) for s in (dataset.train, dataset.test)]
        assert not homes[0] & homes[1]
        with pytest.raises(DataError, match=r"data\.split names array 'part', which is missing"):
            load_dataset(DataSpec(path=tmp_path / "mine.npz", split="part"), 0)
