import numpy as np
import pandas as pd
import pytest
from files_to_predict import read_all

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import BdistilWarning, DataError, TeacherError
from bdistil.spec import DataSpec

ROWS = 60


def make_frame():
    rng = np.random.default_rng(0)
    species = np.array(["cat", "dog", "eel"])[np.arange(ROWS) % 3]
    return pd.DataFrame(
        {
            "length": rng.normal(size=ROWS),
            "legs": rng.integers(0, 5, ROWS),
            "tame": rng.random(ROWS) < 0.5,
            "colour": rng.choice(["red", "grey"], ROWS),
            "t_cat": rng.normal(size=ROWS),
            "t_dog": rng.normal(size=ROWS),
            "t_eel": rng.normal(size=ROWS),
            "label": species,
        }
    )


def write(frame, tmp_path, name="animals.csv", **options):
    path = tmp_path / name
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(
        path, index=False, **options
    )
    return path


def load(path, seed=0, teacher_columns=None, **settings):
    return load_dataset(DataSpec(path=path, **settings), seed, teacher_columns)


TEACHER = ["t_cat", "t_dog", "t_eel"]


@pytest.mark.parametrize("name", ["animals.csv", "animals.parquet"])
def test_a_table_becomes_a_dataset_that_its_columns_reproduce(tmp_path, name):
    frame = make_frame()
    path = write(frame, tmp_path, name)
    dataset = load(path, ignore=TEACHER)
    assert (dataset.name, dataset.domain, dataset.task) == ("animals", "tabular", "classification")
    assert dataset.class_names == ("cat", "dog", "eel")
    assert dataset.input_shape == (5,)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [36, 12, 12]
    x, labels = read_all(path, dataset.columns)
    order = {row.tobytes(): label for row, label in zip(x, labels, strict=True)}
    for split in (dataset.train, dataset.validation, dataset.test):
        for row, y in zip(split.x, split.y, strict=True):
            assert order.pop(row.tobytes()) == dataset.class_names[y]
    assert not order


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_and_a_byte_order_mark_are_understood(tmp_path, separator):
    path = write(make_frame(), tmp_path, sep=separator, encoding="utf-8-sig")
    assert load(path).input_shape == (8,)


def test_feature_columns_can_be_chosen_in_order(tmp_path):
    path = write(make_frame(), tmp_path)
    dataset = load(path, features=["legs", "length"])
    assert dataset.columns.names == ["legs", "length"]
    assert set(dataset.train.x[:, 0]) <= {0, 1, 2, 3, 4}


def test_categories_outside_the_training_rows_are_unknown(tmp_path):
    frame = make_frame()
    frame.loc[0, ["length", "colour"]] = [99.0, "rare"]
    path = write(frame, tmp_path)
    seen = set()
    for seed in range(12):
        dataset = load(path, seed, features=["length", "colour"])
        in_training = 99.0 in dataset.train.x[:, 0]
        assert dataset.input_shape == (4 if in_training else 3,)
        seen.add(in_training)
    assert seen == {True, False}


def test_a_continuous_label_is_a_regression(tmp_path):
    dataset = load(write(make_frame(), tmp_path), label="length")
    assert dataset.task == "regression"
    assert dataset.class_names is None
    assert dataset.outputs == 1
    assert dataset.train.y.shape == (36, 1)


def test_teacher_columns_stay_beside_their_rows_and_are_no_features(tmp_path):
    frame = make_frame()
    frame["length"] = frame["t_dog"]
    dataset = load(write(frame, tmp_path), teacher_columns=TEACHER)
    assert dataset.input_shape == (5,)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.teacher_outputs.dtype == np.float32
        assert split.teacher_outputs.shape == (len(split), 3)
        np.testing.assert_array_equal(split.teacher_outputs[:, 1], split.x[:, 0])


def test_missing_teacher_column(tmp_path):
    path = write(make_frame(), tmp_path)
    with pytest.raises(TeacherError, match=r"animals\.csv: teacher.columns .*mean 't_dog'\?"):
        load(path, teacher_columns=["t_cat", "t_dig", "t_eel"])


@pytest.mark.parametrize("value", [np.nan, np.inf, "x"])
def test_unfit_teacher_values(tmp_path, value):
    frame = make_frame().astype({"t_dog": object})
    frame.loc[7, "t_dog"] = value
    with pytest.raises(TeacherError, match=r"teacher column 't_dog' .* in row 7"):
        load(write(frame, tmp_path), teacher_columns=TEACHER)


def test_teacher_of_another_width_is_told_the_class_order(tmp_path):
    path = write(make_frame(), tmp_path)
    with pytest.raises(TeacherError, match=r"2 outputs, but the label needs 3; .* cat, dog, e"):
        load(path, teacher_columns=TEACHER[:2])
    with pytest.raises(TeacherError, match="2 outputs, but the label needs 1; give one a target"):
        load(path, label="length", teacher_columns=TEACHER[:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "labl"}, r"data.label names column 'labl', .*mean 'label'\? there are length,"),
        ({"ignore": ["lenght"]}, r"data.ignore names column 'lenght', .*mean 'length'\?"),
        ({"features": ["wings"]}, r"data.features names column 'wings', which is missing; there"),
        ({"features": ["label"]}, "column 'label' is named twice"),
        ({"ignore": ["label"]}, "column 'label' is named twice"),
        ({"features": []}, "no feature column is left"),
        ({"label": "length", "task": "classification"}, "data.task=regression"),
    ],
)
def test_settings_that_do_not_fit_the_table(tmp_path, settings, message):
    path = write(make_frame(), tmp_path)
    with pytest.raises(DataError, match=r"animals\.csv: .*" + message):
        load(path, **settings)


def test_missing_labels_are_located(tmp_path):
    frame = make_frame()
    frame.loc[5 : len(frame), "label"] = None
    message = r"animals\.csv: .*label' has \d+ missing values, the first in row 5 .*; correct"
    with pytest.raises(DataError, match=message):
        load(write(frame, tmp_path))


def test_columns_are_judged_by_the_rows_that_stay(tmp_path):
    frame = make_frame().assign(row=range(len(make_frame())), only=np.nan, same=1.0)
    frame.loc[[5, 9], "label"] = None
    frame.loc[[5, 9], "only"] = 3.0  # in no other row
    frame.loc[5, "same"] = 2.0
    dataset = load(write(frame, tmp_path))
    assert not {"row", "only", "same"} & set(dataset.columns.names)
    uses = {column.name: column.use for column in dataset.card.columns}
    assert uses["row"] == "left out, row numbers"  # with two gaps now
    assert uses["only"] == uses["same"] == "left out, the same in every row"


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["class", "number", "boolean"])
def test_rows_without_a_label_are_left_out_and_told(tmp_path, suffix, kind):
    frame = make_frame()
    if kind != "class":
        frame["label"] = [k % 3 if kind == "number" else k % 2 == 0 for k in range(len(frame))]
    alone = load(write(frame.drop([5, 9]), tmp_path))
    frame["label"] = frame["label"].astype(object)
    frame.loc[[5, 9], "label"] = None
    path = tmp_path / f"gaps.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    dataset = load(path)
    assert "2 rows without label are left out, also where others are numbered" in dataset.card.notes
    assert (dataset.class_names, dataset.class_type) == (alone.class_names, alone.class_type)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(dataset, name).x, getattr(alone, name).x)
        np.testing.assert_array_equal(getattr(dataset, name).y, getattr(alone, name).y)


def test_rare_and_single_classes(tmp_path):
    frame = make_frame()
    frame.loc[0, "label"] = "yak"
    with pytest.raises(DataError, match=r"animals\.csv: class 'yak' has 1 example"):
        load(write(frame, tmp_path))
    with pytest.raises(DataError, match="label column 'label' holds only one class, 'cat'"):
        load(write(frame.assign(label="cat"), tmp_path))


def test_a_saved_index_is_left_out_with_a_warning(tmp_path):
    path = tmp_path / "animals.csv"
    make_frame().to_csv(path)
    with pytest.warns(BdistilWarning, match="'Unnamed: 0' was the table's index"):
        assert load(path).input_shape == (8,)
    make_frame().set_index("legs").to_parquet(tmp_path / "indexed.parquet")
    assert load(tmp_path / "indexed.parquet").input_shape == (7,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("empty.csv", b"", "is empty"),
        ("empty.parquet", b"", "is empty"),
        ("head.csv", b"a,label\n", "has no rows"),
        ("blank.csv", b"\n\n", "cannot be read"),
        ("ragged.csv", b"a,label\n1,2\n1,2,3,4\n", "cannot be read"),
        ("latin.csv", b"a,label\n1,\xe9t\xe9\n", "not UTF-8 text; save it as UTF-8"),
        ("twins.csv", b"a, a,label\n1,2,3\n", "column 'a' stands there 2 times"),
        ("trail.csv", b"a,label\n1,2,x\n3,4,y\n", "more fields than the 2 names in the header"),
        ("noise.parquet", b"PAR1 but nothing else", "cannot be read"),
        ("table.xlsx", b"PK", "file type must be one of .parquet, .pq"),
    ],
)
def test_unreadable_files_are_explained_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_flipped_bytes_raise_only_data_errors(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "label": ["x", "y"]})
    np.savez(tmp_path / "own.npz", x=np.ones((2, 2)), y=np.arange(2))
    rng = np.random.default_rng(0)
    for path in (write(frame, tmp_path, "a.parquet"), tmp_path / "own.npz"):
        content = path.read_bytes()
        for _ in range(200):
            flipped = bytearray(content)
            flipped[rng.integers(len(content))] = rng.integers(256)
            path.write_bytes(flipped)
            with pytest.raises(DataError):  # two rows are too few even where all can be read
                load(path)


def test_a_damaged_parquet_file_and_a_folder(tmp_path):
    path = write(make_frame(), tmp_path, "animals.parquet")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds none of what can be read"):
        load(tmp_path / "empty")
