"""Frames as pandas, polars, DuckDB and Spark write them, and data sets of the Hugging Face hub."""

from __future__ import annotations

import bz2
import gzip
import shutil
import warnings

import numpy as np
import own_files as files
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning, DataError, SpecError
from bdistil.files import array_files
from bdistil.files.array_files import mapped_file
from bdistil.files.table_files import open_new_table
from bdistil.spec import DataSpec

ROWS = 60
SPLITS = ("train", "validation", "test")


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "größe": rng.normal(size=ROWS).round(3),
            "n": rng.integers(0, 9, ROWS),
            "old": rng.random(ROWS) < 0.5,
            "colour": rng.choice(["red", "blue"], ROWS),
            "label": np.array(["a", "b", "c"])[np.arange(ROWS) % 3],
        }
    )


def load(path, **settings):
    return load_dataset(DataSpec(path=path, **settings), 0)


def rows_of(dataset):
    """Features and class of each row, in any order."""
    found = [
        (*np.round(x, 3).tolist(), dataset.class_names[y])
        for name in SPLITS
        for x, y in zip(getattr(dataset, name).x, getattr(dataset, name).y, strict=True)
    ]
    return sorted(found)


def expected():
    table = frame()
    columns = [table["größe"], table["n"], table["old"]]
    columns += [table["colour"] == "blue", table["colour"] == "red"]
    x = np.round(np.stack([np.asarray(c, np.float32) for c in columns], axis=1), 3)
    return sorted((*row, label) for row, label in zip(x.tolist(), table["label"], strict=True))


def polars_frame():
    return pytest.importorskip("polars").from_pandas(frame())


def duckdb_copy(to):
    pytest.importorskip("duckdb").from_df(frame()).query("mine", f"copy mine to {to}")


def spark_like(folder):
    """Parts as Spark writes them, one without rows."""
    folder.mkdir()
    parts = [frame()[:25], frame()[25:], frame()[:0]]
    for number, part in enumerate(parts):
        schema = pa.Schema.from_pandas(frame(), preserve_index=False)
        table = pa.Table.from_pandas(part, schema, preserve_index=False)
        path = folder / f"part-{number:05d}-0b9f-c000.snappy.parquet"
        pq.write_table(table.replace_schema_metadata({"org.apache.spark.version": "4"}), path)
        (folder / f".{path.name}.crc").write_bytes(b"crc!")
    (folder / "_SUCCESS").touch()


WRITERS = {
    "pandas.csv": lambda path: frame().to_csv(path, index=False),
    "pandas.csv.gz": lambda path: frame().to_csv(path, index=False),
    "pandas.tsv": lambda path: frame().to_csv(path, index=False, sep="\t"),
    "excel.csv": lambda path: frame().to_csv(path, index=False, sep=";", encoding="utf-8-sig"),
    "windows.csv": lambda path: frame().to_csv(path, index=False, lineterminator="\r\n"),
    "pandas.parquet": lambda path: frame().to_parquet(path),
    "pandas.pq": lambda path: frame().to_parquet(path),
    "pandas.parquet.gzip": lambda path: frame().to_parquet(path, compression="gzip"),
    "nullable.parquet": lambda path: frame().convert_dtypes().to_parquet(path),
    "category.parquet": lambda path: frame().astype({"colour": "category"}).to_parquet(path),
    "hive_of_pandas": lambda path: frame().to_parquet(path, partition_cols=["colour"]),
    "polars.parquet": lambda path: polars_frame().write_parquet(path),
    "polars.csv": lambda path: polars_frame().write_csv(path),
    "duckdb.parquet": lambda path: duckdb_copy(f"'{path}' (format parquet)"),
    "duckdb.csv": lambda path: duckdb_copy(f"'{path}'"),
    "hive_of_duckdb": lambda path: duckdb_copy(f"'{path}' (format parquet, partition_by (colour))"),
    "spark": spark_like,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_frame_is_the_same_whoever_wrote_it(tmp_path, name):
    path = tmp_path / "Ω mine" / name
    path.parent.mkdir()
    WRITERS[name](path)
    dataset = load(path)
    order = ["größe", "n", "old", "colour"]
    assert sorted(dataset.columns.names) == sorted(order)
    if not name.startswith("hive"):  # which has its key last
        assert rows_of(dataset) == expected()
    assert rows_of(load(path, features=order)) == expected()
    assert dataset.name == name.partition(".")[0]
    assert len(open_new_table(path)) == ROWS


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("index", "column"),
    [
        (pd.Index(np.random.default_rng(0).permutation(ROWS)), "__index_level_0__"),
        (pd.Index([f"c{row}" for row in range(ROWS)], name="customer"), "customer"),
        (pd.date_range("2026-01-01", periods=ROWS, name="day"), "day"),
    ],
)
def test_an_index_is_left_out_aloud_and_comes_in_by_name(
    tmp_path, index, column, lazy, monkeypatch
):
    if lazy:
        monkeypatch.setattr(array_files, "LARGE_BYTES", 1)
    path = tmp_path / "mine.parquet"
    frame().set_index(index).to_parquet(path)
    with pytest.warns(BdistilWarning, match=f"column '{column}' was the table's index"):
        dataset = load(path)
    assert rows_of(dataset) == expected()
    notes = {note.name: note.use for note in dataset.card.columns}
    assert notes[column] == "left out, the table's index"
    if column == "day":
        assert load(path, order="day").card.how == "the last rows by data.order"
    if column == "__index_level_0__":
        assert load(path, features=["n", column]).input_shape == (2,)


def test_words_for_nothing_are_missing_among_numbers_and_texts_among_texts(tmp_path):
    path = tmp_path / "words.csv"
    rows = [
        ("1.5", "None", "2026-01-02", "True"),
        ("NA", "x", "null", "n/a"),
        ("", "", "", "False"),
    ]
    text = "\n".join(",".join(row) for row in [("a", "b", "day", "old"), *rows])
    path.write_text(text)
    read = open_new_table(path)
    assert read["a"].tolist()[0] == 1.5
    assert read["a"].isna().tolist() == [False, True, True]
    assert read["b"].tolist()[:2] == ["None", "x"]
    assert read["day"].isna().tolist() == [False, True, True]
    assert read["old"].tolist()[::2] == [True, False]
    assert pd.isna(read["old"][1])
    as_texts = open_new_table(path, ["a", "day"])
    assert as_texts["a"].tolist()[:2] == ["1.5", "NA"]
    assert as_texts["day"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("label", ["colour", "n"])
def test_gaps_and_the_class_none_are_alike_in_text_and_parquet(tmp_path, label):
    table = frame().replace({"colour": {"red": "None"}})
    table["n"] %= 3
    table = table.drop(columns="label").rename(columns={label: "label"})
    rest = [name for name in table if name != "label"]
    table[rest] = table[rest].astype(object).mask(np.random.default_rng(1).random((ROWS, 3)) < 0.2)
    table[rest] = table[rest].convert_dtypes()
    table.to_csv(tmp_path / "t.csv", index=False, na_rep="" if label == "n" else "NA")
    table.to_parquet(tmp_path / "t.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text, parquet = (load(tmp_path / f"t.{suffix}") for suffix in ("csv", "parquet"))
    assert ("None" in text.class_names) == (label == "colour")
    assert rows_of(text) == rows_of(parquet)
    assert "missing values" in " ".join(text.card.lines())


def test_an_index_in_text_is_left_out_too(tmp_path):
    path = tmp_path / "mine.csv"
    frame().to_csv(path)
    with pytest.warns(BdistilWarning, match="column 'Unnamed: 0' was the table's index"):
        assert rows_of(load(path)) == expected()
    pd.read_csv(path).to_csv(path)  # saved twice, as happens
    with pytest.warns(BdistilWarning, match="column 'Unnamed: 0.1' was the table's index"):
        assert rows_of(load(path)) == expected()


def test_a_named_index_that_is_no_column_is_said(tmp_path):
    frame().rename_axis("row").to_parquet(tmp_path / "mine.parquet")
    dataset = load(tmp_path / "mine.parquet")
    assert rows_of(dataset) == expected()
    assert "the index 'row', row numbers, is left out" in dataset.card.notes


def test_a_folder_for_each_split_is_a_column_to_split_by(tmp_path):
    table = frame().assign(split=np.repeat(["train", "test"], [40, 20]))
    table.to_parquet(tmp_path / "mine", partition_cols=["split"])
    with pytest.raises(DataError, match=r"set data\.split=split to split by it"):
        load(tmp_path / "mine")
    assert len(load(tmp_path / "mine", split="split").test) == 20


def test_folders_are_columns_with_their_types(tmp_path):
    table = frame().assign(year=np.arange(ROWS) % 2 + 2020)
    table.to_parquet(tmp_path / "mine", partition_cols=["year", "label"])
    dataset = load(tmp_path / "mine", features=["year", "n"])
    assert set(dataset.train.x[:, 0]) == {2020, 2021}
    assert dataset.class_names == ("a", "b", "c")
    whole = sorted(zip(table["n"], table["label"], strict=True))
    assert [
        (row[1], row[2]) for row in sorted(rows_of(dataset), key=lambda r: (r[1], r[2]))
    ] == whole


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    "names", [("train-00000-of-00001", "test-00000-of-00001"), ("train", "test")]
)
def test_parts_that_name_their_split_keep_it(tmp_path, suffix, names):
    for name, part in zip(names, (frame()[:40], frame()[40:]), strict=True):
        path = tmp_path / "data" / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        part.to_csv(path, index=False) if suffix == ".csv" else part.to_parquet(path, index=False)
    (tmp_path / "README.md").write_text("# mine")
    dataset = load(tmp_path, features=["n"])
    np.testing.assert_array_equal(dataset.test.x[:, 0], frame()["n"][40:])
    assert dataset.card.how.startswith("test as given; validation from training, by chance")
    shutil.copy(path, tmp_path / "data" / f"extra{suffix}")
    with pytest.raises(DataError, match=r"others do not \(data/extra"):
        load(tmp_path)


def test_text_in_one_part_and_numbers_in_another_are_text(tmp_path):
    for number, codes in enumerate((["007", "008"], ["00A", "007"])):
        table = pd.DataFrame({"code": codes * 15, "label": ["x", "y"] * 15})
        table.to_csv(tmp_path / f"part-{number}.csv", index=False)
    dataset = load(tmp_path)
    assert dataset.columns.features[0].categories == ("007", "008", "00A")


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_numbers_with_zeros_in_front_are_names_of_classes_and_groups(tmp_path, suffix):
    codes, who = ["001", "012", "100"], ["07", "08", "10", "11", "12"]
    columns = {"x": np.arange(90) % 7, "y": np.arange(90) % 5, "zip": ["0213", "0944"] * 45}
    table = pd.DataFrame(columns | {"label": codes * 30, "who": who * 18})
    table.to_csv(tmp_path / f"mine{suffix}", index=False)
    dataset = load(tmp_path / f"mine{suffix}", group="who")
    assert dataset.class_names == ("001", "012", "100")
    assert [column.categories for column in dataset.columns.features] == [None] * 3  # numbers


@pytest.mark.parametrize("words", [["0", "1", "10"], ["1", "2", "3"]])
def test_numbers_without_zeros_in_front_stay_numbers(tmp_path, words):
    table = pd.DataFrame({"x": np.arange(90) % 7, "y": np.arange(90) % 5, "label": words * 30})
    table.to_csv(tmp_path / "mine.csv", index=False)
    dataset = load(tmp_path / "mine.csv")
    assert dataset.class_names == tuple(words)
    assert dataset.class_type == "integer"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (frame().drop(columns="n"), r"b\.parquet lacks column n, which other parts have"),
        (frame().assign(more=1), r"a\.parquet lacks column more, which other parts have"),
        (frame().assign(n="x"), "the parts differ in the types of their columns"),
    ],
)
def test_parts_that_do_not_belong_together(tmp_path, other, message):
    frame().to_parquet(tmp_path / "a.parquet")
    other.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_damaged_parts_are_named(tmp_path):
    spark_like(tmp_path / "mine")
    path = sorted((tmp_path / "mine").glob("part*"))[1]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"{path.name}: the file cannot be read"):
        load(tmp_path / "mine")
    path.unlink()
    frame().to_csv(path.with_suffix(".csv"), index=False)
    with pytest.raises(DataError, match="both Parquet and text files"):
        load(tmp_path / "mine")


def test_a_packed_file_that_is_none_is_explained(tmp_path):
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(b"a,label\n1,x\n")[:-9])
    with pytest.raises(DataError, match=r"mine\.csv\.gz: the file cannot be read"):
        load(tmp_path / "mine.csv.gz")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "a.csv",
            gzip.compress(b"a,label\n1,x\n", mtime=0),
            "packed by gzip, no text; name it a.csv.gz",
        ),
        ("a.tsv", bz2.compress(b"a,label\n1,x\n"), "packed by bzip2, no text; save it as text"),
        ("a.csv", b"PK\x03\x04" + b"\0" * 60, "a spreadsheet or packed by zip, no text; save"),
        ("a.csv", "a,label\n1,x\n".encode("utf-16"), "UTF-16, no text; save it as text, in UTF-8"),
        ("a.csv.gz", b"a,label\n1,x\n", "not packed by gzip, as its name says; .* such as a.csv"),
        ("a.csv.gz", b"PK\x03\x04" + b"\0" * 60, "packed by zip, not gzip; name it by what it is"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name}: the file is .*{sentence}"):
        load(tmp_path / name)


def test_columns_may_be_named_like_the_first_bytes_of_other_files(tmp_path):
    frame().rename(columns={"größe": "PAR1"}).to_csv(tmp_path / "a.csv", index=False)
    assert rows_of(load(tmp_path / "a.csv")) == expected()


class TestHub:
    def test_photographs_in_cells_with_names_for_codes(self, tmp_path):
        dataset = load(files.write_hub_table(tmp_path / "mine.parquet", id=list(range(18))))
        assert (dataset.domain, dataset.input_shape) == ("image", (3, 24, 24))
        assert dataset.class_names == ("cherry", "leaf", "sky")
        for name in SPLITS:
            split = getattr(dataset, name)
            strongest = split.x.mean(axis=(2, 3)).argmax(axis=1)
            np.testing.assert_array_equal(strongest, split.y)
        notes = {note.name: note.use for note in dataset.card.columns}
        assert notes == {"label": "label", "id": "left out beside image"}
        assert not any("data.group" in note for note in dataset.card.notes)  # each has its own
        assert "photographs: 24 x 24 pixels, colour" in dataset.card.notes

    def test_a_folder_with_splits_and_columns_for_groups(self, tmp_path):
        for part, start, count in (("train", 0, 18), ("test", 18, 9)):
            path = tmp_path / "data" / f"{part}-00000-of-00001.parquet"
            who = [f"p{row % 6}" for row in range(start, start + count)]
            files.write_hub_table(path, count, start, who=who)
        dataset = load(tmp_path, group="who", size=8)
        assert dataset.input_shape == (3, 8, 8)
        assert len(dataset.test) == 9
        assert dataset.card.how.startswith("test as given; validation from training, by data.group")

    @pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg"])
    def test_recordings_in_cells(self, tmp_path, suffix):
        pytest.importorskip("torchaudio")
        folder = files.write_recordings(tmp_path / "sounds", suffix=suffix)
        paths = sorted(folder.rglob(f"*{suffix}"))
        audio = files.cells([path.read_bytes() for path in paths])
        labels = [path.parent.name for path in paths]
        table = pa.table({"audio": audio, "label": labels, "speaker": list("abcd") * 4})
        pq.write_table(table, tmp_path / "mine.parquet")
        own, cells = load(folder), load(tmp_path / "mine.parquet")
        assert cells.padding == own.padding
        for name in SPLITS:
            np.testing.assert_array_equal(getattr(own, name).x, getattr(cells, name).x)
        assert ("speaker", "left out beside audio") in [(c.name, c.use) for c in cells.card.columns]
        hint = "speaker has 4 values: if they are people, places or devices, data.group=speaker"
        assert any(note.startswith(hint) for note in cells.card.notes)
        grouped = load(tmp_path / "mine.parquet", group="speaker")
        assert not any("has 4 values" in note for note in grouped.card.notes)

    def test_plain_bytes_are_told_by_what_they_begin_with(self, tmp_path):
        images = [files.encoded(files.photograph("leaf", n)) for n in range(9)]
        table = pa.table({"img": images, "label": list("xyz") * 3})
        pq.write_table(table, tmp_path / "mine.parquet")
        assert load(tmp_path / "mine.parquet").domain == "image"
        table = pa.table({"word": [b"yes", b"no", b"no"] * 6, "label": list("xyz") * 6})
        pq.write_table(table, tmp_path / "mine.parquet")
        with pytest.raises(DataError, match="column 'word' holds bytes values"):
            load(tmp_path / "mine.parquet")

    def test_files_of_another_kind_are_left_out_with_the_reason(self, tmp_path):
        videos = files.cells([b"GIF89a" + bytes([row]) for row in range(30)])
        label = ["a", "b"] * 15
        table = pa.table({"clip": videos, "x": np.arange(30) % 7, "label": label})
        pq.write_table(table, tmp_path / "mine.parquet")
        with pytest.warns(BdistilWarning, match=r"'clip' is left out: files that are neither"):
            load(tmp_path / "mine.parquet")

    def test_empty_and_damaged_cells_are_named(self, tmp_path):
        images = [files.encoded(files.photograph("leaf", n)) for n in range(9)]
        images[3], images[5] = b"", images[5][:60]
        table = pa.table({"image": files.cells(images), "label": list("xyz") * 3})
        pq.write_table(table, tmp_path / "mine.parquet")
        with pytest.raises(DataError, match=r"2 photographs cannot .*: 3\.png \(.*, 5\.png"):
            load(tmp_path / "mine.parquet")

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"features": ["image", "id"]}, DataError, "features on their own, not with id"),
            ({"seconds": 2.0}, SpecError, r"data\.seconds is for recordings, but .* holds photogr"),
            ({"layout": "NHWC"}, SpecError, r"data\.layout is for arrays"),
        ],
    )
    def test_what_does_not_go_with_photographs(self, tmp_path, settings, error, message):
        path = files.write_hub_table(tmp_path / "mine.parquet", id=list(range(18)))
        with pytest.raises(error, match=message):
            load(path, **settings)

    def test_the_other_columns_alone_are_a_table(self, tmp_path):
        path = files.write_hub_table(tmp_path / "mine.parquet", id=list(range(18)))
        assert load(path, features=["id"]).domain == "tabular"
        assert load(path, ignore=["image"]).domain == "tabular"

    def test_a_code_without_a_name_is_no_label(self, tmp_path):
        path = files.write_hub_table(tmp_path / "mine.parquet")
        table = pq.read_table(path)
        codes = pa.array([-1, *table["label"].to_pylist()[1:]])
        pq.write_table(table.set_column(1, "label", codes), path)
        with pytest.raises(DataError, match="label column 'label' has 1 missing value in row 0"):
            load(path)


class TestReal:
    def test_spoken_digits_by_speaker(self, tmp_path, monkeypatch):
        pytest.importorskip("torchaudio")
        pytest.importorskip("soundfile")
        monkeypatch.setenv(array_files.VARIABLE, str(tmp_path))
        dataset = load(files.shared("spoken_digits.parquet"), group="speaker")
        assert (dataset.domain, dataset.input_shape[1]) == ("sequence", 32)
        assert dataset.class_names == tuple("0123456789")
        assert [len(getattr(dataset, name)) for name in SPLITS] == [2000, 500, 500]
        assert ("speaker", "data.group") in [(c.name, c.use) for c in dataset.card.columns]

    @pytest.mark.slow
    def test_photographs_of_cifar(self, tmp_path, monkeypatch):
        monkeypatch.setenv(array_files.VARIABLE, str(tmp_path))
        dataset = load(files.shared("cifar10_jpeg"))
        assert dataset.input_shape == (3, 32, 32)
        assert [len(getattr(dataset, name)) for name in SPLITS] == [40_000, 10_000, 10_000]
        assert not mapped_file(dataset.train.x)
