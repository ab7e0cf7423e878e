import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdistil.data.split import split_indices
from bdistil.errors import DataError

shares = st.sampled_from([0.01, 0.1, 0.2, 0.33, 0.45])
class_counts = st.lists(st.integers(3, 60), min_size=2, max_size=8)


def names_of(counts):
    return [f"c{index}" for index in range(len(counts))]


@given(counts=class_counts, validation=shares, test=shares, seed=st.integers(0, 99))
def test_stratified_split_is_disjoint_complete_and_has_every_class(counts, validation, test, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = split_indices(y, names_of(counts), validation=validation, test=test, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(len(y)))
    for rows in split:
        assert set(y[rows]) == set(range(len(counts)))
        assert (np.diff(rows) > 0).all()


@given(count=st.integers(3, 500), validation=shares, test=shares, seed=st.integers(0, 99))
def test_plain_split_is_disjoint_complete_and_non_empty(count, validation, test, seed):
    split = split_indices(np.zeros((count, 1)), None, validation=validation, test=test, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(count))
    assert all(len(rows) for rows in split)


@given(counts=st.lists(st.integers(50, 200), min_size=2, max_size=6), seed=st.integers(0, 9))
def test_shares_hold_in_total_and_within_one_row_in_each_class(counts, seed):
    y = np.repeat(np.arange(len(counts)), counts)
    split = split_indices(y, names_of(counts), validation=0.2, test=0.1, seed=seed)
    for rows, share in ((split.validation, 0.2), (split.test, 0.1)):
        assert len(rows) == round(share * len(y))
        assert np.abs(np.bincount(y[rows]) - share * np.array(counts)).max() <= 1


@pytest.mark.parametrize("class_names", [None, ("a", "b")])
def test_equal_seeds_give_equal_splits_and_others_do_not(class_names):
    y = np.arange(100) % 2
    first, again, other = (
        split_indices(y, class_names, validation=0.2, test=0.2, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.test, again.test)
    assert not np.array_equal(first.test, other.test)
    assert not np.array_equal(first.validation, other.validation)


def test_a_class_too_rare_for_three_splits_is_named():
    y = np.array([0] * 10 + [1] * 2 + [2])
    with pytest.raises(DataError, match=r"class 'rare' has 1 example \(and 1 more class too few"):
        split_indices(y, ("many", "few", "rare"), validation=0.2, test=0.2, seed=0)


def test_too_few_rows_for_a_regression():
    with pytest.raises(DataError, match="hold 2 examples, but training, validation and test"):
        split_indices(np.zeros(2), None, validation=0.2, test=0.2, seed=0)


@pytest.mark.parametrize(("names", "advised"), [(["0", "1", "-12"], True), (["a", "1"], False)])
def test_rare_whole_numbers_may_be_a_quantity(names, advised):
    y = np.repeat(np.arange(len(names)), [9] * (len(names) - 1) + [1])
    with pytest.raises(DataError, match="has 1 example, but") as caught:
        split_indices(y, names, validation=0.2, test=0.2, seed=0)
    assert ("data.task=regression" in str(caught.value)) is advised
