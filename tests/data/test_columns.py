import json
import warnings
from dataclasses import asdict
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.learn_columns import learn_columns
from bdistil.errors import DataError
from bdistil.runtime.columns import TableColumns
from bdistil.runtime.dates import DATE_PARTS, as_times, date_parts
from bdistil.runtime.tables import as_table

FRAME = pd.DataFrame(
    {
        "age": [30, 40, 50],
        "member": [True, False, True],
        "city": ["Paris", "Rome", "Oslo"],
        "label": ["no", "yes", "no"],
    }
)
FEATURES = ["age", "member", "city"]


def learn(frame=FRAME, names=FEATURES, rows=None):
    rows = np.arange(len(frame)) if rows is None else np.array(rows)
    return learn_columns(frame, names, "label", rows)


def test_numbers_booleans_and_texts_become_features():
    x = learn().encode(FRAME)
    assert x.dtype == np.float32
    assert x.tolist() == [[30, 1, 0, 1, 0], [40, 0, 0, 0, 1], [50, 1, 1, 0, 0]]


def test_categories_are_learnt_on_training_rows_only():
    columns = learn(rows=[0, 1])
    assert columns.width == 4
    assert columns.encode(FRAME)[2].tolist() == [50, 1, 0, 0]


def test_a_json_round_trip_encodes_equally():
    columns = learn()
    restored = TableColumns.of(json.loads(json.dumps(asdict(columns))))
    assert restored == columns
    np.testing.assert_array_equal(restored.encode(FRAME), columns.encode(FRAME))


def test_arrays_are_encoded_as_a_frame_is():
    arrays = {name: FRAME[name].to_numpy() for name in reversed(FEATURES)}
    np.testing.assert_array_equal(learn().encode(arrays), learn().encode(FRAME))


def test_anything_with_columns_is_read_by_their_names():
    class Columnar:
        """As frames of other libraries are: columns in any order, no keys()."""

        columns = ("extra", *reversed(FEATURES))

        def __contains__(self, name):
            return name in self.columns

        def __getitem__(self, name):
            return FRAME[name].to_numpy()

    assert as_table([[1, 2]]) is None
    assert as_table(np.zeros((2, 2))) is None
    np.testing.assert_array_equal(learn().encode(as_table(Columnar())), learn().encode(FRAME))


def duckdb_relation():
    duckdb = pytest.importorskip("duckdb")
    return duckdb.from_df(FRAME[[*reversed(FEATURES)]])


@pytest.mark.parametrize(
    "make",
    [
        lambda: FRAME[[*reversed(FEATURES)]],
        lambda: pytest.importorskip("polars").from_pandas(FRAME[[*reversed(FEATURES)]]),
        lambda: pa.Table.from_pandas(FRAME[[*reversed(FEATURES)]]),
        lambda: pa.RecordBatch.from_pandas(FRAME[[*reversed(FEATURES)]]),
        duckdb_relation,
        lambda: FRAME[[*reversed(FEATURES)]].to_dict("records"),
        lambda: FRAME.to_dict("list"),
        lambda: FRAME.to_records(index=False),
    ],
    ids=["pandas", "polars", "arrow", "batch", "duckdb", "rows", "columns", "structured"],
)
def test_tables_of_all_makers_are_read_by_name(make):
    np.testing.assert_array_equal(learn().encode(as_table(make())), learn().encode(FRAME))


def test_a_frame_that_is_yet_to_be_computed_is_refused():
    polars = pytest.importorskip("polars")
    with pytest.raises(DataError, match="LazyFrame; give what its collect"):
        as_table(polars.from_pandas(FRAME).lazy())


def test_rows_that_lack_a_key_lack_the_value():
    table = as_table([{"age": 1, "city": "Oslo"}, {"city": "Rome"}])
    assert list(table["age"]) == [1, None]


GAPS = pd.DataFrame(
    {
        "age": [30, None, 50, 46],
        "city": ["Paris", None, "Oslo", "Oslo"],
        "ordered": pd.to_datetime(
            ["2026-11-25 13:00", "2025-01-06 00:00", None, "2025-01-06 00:00"]
        ),
    }
)


def test_missing_values_are_filled_with_what_training_rows_say_and_marked():
    columns = learn(GAPS, list(GAPS), rows=[0, 1, 2])
    assert [column.missing for column in columns.features] == [1, 1, 1]
    age, _, ordered = columns.features
    assert age.fill == (40.0,)  # the median of 30 and 50; row 3 is not of training
    assert ordered.parts == ("year", "month", "day", "weekday", "hour")
    x = columns.encode(GAPS)
    assert x[:, :2].tolist() == [[30, 0], [40, 1], [50, 0], [46, 0]]
    assert x[:, 2:5].tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert x[:2, 5:].tolist() == [[2026, 11, 25, 2, 13, 0], [2025, 1, 6, 0, 0, 0]]
    assert x[2, 5:].tolist() == [2025.5, 6, 15.5, 1, 6.5, 1]
    restored = TableColumns.of(json.loads(json.dumps(asdict(columns))))
    assert restored == columns


def test_gaps_are_the_same_in_every_form_of_a_table():
    columns = learn(GAPS, list(GAPS))
    expected = columns.encode(GAPS)
    texts = {
        "age": np.array([30, None, 50, 46], dtype=object),
        "city": ["Paris", None, "Oslo", "Oslo"],
        "ordered": ["2026-11-25T13:00:00Z", "2025-01-06", None, "2025-01-06 01:00+01:00"],
    }
    np.testing.assert_array_equal(columns.encode(texts), expected)
    nullable = GAPS.convert_dtypes()
    np.testing.assert_array_equal(columns.encode(nullable), expected)
    aware = GAPS.assign(ordered=GAPS.ordered.dt.tz_localize("Asia/Tokyo") - pd.Timedelta("-9h"))
    np.testing.assert_array_equal(columns.encode(aware), expected)


def test_what_training_never_lacked_is_refused_where_it_is_missing():
    columns = learn(GAPS.dropna(), list(GAPS))
    for name in GAPS:
        gap = GAPS.dropna().astype(object)
        gap.loc[gap.index[1], name] = None
        with pytest.raises(DataError, match=f"column '{name}' has 1 missing value in row 1"):
            columns.encode(gap)


def test_a_date_that_is_none_is_located():
    columns = learn(GAPS, list(GAPS))
    wrong = GAPS.astype(object).assign(ordered=["2026-11-25", None, "soon", None])
    with pytest.raises(
        DataError, match=r"'ordered' holds 'soon' in row 2 .* no date as 2026-11-25"
    ):
        columns.encode(wrong)
    wrong = GAPS.astype(object).assign(age=[1, None, "old", 3])
    with pytest.raises(DataError, match="'age' holds 'old' in row 2"):
        columns.encode(wrong)


@given(st.lists(st.datetimes(min_value=datetime(1700, 1, 1)), min_size=1, max_size=9))
def test_parts_of_dates_are_those_of_the_calendar(times):
    found = date_parts(as_times(times, "x", ""), tuple(DATE_PARTS))
    assert found.astype(int).tolist() == [
        [t.year, t.month, t.day, t.weekday(), t.hour, t.minute, t.second] for t in times
    ]


@given(
    cities=st.lists(st.sampled_from(["a", "b", "c", "2", "10"]), min_size=1, max_size=30),
    ages=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=30),
)
def test_encoding_can_be_read_back(cities, ages):
    frame = pd.DataFrame({"city": cities, "age": ages[: len(cities)]})
    columns = learn(frame, ["city", "age"])
    x = columns.encode(frame)
    names = columns.features[0].categories
    assert [names[row] for row in x[:, :-1].argmax(axis=1)] == cities
    assert (x[:, :-1].sum(axis=1) == 1).all()
    assert x[:, -1].tolist() == frame["age"].tolist()


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2, 3], dtype="category"),
        pd.Series(["1", "2", "3"], dtype="string"),
    ],
)
def test_categories_match_however_a_file_stores_them(series):
    columns = learn(pd.DataFrame({"code": series}), ["code"])
    assert columns.features[0].categories == ("1", "2", "3")
    assert columns.encode({"code": [2.0, 3, "1"]}).argmax(axis=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "uint8", "boolean"])
def test_every_type_of_number_is_taken(dtype):
    frame = pd.DataFrame({"a": pd.Series([1, 0, 1], dtype=dtype)})
    assert learn(frame, ["a"]).encode(frame).tolist() == [[1], [0], [1]]


def test_missing_columns_are_named_and_extra_ones_ignored():
    columns = learn()
    with pytest.raises(DataError, match="lacks columns 'age', 'city'"):
        columns.encode(FRAME.drop(columns=["age", "city"]))
    np.testing.assert_array_equal(columns.encode(FRAME.assign(extra=1)), columns.encode(FRAME))


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match=r"differ in length \(2, 1, 1\)"):
        learn().encode({"age": [1, 2], "member": [True], "city": ["Rome"]})


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", -np.inf, "column 'age' has 1 infinite value in row 2"),
        ("age", 1e300, "column 'age' has 1 infinite value in row 2"),
    ],
)
def test_unfit_values_are_found_in_any_row_when_learning_and_encoding(column, value, message):
    values = [*FRAME[column][:2], value]
    with pytest.raises(DataError, match=message + r" .*data.ignore"):
        learn(FRAME.assign(**{column: values}), rows=[0, 1])
    with pytest.raises(DataError, match=message):
        learn().encode({**FRAME, column: values})


def test_text_in_a_column_of_numbers_is_shown():
    with pytest.raises(DataError, match=r"'age' holds '\?' in row 1 .* no number"):
        learn().encode({**FRAME, "age": ["3", "?", "4"]})


def test_of_many_texts_the_most_frequent_are_known():
    texts = [f"n{i}" for i in range(101)] + ["n100", "n7", "n100"]
    frame = pd.DataFrame({"name": texts})
    assert learn(frame[:100], ["name"]).features[0].rarer == 0
    columns = learn(frame, ["name"])
    (column,) = columns.features
    assert (columns.width, column.rarer) == (100, 1)
    assert {"n7", "n100"} < set(column.categories)
    (left_out,) = set(texts) - set(column.categories)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing new: most of what is not known is merely rare
        x = columns.encode({"name": ["n100", left_out, "another"]})
    assert x.sum(1).tolist() == [1, 0, 0]
    restored = TableColumns.of(json.loads(json.dumps(asdict(columns))))
    assert restored == columns


def test_frequencies_are_of_training_rows_and_of_categories_with_rows():
    texts = ["rare", *["often"] * 3, *["later"] * 9]
    frame = pd.DataFrame({"name": pd.Categorical(texts, categories=[*set(texts), "never"])})
    assert learn(frame, ["name"], rows=range(4)).features[0].categories == ("often", "rare")


def test_a_stray_text_among_numbers_is_pointed_at():
    frame = pd.DataFrame({"age": [str(i) for i in range(150)] + ["?"]})
    with pytest.raises(DataError, match=r"looks like numbers but holds '\?' in row 150"):
        learn(frame, ["age"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [(pd.to_timedelta(["1h"] * 3), "timedelta"), ([["a"], ["b"], ["c"]], "mixed")],
)
def test_other_types_are_refused(values, kind):
    with pytest.raises(DataError, match=rf"column 'a' holds {kind}\S* values.*data.ignore"):
        learn(pd.DataFrame({"a": values}), ["a"])
