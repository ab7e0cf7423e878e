import numpy as np
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, SpecError, TeacherError
from bdistil.spec import DataSpec

ROWS = 30
LABELS = np.arange(ROWS) % 3


def numbers(*shape):
    return np.arange(np.prod((ROWS, *shape)), dtype=np.float64).reshape(ROWS, *shape)


def save(tmp_path, **arrays):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    return path


def load(path, teacher_columns=None, **settings):
    return load_dataset(DataSpec(path=path, **settings), 0, teacher_columns)


@pytest.mark.parametrize(
    ("shape", "domain", "shift"),
    [((5,), "tabular", (5,)), ((7, 2), "sequence", (1, 2)), ((3, 4, 4), "image", (3, 1, 1))],
)
def test_the_shape_of_x_decides_the_domain(tmp_path, shape, domain, shift):
    dataset = load(save(tmp_path, x=numbers(*shape), y=LABELS))
    assert dataset.domain == domain
    assert dataset.input_shape == shape
    assert dataset.standardisation.shift.shape == shift
    assert dataset.class_names == ("0", "1", "2")
    assert dataset.train.x.dtype == np.float32
    assert dataset.columns is None


def test_rows_of_all_arrays_stay_together(tmp_path):
    x, teacher = numbers(1), numbers(3)
    dataset = load(save(tmp_path, x=x, y=LABELS.astype(str), teacher=teacher), ["teacher"])
    for split in (dataset.train, dataset.validation, dataset.test):
        rows = split.x[:, 0].astype(int)
        np.testing.assert_array_equal(split.y, LABELS[rows])
        np.testing.assert_array_equal(split.teacher_outputs, teacher[rows])


@pytest.mark.parametrize(("y", "width"), [(LABELS / 7, 1), (numbers(2) / 7, 2), (numbers(2), 2)])
def test_continuous_and_several_targets_are_regressions(tmp_path, y, width):
    dataset = load(save(tmp_path, x=numbers(2), y=y))
    assert dataset.task == "regression"
    assert dataset.outputs == width
    assert dataset.test.y.shape == (6, width)


def test_a_column_of_labels_is_flattened(tmp_path):
    assert load(save(tmp_path, x=numbers(2), y=LABELS[:, None])).outputs == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, r"array 'x' is missing \(there: y\)"),
        ({"y": None}, r"array 'y' is missing \(there: x\)"),
        ({"x": numbers()}, r"'x' has shape \(30,\); give"),
        ({"x": numbers(1, 1, 1, 1)}, r"'x' has shape \(30, 1, 1, 1, 1\); give"),
        ({"x": numbers(2)[:9]}, r"differ in length \(x: 9, y: 30\)"),
        ({"x": numbers(0)}, r"'x' of shape \(30, 0\) is empty"),
        ({"x": numbers(2).astype(complex)}, "'x' holds complex128 values, not numbers"),
        ({"x": LABELS[:, None].astype("datetime64[s]")}, r"'x' holds datetime64\[s\] values"),
        ({"x": np.array([["1", "2"]] * 29 + [["3", "a"]])}, "'x' holds 'a' in row 29 .* no number"),
        ({"x": np.where(numbers(2) > 11, np.nan, 0)}, "'x' has 48 missing values, .* row 6"),
        ({"x": np.full((ROWS, 1), None)}, "Python objects, which are never loaded"),
        (
            {"y": np.eye(3)[LABELS]},
            r"the 3 labels are one-hot: every row has exactly one; give class indices",
        ),
        ({"y": numbers(2, 2)}, r"'y' has shape \(30, 2, 2\)"),
        ({"y": np.where(LABELS == 1, np.nan, 0)}, "'y' has 10 missing values"),
        ({"y": np.zeros(ROWS)}, "'y' holds only one class, '0'"),
    ],
)
def test_unfit_arrays_are_explained(tmp_path, changes, message):
    arrays = {"x": numbers(2), "y": LABELS} | changes
    path = save(tmp_path, **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(DataError, match=r"own\.npz: .*" + message):
        load(path)


@pytest.mark.parametrize(
    ("teacher", "columns", "message"),
    [
        (None, ["teacher"], "array 'teacher' is missing"),
        (numbers(3), ["a", "b", "c"], r"set teacher.columns=\[teacher\]"),
        (numbers(2), None, "2 outputs, but the label needs 3"),
        (numbers(), None, r"'teacher' has shape \(30,\)"),
        (np.where(numbers(3) > 60, np.inf, 0), None, "infinite values, the first in row 20"),
    ],
)
def test_unfit_teachers_are_explained(tmp_path, teacher, columns, message):
    arrays = {} if teacher is None else {"teacher": teacher}
    with pytest.raises(TeacherError, match=message):
        load(save(tmp_path, x=numbers(2), y=LABELS, **arrays), columns)


def test_columns_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"data\.ignore is for columns, .*npz holds arrays"):
        load(save(tmp_path, x=numbers(2), y=LABELS), ignore=["a"])


def test_damaged_files_are_explained(tmp_path):
    path = save(tmp_path, x=numbers(2), y=LABELS)
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    for bad in (content, content[: len(content) // 2], b"no zip at all", b""):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"own\.npz: ") as caught:
            load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "none.npz")
