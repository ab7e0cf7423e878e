"""The whole objective of a candidate against a float64 reference, loss and gradient."""

import numpy as np
import pytest
import torch
from tiny_students import (
    OUTPUTS,
    build,
    cut,
    quick,
    random_array,
    rules_for,
    toy_round,
    trained_alike,
)

from bdistil.core import objective
from bdistil.core.connections import Hidden
from bdistil.core.examples import Examples, Measure
from bdistil.core.game import Game, Summary
from bdistil.core.losses import BARRIER_FLOOR
from bdistil.core.objective import Objective, term_weight
from bdistil.core.progressive_ensemble import take
from bdistil.core.round import Round
from bdistil.core.training_split import Shard, TrainingSplit
from bdistil.names import RECIPE_NAMES

EXAMPLES, BATCH, STEP = 40, 7, 1.0
SHARDS = [17, 23]


def late_round(stage, normalisation):
    """A round of some stage, in two shards, whose margin is made up; the teacher is centred."""
    teacher, margin = map(torch.from_numpy, random_array(stage, 2, EXAMPLES, OUTPUTS))
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    labels = torch.from_numpy(np.random.default_rng(0).integers(OUTPUTS, size=EXAMPLES))
    train = Examples.before_round_one(torch.zeros(EXAMPLES, 1), teacher, labels)
    rules = rules_for(teacher, normalisation, STEP)
    split = TrainingSplit.before_round_one(cut(train, SHARDS), rules).with_margins(
        margin.split(SHARDS),
        Summary.of(margin),
        [[Hidden(torch.zeros(rows, 1))] * (stage - 1) for rows in SHARDS],
    )
    return Round.of(split, train, Measure("classification", 0.0))


def all_rows(pieces):
    return torch.cat(list(pieces)).numpy()


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def reference(logits, state, recipe, skip, attempt, rows):
    """The loss for a student's logits a_t on the rows `rows`, as the design states it."""
    shards, stage = state.train.shards, state.train.stage
    g_all = all_rows(shard.teacher_logits for shard in shards).astype(np.float64)
    margin = all_rows(shard.game.margin for shard in shards).astype(np.float64)
    g, previous = g_all[rows], np.zeros_like(logits)
    if stage > 1:
        previous = g + margin[rows] / (STEP * (stage - 1))
    own = previous + stage * logits if skip else logits
    ensemble = ((stage - 1) * previous + own) / stage
    fitted = own if recipe.target == "student" else ensemble

    tau = recipe.temperature
    log_p, log_q = log_softmax(g / tau), log_softmax(fitted / tau)
    loss = (1 - recipe.label_share) * tau**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    correct = log_softmax(fitted)[np.arange(len(rows)), all_rows(s.labels for s in shards)[rows]]
    loss -= recipe.label_share * correct.mean()
    if stage == 1:
        return loss

    joint = state.train.rules.joint
    total = (2 * np.cosh(margin)).sum(axis=None if joint else 0)
    pull = -2 * np.sinh(margin) / total  # K+ - K-
    gap = own - g
    gap = gap - gap.mean(axis=1, keepdims=True)
    weight = 1 / (recipe.gamma * recipe.gamma_decay**attempt)
    if recipe.penalty == "barrier":
        bound = 2 * np.abs(g_all).max()
        inside = 1 + np.where(margin[rows] < 0, gap, -gap) / bound  # K+ > K- where M < 0
        tangent = np.log(BARRIER_FLOOR) + (inside - BARRIER_FLOOR) / BARRIER_FLOOR
        logs = np.where(inside > BARRIER_FLOOR, np.log(np.maximum(inside, 1e-9)), tangent)
        return loss - weight * logs.sum(axis=1).mean()
    magnitude = np.abs(pull).mean(axis=None if joint else 0)
    edges = (pull[rows] / magnitude * gap).mean(axis=0) / np.abs(g_all).mean()
    return loss + weight * (max(-edges.mean(), 0) if joint else np.maximum(-edges, 0).mean())


def numerical_gradient(function, point):
    gradient = np.zeros_like(point)
    for index in np.ndindex(*point.shape):
        shift = np.zeros_like(point)
        shift[index] = 1e-5
        gradient[index] = (function(point + shift) - function(point - shift)) / 2e-5
    return gradient


@pytest.mark.parametrize("scale", [1.0, 8.0])  # inside the barrier's domain and beyond
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("stage", "attempt"), [(1, 0), (2, 0), (3, 2)])
@pytest.mark.parametrize(
    ("name", "normalisation"),
    [
        ("paper", "per_label"),
        ("faithful", "joint"),
        ("faithful", "per_label"),
        ("accurate", "joint"),
    ],
)
def test_objective_is_the_stated_one(name, normalisation, stage, attempt, skip, scale):
    recipe = quick(name, gamma=1.3)  # a heavy term, so that the comparison sees it
    state = late_round(stage, normalisation)
    local = np.arange(3, 3 + BATCH)  # rows of the second shard
    rows = SHARDS[0] + local
    logits = random_array(9, BATCH, OUTPUTS).astype(np.float64) * scale

    objective = Objective(state, recipe, skip)
    given = torch.from_numpy(logits).float().requires_grad_()
    batch = objective.batch(state.train.shards[1], torch.from_numpy(local))
    loss = objective.loss(given, batch, term_weight(recipe, attempt))
    loss.backward()

    def expected(values):
        return reference(values, state, recipe, skip, attempt, rows)

    assert loss.item() == pytest.approx(expected(logits), rel=1e-5)
    np.testing.assert_allclose(
        given.grad.numpy(), numerical_gradient(expected, logits), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("weight", [0.3, 2.0])
@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_the_own_loss_is_the_fitting_loss_of_the_second_heads_logits(name, weight):
    recipe, state = quick(name, gamma=1.3, own_loss=weight), late_round(2, "joint")
    objective = Objective(state, recipe, True)
    batch = objective.batch(state.train.shards[1], torch.arange(3, 3 + BATCH))
    logits, own = (torch.from_numpy(random_array(seed, BATCH, OUTPUTS)) for seed in (9, 10))
    both = objective.loss(logits, batch, 0.5, own)
    alone = objective.loss(logits, batch, 0.5)
    g, a = batch.examples.teacher_logits.double().numpy(), own.double().numpy()
    tau, right = recipe.temperature, batch.examples.labels.numpy()
    log_p, log_q = log_softmax(g / tau), log_softmax(a / tau)
    distilled = tau**2 * (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    told = -log_softmax(a)[np.arange(BATCH), right].mean()
    expected = (1 - recipe.label_share) * distilled + recipe.label_share * told
    assert (both - alone).item() == pytest.approx(weight * expected, rel=1e-5)


@pytest.mark.parametrize(
    ("stage", "weight", "has"), [(1, 1.0, False), (2, 0.0, False), (2, 1.0, True)]
)
def test_a_second_head_is_there_only_where_it_sees_less_than_the_first(stage, weight, has):
    recipe = quick("accurate", own_loss=weight)
    assert Objective(late_round(stage, "joint"), recipe, True).has_own_loss == has


def loss_of(student, state, shard, rows, recipe, weight):
    objective = Objective(state, recipe, student.config.skip)
    batch = objective.batch(shard, rows)
    logits, _ = student(batch.examples.inputs, batch.examples.earlier)
    return objective.loss(logits, batch, weight)


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_round_one_has_no_weak_learning_term(name):
    state = toy_round()
    student = trained_alike(build(4))
    rows = torch.arange(20)
    (shard,) = state.train.shards
    light, heavy = (loss_of(student, state, shard, rows, quick(name), w) for w in (1e-6, 1e6))
    assert light == heavy


@pytest.mark.parametrize("name", ["paper", "faithful"])
def test_further_tries_push_harder(name):
    recipe = quick(name)
    weights = [term_weight(recipe, attempt) for attempt in range(3)]
    assert weights == pytest.approx([1 / recipe.gamma, 2 / recipe.gamma, 4 / recipe.gamma])


def test_rows_are_those_of_the_shard():
    """A permuted shard with permuted rows is the same batch."""
    state, recipe = toy_round([trained_alike(build(4))]), quick("faithful", gamma=0.1)
    student = trained_alike(build(3, "dense", True, (4,)))
    rows = torch.tensor([5, 0, 17])
    (shard,) = state.train.shards
    order = torch.randperm(len(shard), generator=torch.Generator().manual_seed(0))
    shuffled = Shard(
        shard.inputs[order],
        shard.teacher_logits[order],
        shard.labels[order],
        Game.of(shard.game.margin[order], shard.game.rules),
        [take(state, order) for state in shard.earlier],
    )
    where = torch.argsort(order)[rows]
    loss = loss_of(student, state, shard, rows, recipe, 10.0)
    torch.testing.assert_close(loss_of(student, state, shuffled, where, recipe, 10.0), loss)
    assert loss != loss_of(student, state, shard, rows + 1, recipe, 10.0)


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_candidates_along_a_leading_dimension_have_losses_of_their_own(name):
    recipe = quick(name)
    state = late_round(2, recipe.normalisation)
    objective = Objective(state, recipe, True)
    batch = objective.batch(state.train.shards[0], torch.arange(BATCH))
    logits = torch.from_numpy(random_array(5, 4, BATCH, OUTPUTS))
    weights = torch.tensor([0.1, 1.0, 3.0, 10.0])
    together = objective.loss(logits, batch, weights)
    alone = [objective.loss(o, batch, w.item()) for o, w in zip(logits, weights, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("gathered", [1, 40, 10_000])
@pytest.mark.parametrize("name", ["paper", "accurate"])
def test_batches_are_those_of_their_rows_however_many_are_gathered(name, gathered, monkeypatch):
    monkeypatch.setattr(objective, "GATHERED", gathered)
    recipe = quick(name)
    state = late_round(2, recipe.normalisation)
    ours = Objective(state, recipe, True)
    one, other = state.train.shards
    rows = [(other, part) for part in torch.randperm(len(other)).split(5)]
    rows += [(one, part) for part in torch.randperm(len(one)).split(5)]
    found = list(ours.batches(iter(rows), epoch=0))
    assert len(found) == len(rows)
    for batch, (shard, part) in zip(found, rows, strict=True):
        wanted = ours.batch(shard, part)
        pairs = [
            (batch.examples.teacher_logits, wanted.examples.teacher_logits),
            (batch.examples.ensemble, wanted.examples.ensemble),
            (batch.examples.labels, wanted.examples.labels),
            (batch.examples.earlier[0].features, wanted.examples.earlier[0].features),
            (batch.preference, wanted.preference),
            (batch.soft.shares, wanted.soft.shares),
        ]
        for tensor, expected in pairs:
            assert torch.equal(tensor, expected)
