"""The theorem: non-negative edges drive the ensemble to the teacher, whatever the students are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import normalisations, property_test, random_array, seeds

from bdistil.core.game import Game, Rules, guarantee, log_entries, step_size

EXAMPLES, OUTPUTS, ROUNDS, BOUND = 500, 4, 160, 5.0


def agreeing(game, rng):
    """A gap that nowhere points the wrong way, of any sign where neither way is wrong."""
    pull = game.pull().numpy()
    signs = np.where(pull == 0, rng.choice([-1, 1], size=pull.shape), np.sign(pull))
    return BOUND * signs * rng.uniform(size=pull.shape)


def barely_weak(game, rng):
    """A random function, turned over where its edge is negative: right hardly more than half."""
    gap = rng.uniform(-BOUND, BOUND, size=game.margin.shape)
    edges = (game.pull().numpy() * gap).sum(axis=0)
    signs = np.sign(edges) if game.rules.normalisation == "per_label" else np.sign(edges.sum())
    return gap * np.where(signs == 0, 1, signs)


def constant_of_the_best_sign(game, rng):
    """The same gap at every point, of the sign that makes the edge non-negative."""
    sign = np.where(game.pull().sum(dim=0).numpy() >= 0, 1, -1)
    return np.broadcast_to(BOUND * sign, game.margin.shape)


def contrary(game, rng):
    """A gap that is everywhere too high: its edges are negative from round 2 on."""
    return np.full(game.margin.shape, BOUND)


def play(learner, normalisation, rounds=ROUNDS):
    """The game after `rounds` learners, all their edges, and max|F_T - g| in float64."""
    rng = np.random.default_rng(0)
    entries = log_entries(EXAMPLES, OUTPUTS, normalisation)
    rules = Rules(step_size(BOUND, rounds, entries), normalisation, bound=1.0, scale=1.0)
    game = Game.start(EXAMPLES, OUTPUTS, rules)
    total, edges = np.zeros((EXAMPLES, OUTPUTS)), []
    for _ in range(rounds):
        gap = torch.from_numpy(learner(game, rng).astype(np.float32))
        edges.append(game.judge(gap).edge)
        game = game.play(gap)
        total += gap.numpy()
    return game, edges, np.abs(total / rounds).max()


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
@pytest.mark.parametrize("learner", [agreeing, barely_weak, constant_of_the_best_sign])
def test_weak_learners_keep_the_guarantee(learner, normalisation):
    game, edges, actual = play(learner, normalisation)
    promised = guarantee(BOUND, ROUNDS, log_entries(EXAMPLES, OUTPUTS, normalisation))
    assert min(edges) >= 0
    assert promised < BOUND  # otherwise the promise would be empty
    assert actual <= game.certificate(ROUNDS) <= promised


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
def test_more_rounds_bring_the_ensemble_nearer(normalisation):
    _, _, few = play(agreeing, normalisation, rounds=20)
    _, _, many = play(agreeing, normalisation, rounds=320)
    assert many < few / 2


@pytest.mark.parametrize("normalisation", ["joint", "per_label"])
def test_learners_with_negative_edges_break_the_guarantee(normalisation):
    game, edges, actual = play(contrary, normalisation)
    assert max(edges[1:]) < 0
    promised = guarantee(BOUND, ROUNDS, log_entries(EXAMPLES, OUTPUTS, normalisation))
    assert actual > promised
    assert game.certificate(ROUNDS) >= actual * (1 - 1e-6)  # the certificate still holds


@property_test
@given(
    seeds,
    normalisations,
    st.tuples(st.integers(1, 15), st.integers(1, 20), st.integers(1, 4)),
    st.floats(1e-3, 10),
    st.floats(-10, 10),
    st.floats(1e-2, 100),
)
def test_the_certificate_holds_for_any_players(seed, normalisation, size, step, drift, scale):
    gaps = (random_array(seed, *size) + np.float32(drift)) * np.float32(scale)
    game = Game.start(*size[1:], Rules(step, normalisation, bound=1.0, scale=1.0))
    for gap in gaps:
        game = game.play(torch.from_numpy(gap))
    actual = np.abs(gaps.astype(np.float64).mean(axis=0)).max()
    rounding = 1e-6 * np.abs(gaps).max()
    slack = log_entries(*size[1:], normalisation) / (step * len(gaps))
    assert actual <= game.certificate(len(gaps)) + rounding
    assert game.certificate(len(gaps)) <= actual + slack + rounding  # nor is it far off
