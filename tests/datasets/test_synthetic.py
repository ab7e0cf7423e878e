import numpy as np
import pytest

from bdistil.datasets.catalogue import load_dataset
from bdistil.datasets.synthetic import _random_corners, _random_form
from bdistil.spec import DataSpec


def load(name, seed=0, **options):
    return load_dataset(DataSpec(name=name, options=options), seed)


@pytest.mark.parametrize("name", ["cube", "ellipsoid"])
def test_default_sizes(name):
    dataset = load(name)
    assert [len(s) for s in (dataset.train, dataset.validation, dataset.test)] == [3000, 1000, 1000]


def test_cube_labels_are_the_nearest_corner_modulo_4():
    train = load("cube", geometry=5, examples=400).train
    corners = _random_corners(np.random.default_rng(5))
    assert len(np.unique(corners, axis=0)) == 16
    assert set(corners.ravel()) == {-1, 1}
    distances = ((train.x[:, None] - corners) ** 2).sum(axis=2)
    np.testing.assert_array_equal(train.y, distances.argmin(axis=1) % 4)
    assert np.abs(train.x).max() <= 1


def test_ellipsoid_labels_grow_with_a_form_that_is_no_sphere():
    train = load("ellipsoid", geometry=5).train
    form = _random_form(np.random.default_rng(5))
    eigenvalues = np.linalg.eigvalsh(form)
    assert eigenvalues[0] > 0
    assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(4)
    values = np.einsum("ni,ij,nj->n", train.x, form, train.x)
    for label in range(3):
        assert values[train.y == label].max() <= values[train.y == label + 1].min()
    np.testing.assert_allclose(np.bincount(train.y) / len(train), 0.25, atol=0.03)


@pytest.mark.parametrize("name", ["cube", "ellipsoid"])
def test_geometry_changes_the_labels_of_the_same_points(name):
    def labelled(geometry):
        dataset = load(name, geometry=geometry)
        splits = (dataset.train, dataset.validation, dataset.test)
        return {tuple(x): y for split in splits for x, y in zip(split.x, split.y, strict=True)}

    first, other = labelled(0), labelled(1)
    assert first.keys() == other.keys()
    assert np.mean([first[x] == other[x] for x in first]) < 0.7
