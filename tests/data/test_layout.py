"""What the axes of arrays mean, and the refusal of those that could mean two things."""

from __future__ import annotations

import numpy as np
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.errors import DataError, SpecError
from bdistil.spec import DataSpec

ROWS = 30
RNG = np.random.default_rng(0)


def load(tmp_path, x, mapped=False, **settings):
    y = np.arange(ROWS) % 3
    if mapped:
        path = tmp_path / "mine"
        path.mkdir()
        np.save(path / "x.npy", x)
        np.save(path / "y.npy", y)
    else:
        path = tmp_path / "mine.npz"
        np.savez(path, x=x, y=y)
    return load_dataset(DataSpec(path=path, **settings), 0)


def noise(*shape):
    return RNG.normal(size=(ROWS, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (noise(28, 28), r"sequences of 28 steps of 28 features, or grey images of 28 x 28; set "),
        (noise(62, 47), r"data\.layout=sequence or data\.layout=image"),
        (RNG.integers(256, size=(ROWS, 40, 12)), "or grey images of 40 x 12"),
        (
            noise(16, 16, 3),
            "images of 16 x 16 with 3 channels last, or of 16 x 3 with 16 channe",
        ),
        (noise(4, 8, 1), "images of 4 x 8 with 1 channel last, or of 8 x 1 with 4 channels first"),
    ],
)
def test_shapes_that_could_mean_two_things_are_refused_with_both(tmp_path, x, message):
    with pytest.raises(DataError, match=rf"mine\.npz: array 'x' of shape .*{message}"):
        load(tmp_path, x)


@pytest.mark.parametrize(
    ("shape", "domain"),
    [
        ((100, 6), "sequence"),
        ((99, 32), "sequence"),
        ((7, 7), "sequence"),
        ((3, 32, 32), "image"),
        ((1, 28, 28), "image"),
        ((3, 4, 4), "image"),
        ((16, 8, 8), "image"),
    ],
)
def test_other_shapes_are_read_as_ever(tmp_path, shape, domain):
    dataset = load(tmp_path, noise(*shape))
    assert (dataset.domain, dataset.input_shape) == (domain, shape)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    ("layout", "shape", "domain", "order"),
    [
        ("sequence", (9, 8), "sequence", (0, 1, 2)),
        ("NTF", (9, 8), "sequence", (0, 1, 2)),
        ("NFT", (9, 8), "sequence", (0, 2, 1)),
        ("image", (9, 8), "image", None),
        ("NHW", (9, 8), "image", None),
        ("NCHW", (9, 8, 3), "image", (0, 1, 2, 3)),
        ("NHWC", (9, 8, 3), "image", (0, 3, 1, 2)),
        ("image", (3, 9, 8), "image", (0, 1, 2, 3)),
    ],
)
def test_a_layout_decides(tmp_path, layout, shape, domain, order, mapped):
    x = noise(*shape)
    dataset = load(tmp_path, x, mapped, layout=layout)
    wanted = x[:, None] if order is None else x.transpose(order)
    assert (dataset.domain, dataset.input_shape) == (domain, wanted.shape[1:])
    rows = {row.tobytes() for row in np.ascontiguousarray(wanted)}
    for split in (dataset.train, dataset.validation, dataset.test):
        assert {np.ascontiguousarray(row).tobytes() for row in split.x} <= rows


def test_a_layout_of_other_axes_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"data\.layout is NHWC, but array 'x' has shape \(30, 9"):
        load(tmp_path, noise(9, 8), layout="NHWC")
    with pytest.raises(DataError, match="channels last"):
        load(tmp_path, noise(9, 8, 3), layout="image")


def test_arrays_of_two_files_must_be_alike(tmp_path):
    for name, width in (("a", 2), ("b", 2), ("c", 3)):
        np.savez(tmp_path / f"{name}.npz", x=noise(width), y=np.arange(ROWS) % 3)
    a, b, c = (tmp_path / f"{name}.npz" for name in "abc")
    dataset = load_dataset(DataSpec(path=a, validation_path=b, test_path=b), 0)
    np.testing.assert_array_equal(dataset.test.x, np.load(b)["x"])
    assert len(dataset.train) == ROWS
    with pytest.raises(DataError, match=r"array 'x' has shapes \(30, 2\) and \(30, 3\)"):
        load_dataset(DataSpec(path=a, test_path=c), 0)


def test_arrays_that_name_their_split_keep_it(tmp_path):
    x, y = noise(2), np.arange(ROWS) % 3
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    dataset = load_dataset(DataSpec(path=path), 0)
    np.testing.assert_array_equal(dataset.test.x, x[20:])
    np.testing.assert_array_equal(dataset.test.y, y[20:])
    assert dataset.card.how.startswith("test as given; validation from training")
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[21:])
    with pytest.raises(DataError, match=r"differ in length \(x: 10, y: 9\)"):
        load_dataset(DataSpec(path=path), 0)
    np.savez(path, x_train=x[:20], y_train=y[:20], x_test=x[20:])
    with pytest.raises(DataError, match="array 'y_test' is missing"):
        load_dataset(DataSpec(path=path), 0)
