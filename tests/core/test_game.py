"""The game on one margin matrix against the paper's multiplicative update in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import normalisations, property_test, random_array, seeds

from bdistil.core.game import Game, Rules, Summary, guarantee, log_entries, step_size

sizes = st.tuples(st.integers(0, 12), st.integers(1, 30), st.integers(1, 5))
steps = st.floats(1e-3, 1)
scales = st.floats(1e-3, 10)


def normalised(raised, lowered, normalisation):
    axis = None if normalisation == "joint" else 0
    total = raised.sum(axis=axis) + lowered.sum(axis=axis)
    return raised / total, lowered / total


def paper_weights(gaps, step, normalisation):
    """K+ and K- as published: one multiplicative update a round, renormalised each time."""
    ones = np.ones(gaps.shape[1:])
    raised, lowered = normalised(ones, ones, normalisation)
    for gap in gaps.astype(np.float64):
        raised, lowered = raised * np.exp(-step * gap), lowered * np.exp(step * gap)
        raised, lowered = normalised(raised, lowered, normalisation)
    return raised, lowered


def played(gaps, step, normalisation):
    game = Game.start(*gaps.shape[1:], Rules(step, normalisation, bound=1.0, scale=1.0))
    for gap in gaps:
        game = game.play(torch.from_numpy(gap))
    return game


def rounding(gaps, step):
    """What float32 margins cost: a relative error of the weights."""
    largest = np.abs(step * gaps.astype(np.float64)).sum(axis=0).max(initial=0)
    return 1e-6 * (1 + len(gaps)) * (1 + largest)


@property_test
@given(sizes, scales, steps, normalisations, seeds)
def test_weights_are_those_of_the_multiplicative_update(size, scale, step, normalisation, seed):
    gaps = random_array(seed, *size) * np.float32(scale)
    game = played(gaps, step, normalisation)
    for ours, papers in zip(game.weights(), paper_weights(gaps, step, normalisation), strict=True):
        np.testing.assert_allclose(ours.numpy(), papers, rtol=rounding(gaps, step), atol=1e-30)


@property_test
@given(sizes, scales, steps, normalisations, seeds)
def test_edges_are_the_papers(size, scale, step, normalisation, seed):
    gaps = random_array(seed, *size) * np.float32(scale)
    gap = random_array(seed + 1, *size[1:])
    raised, lowered = paper_weights(gaps, step, normalisation)
    edges = (raised * gap + lowered * -gap).sum(axis=0)
    reach = (np.abs(raised - lowered) * np.abs(gap)).sum(axis=0)
    verdict = played(gaps, step, normalisation).judge(torch.from_numpy(gap))
    tolerance = rounding(gaps, step) * np.abs(gap).max()
    np.testing.assert_allclose(verdict.edges.numpy(), edges, rtol=0, atol=tolerance)
    joint = normalisation == "joint"
    assert verdict.edge == pytest.approx(edges.sum() if joint else edges.min(), abs=5 * tolerance)
    if reach.min() > 1e4 * tolerance:
        relative = edges.sum() / reach.sum() if joint else (edges / reach).min()
        assert verdict.relative == pytest.approx(relative, abs=1e-3)


@property_test
@given(seeds, normalisations, st.integers(1, 20), st.integers(1, 4), st.floats(1e-3, 1e6))
def test_before_the_first_round_every_students_edge_is_exactly_zero(
    seed, normalisation, examples, outputs, scale
):
    game = Game.start(examples, outputs, Rules(0.1, normalisation, bound=1.0, scale=1.0))
    raised, lowered = game.weights()
    share = 1 / (2 * examples * (outputs if normalisation == "joint" else 1))
    torch.testing.assert_close(raised, torch.full((examples, outputs), share))
    assert torch.equal(raised, lowered)
    verdict = game.judge(torch.from_numpy(random_array(seed, examples, outputs)) * scale)
    assert verdict.edge == 0
    assert verdict.relative == 0
    assert not verdict.edges.any()


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
@pytest.mark.parametrize("size", [1e2, 1e3, 1e6, 1e30])
def test_extreme_margins_neither_overflow_nor_give_nan(normalisation, size):
    margin = torch.tensor([[size, -size, 0.0], [-size, size / 2, 1.0], [0.0, 0.0, -1.0]])
    game = Game.of(margin, Rules(0.1, normalisation, bound=1.0, scale=1.0))
    gap = torch.from_numpy(random_array(0, 3, 3))
    verdict = game.judge(gap)
    for weights in game.weights():
        assert torch.isfinite(weights).all()
        assert (weights >= 0).all()
        assert (weights <= 1).all()
    assert torch.isfinite(verdict.edges).all()
    assert -1 <= verdict.relative <= 1
    assert np.isfinite(game.certificate(1))


@property_test
@given(seeds, normalisations, st.floats(0, 1e3))
def test_weights_sum_to_one(seed, normalisation, size):
    margin = torch.from_numpy(random_array(seed, 20, 4)) * size
    raised, lowered = Game.of(margin, Rules(0.1, normalisation, bound=1.0, scale=1.0)).weights()
    columns = (raised + lowered).sum(dim=0, dtype=torch.float64)
    total = columns.sum() if normalisation == "joint" else columns
    tolerance = 1e-6 * (1 + margin.abs().max().item())
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=tolerance)


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
def test_a_gap_of_zero_has_edge_and_relative_edge_zero(normalisation):
    game = Game.of(
        torch.from_numpy(random_array(0, 5, 3)), Rules(0.1, normalisation, bound=1.0, scale=1.0)
    )
    verdict = game.judge(torch.zeros(5, 3))
    assert (verdict.edge, verdict.relative) == (0, 0)
    same = game.play(torch.zeros(5, 3))
    assert torch.equal(same.margin, game.margin)
    assert torch.equal(same.log_normaliser, game.log_normaliser)


def test_a_label_that_is_already_perfect_does_not_spoil_the_others():
    margin = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])  # no weight is preferred at label 1
    game = Game.of(margin, Rules(0.1, "joint", bound=1.0, scale=1.0))
    verdict = game.judge(torch.tensor([[-1.0, 3.0], [1.0, 3.0]]))
    assert verdict.relative == pytest.approx(1)
    assert verdict.edges[1] == 0


def test_relative_edge_is_one_for_a_student_that_always_moves_the_right_way():
    game = Game.of(
        torch.from_numpy(random_array(0, 30, 4)), Rules(0.1, "per_label", bound=1.0, scale=1.0)
    )
    rising = torch.sign(-game.margin) * torch.from_numpy(np.abs(random_array(1, 30, 4)))
    assert game.judge(rising).relative == pytest.approx(1)
    assert game.judge(-rising).relative == pytest.approx(-1)
    assert game.judge(rising).edge > 0 > game.judge(-rising).edge


@property_test
@given(seeds, normalisations, st.lists(st.integers(1, 7), min_size=1, max_size=5), st.floats(0, 99))
def test_shards_make_the_whole_game(seed, normalisation, shard_sizes, size):
    margin = torch.from_numpy(random_array(seed, sum(shard_sizes), 3)) * size
    gap = torch.from_numpy(random_array(seed + 1, sum(shard_sizes), 3))
    shards = margin.split(shard_sizes)
    summary = Summary.merged([Summary.of(shard) for shard in shards])

    whole = Game.of(margin, Rules(0.1, normalisation, bound=1.0, scale=1.0))
    parts = [Game(shard, whole.rules, summary) for shard in shards]
    tolerance = 1e-6 * (1 + margin.abs().max().item())
    for which in (0, 1):
        joined = torch.cat([part.weights()[which] for part in parts])
        torch.testing.assert_close(joined, whole.weights()[which], rtol=tolerance, atol=0)
    directions = torch.cat([part.direction() for part in parts])
    torch.testing.assert_close(directions, whole.direction(), rtol=100 * tolerance, atol=0)
    edges = sum(part.judge(g).edges for part, g in zip(parts, gap.split(shard_sizes), strict=True))
    torch.testing.assert_close(edges, whole.judge(gap).edges, rtol=0, atol=10 * tolerance)


sizes_of_margins = st.sampled_from([0.0, 1e-38, 1e-30, 1e-7, 1e-3, 1.0, 80.0, 1e3, 1e6, 1e9])


def exact_summary(margin):
    """log Σ 2 cosh M and log Σ 2 sinh |M| of each column, in float64 with the maximum apart."""
    size = np.abs(margin.astype(np.float64))
    top = size.max(axis=0)
    parts = size - top, np.exp(-2 * size), -np.expm1(-2 * size)
    with np.errstate(divide="ignore"):  # log 0 where a column is all zero
        cosh = top + np.log((np.exp(parts[0]) * (1 + parts[1])).sum(axis=0))
        sinh = top + np.log((np.exp(parts[0]) * parts[2]).sum(axis=0))
    return cosh, sinh


def assert_summary(summary, margin):
    cosh, sinh = exact_summary(margin)
    assert summary.rows == len(margin)
    np.testing.assert_allclose(summary.log_cosh.numpy(), cosh, rtol=1e-14, atol=1e-5)
    np.testing.assert_allclose(summary.log_sinh.numpy(), sinh, rtol=1e-14, atol=1e-5)


@property_test
@given(seeds, st.lists(sizes_of_margins, min_size=3, max_size=3))
def test_a_summary_holds_the_logs_of_sums_of_hyperbolic_functions(seed, scales):
    margin = random_array(seed, 15, 3) * np.float32(scales)
    assert_summary(Summary.of(torch.from_numpy(margin)), margin)


@property_test
@given(
    seeds,
    st.lists(st.tuples(st.integers(1, 7), sizes_of_margins), min_size=1, max_size=5),
)
def test_merged_summaries_of_shards_are_the_summary_of_the_whole(seed, shards):
    margins = [
        random_array(seed + index, rows, 3) * np.float32(size)
        for index, (rows, size) in enumerate(shards)
    ]
    merged = Summary.merged([Summary.of(torch.from_numpy(margin)) for margin in margins])
    margin = np.concatenate(margins)
    assert_summary(merged, margin)
    whole = Summary.of(torch.from_numpy(margin))
    torch.testing.assert_close(merged.log_cosh, whole.log_cosh, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(merged.log_sinh, whole.log_sinh, rtol=1e-6, atol=1e-6)


def exact_pull(margin, normalisation, total):
    """-2 sinh M over the sum of `total` (a log of :func:`exact_summary`), in float64."""
    size = np.abs(margin.astype(np.float64))
    if normalisation == "joint":
        total = np.logaddexp.reduce(total)
    return -np.sign(margin) * np.exp(size - total) * -np.expm1(-2 * size)


@property_test
@given(seeds, normalisations, st.lists(sizes_of_margins, min_size=3, max_size=3))
def test_pull_and_direction_are_exact_for_margins_of_any_size(seed, normalisation, scales):
    margin = random_array(seed, 15, 3) * np.float32(scales)
    cosh, sinh = exact_summary(margin)
    game = Game.of(torch.from_numpy(margin), Rules(0.1, normalisation, bound=1.0, scale=1.0))
    tolerance = 5e-5  # exponents up to 80, by which more than nothing is left, in float32
    pull = exact_pull(margin, normalisation, cosh)
    np.testing.assert_allclose(game.pull().numpy(), pull, rtol=tolerance, atol=1e-37)

    axis = None if normalisation == "joint" else 0
    with np.errstate(invalid="ignore"):  # a column of zeros
        share = exact_pull(margin, normalisation, sinh)
        size = np.abs(share).mean(axis=axis, keepdims=True)
        expected = np.where(np.isfinite(size), share / size, 0)
    direction = game.direction().numpy()
    np.testing.assert_allclose(direction, expected, rtol=tolerance, atol=1e-30)
    degenerate = ~margin.any(axis=axis)
    mean = np.abs(direction).mean(axis=axis)
    np.testing.assert_allclose(mean, np.where(degenerate, 0, 1), rtol=tolerance)


@property_test
@given(seeds, normalisations, st.floats(1e-2, 30))
def test_direction_is_the_pull_over_its_mean_magnitude(seed, normalisation, size):
    margin = random_array(seed, 15, 3) * np.float32(size)
    raised, lowered = normalised(*np.exp([-margin, margin], dtype=np.float64), normalisation)
    pull = raised - lowered
    expected = pull / np.abs(pull).mean(axis=None if normalisation == "joint" else 0)
    direction = Game.of(
        torch.from_numpy(margin), Rules(0.1, normalisation, bound=1.0, scale=1.0)
    ).direction()
    np.testing.assert_allclose(direction.numpy(), expected, rtol=1e-4, atol=1e-12)


def test_a_degenerate_game_has_direction_zero_instead_of_nan():
    for normalisation in ("joint", "per_label"):
        start = Game.start(4, 3, Rules(0.1, normalisation, bound=1.0, scale=1.0))
        assert torch.equal(start.direction(), torch.zeros(4, 3))
    partly = Game.of(
        torch.tensor([[1e-4, 0.0], [-3e-4, 0.0]]), Rules(0.1, "per_label", bound=1.0, scale=1.0)
    )
    expected = torch.tensor([[-0.5, 0.0], [1.5, 0.0]])
    torch.testing.assert_close(partly.direction(), expected)


@pytest.mark.parametrize("rows", [slice(3, 9), torch.tensor([7, 2, 2, 14])])
@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
def test_rows_of_a_game_are_those_of_all_rows(normalisation, rows):
    game = Game.of(
        torch.from_numpy(random_array(0, 15, 3)), Rules(0.1, normalisation, bound=1.0, scale=1.0)
    )
    gap = torch.from_numpy(random_array(1, 15, 3))
    assert torch.equal(game.pull(rows), game.pull()[rows])
    assert torch.equal(game.direction(rows), game.direction()[rows])
    assert torch.equal(game.ensemble_gap(2, rows), game.ensemble_gap(2)[rows])
    edges, largest = game.edge_sums(gap[rows], rows)
    product = (game.pull() * gap)[rows].double()
    torch.testing.assert_close(edges, product.sum(dim=0))
    torch.testing.assert_close(largest, product.abs().sum(dim=0))


@property_test
@given(sizes.filter(lambda size: size[0] > 0), scales, steps, normalisations, seeds)
def test_the_margin_holds_the_ensembles_gap(size, scale, step, normalisation, seed):
    gaps = random_array(seed, *size) * np.float32(scale)
    game = played(gaps, step, normalisation)
    mean = gaps.astype(np.float64).mean(axis=0)
    ours = game.ensemble_gap(len(gaps)).numpy()
    np.testing.assert_allclose(ours, mean, rtol=0, atol=1e-6 * np.abs(gaps).max())


def test_formulas_of_step_and_guarantee():
    assert log_entries(500, 10, "per_label") == pytest.approx(np.log(1000))
    assert log_entries(500, 10, "joint") == pytest.approx(np.log(10000))
    entries = log_entries(500, 10, "joint")
    assert step_size(3.0, 50, entries) == pytest.approx(np.sqrt(np.log(10000) / 50) / 3)
    assert guarantee(3.0, 50, entries) == pytest.approx(6 * np.sqrt(np.log(10000) / 50))
