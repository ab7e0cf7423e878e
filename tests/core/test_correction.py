"""Corrected losses against float64 arithmetic of their own: numerical slopes and grid searches."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_objective import late_round
from tiny_students import build, property_test, quick, random_array, seeds, toy_round

from bdistil.core.correction import BOUNDS, FLOOR, CorrectedLoss
from bdistil.core.find_weak_learner import find_weak_learner
from bdistil.core.losses import fitting_loss
from bdistil.core.objective import Objective
from bdistil.core.training_split import TrainingSplit
from bdistil.names import RECIPE_NAMES

ROWS, CLASSES = 6, 4
CORRECTIONS = ["orthogonal", *BOUNDS]
MINIMAX = {"minimax_absolute": 0, "minimax_power": 0.5, "minimax_relative": 1}
DISTILLATIONS = ["kl", "squared_p", "squared_log_p"]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def case(seed, scale=1.0, rows=ROWS):
    """Student's and teacher's logits in float64, and class indices."""
    logits, teacher = random_array(seed, 2, rows, CLASSES).astype(np.float64) * scale
    return logits, teacher, np.random.default_rng(seed).integers(CLASSES, size=rows)


def clipped(teacher, floor=FLOOR):
    p = softmax(teacher).clip(floor)
    return p / p.sum(axis=-1, keepdims=True)


def loss_and_gradient(loss, logits, teacher, labels):
    given = torch.from_numpy(logits).requires_grad_()
    value = loss(given, torch.from_numpy(teacher), torch.from_numpy(labels))
    value.backward()
    return value.item(), given.grad.numpy()


def phi(distillation, p, tau):
    """What each loss makes of probabilities."""
    if distillation == "squared_p":
        return p
    if distillation == "squared_log_p":
        return np.log(p) - np.log(p).mean(axis=-1, keepdims=True)
    return p ** (1 / tau) / (p ** (1 / tau)).sum(axis=-1, keepdims=True)


def weight_by_hand(correction, c, p, y):
    if correction == "orthogonal":
        return np.ones_like(p)
    if correction == "bounded":
        return c / (c + (y - p) ** 2)
    squared = (c * p ** MINIMAX[correction]) ** 2
    return squared / (squared + p * (1 - p))


@property_test
@given(seeds, st.floats(0.1, 20))
def test_orthogonal_cross_entropy_has_the_gradient_of_label_cross_entropy(seed, scale):
    logits, teacher, labels = case(seed, scale)
    _, ours = loss_and_gradient(CorrectedLoss(correction="orthogonal"), logits, teacher, labels)
    given = torch.from_numpy(logits).requires_grad_()
    torch.nn.functional.cross_entropy(given, torch.from_numpy(labels)).backward()
    np.testing.assert_allclose(ours, given.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("power", MINIMAX.values())
@pytest.mark.parametrize("slope", [1.0, 0.3, -4.0])
def test_minimax_weight_is_the_grid_searchs(power, slope):
    """Over γ, of the worst case over p - p̂ in [-δ, δ] of squared bias plus variance."""
    name = next(n for n, p in MINIMAX.items() if p == power)
    grid = slope * np.linspace(0, 1, 20_001)
    for c in (0.01, 0.2, 0.9):
        p = np.array([0.02, 0.1, 0.5, 0.93])
        ours = CorrectedLoss(correction=name, bound=c).label_weight(
            torch.from_numpy(p), torch.zeros(4)
        )
        for value, weight in zip(p, ours.numpy(), strict=True):
            wrong_by = c * value**power * np.linspace(-1, 1, 21)
            bias = (grid[:, None] - slope) * wrong_by
            worst = (bias**2).max(axis=1) + grid**2 * value * (1 - value)
            assert slope * weight == pytest.approx(grid[worst.argmin()], abs=abs(slope) * 1e-4)


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("distillation", DISTILLATIONS)
def test_targets_move_along_the_slope_of_phi(distillation, correction, tau):
    _, teacher, labels = case(1, scale=2.0)
    p, y = clipped(teacher), np.eye(CLASSES)[labels]
    step = weight_by_hand(correction, 0.2, p, y) * (y - p)
    ahead, behind = (phi(distillation, p + sign * 1e-6 * step, tau) for sign in (1, -1))
    change = (ahead - behind) / 2e-6
    loss = CorrectedLoss(distillation, correction, 0.2, tau)
    log_p = loss.log_probabilities(torch.from_numpy(teacher))
    np.testing.assert_allclose(log_p.exp().numpy(), p, rtol=1e-12)
    ours = loss.targets(log_p, torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(ours, phi(distillation, p, tau) + change, atol=1e-8)


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("distillation", DISTILLATIONS)
def test_the_loss_is_the_stated_one(distillation, correction):
    logits, teacher, labels = case(2, scale=3.0)
    loss = CorrectedLoss(distillation, correction, 0.1, temperature=2.0)
    p, y = clipped(teacher), np.eye(CLASSES)[labels]
    target = loss.targets(torch.log(torch.from_numpy(p)), torch.from_numpy(y)).numpy()
    if distillation == "kl":
        q = phi("kl", p, 2.0)
        expected = 4 * (q * np.log(q) - target * np.log(softmax(logits / 2))).sum(axis=1).mean()
    else:
        own = phi(distillation, softmax(logits), 1.0)
        expected = ((own - target) ** 2).sum(axis=1).mean()
    assert loss_and_gradient(loss, logits, teacher, labels)[0] == pytest.approx(expected)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_without_a_correction_it_is_the_plain_divergence(tau):
    logits, teacher, labels = case(3, scale=3.0)
    value, gradient = loss_and_gradient(CorrectedLoss(temperature=tau), logits, teacher, labels)

    def plain(given, teacher, _):
        return fitting_loss(given, teacher, None, temperature=tau)

    expected, expected_gradient = loss_and_gradient(plain, logits, teacher, labels)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


@pytest.mark.parametrize("distillation", DISTILLATIONS)
@pytest.mark.parametrize("correction", ["none", *CORRECTIONS])
def test_sure_teachers_and_float32_leave_the_loss_finite(distillation, correction):
    logits = torch.zeros(3, CLASSES, requires_grad=True)
    teacher = torch.tensor([[400.0, 0, 0, -400], [0, 0, 0, 0], [-90, 90, -90, 90]])
    loss = CorrectedLoss(distillation, correction, 1e-3, 2.0)
    value = loss(logits, teacher, torch.tensor([3, 0, 0]))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("distillation", DISTILLATIONS)
def test_a_label_by_itself_is_corrected_as_two_classes(distillation):
    logits, teacher = random_array(4, 2, ROWS, 1).astype(np.float64)
    labels = np.array([[0.0], [1], [1], [0], [1], [0]])
    loss = CorrectedLoss(distillation, "minimax_power", 0.3, 2.0)
    ours = loss_and_gradient(loss, logits, teacher, labels)[0]
    beside = np.concatenate([logits, np.zeros_like(logits)], axis=1)
    teachers = np.concatenate([teacher, np.zeros_like(teacher)], axis=1)
    classes = (1 - labels[:, 0]).astype(np.int64)
    assert ours == pytest.approx(loss_and_gradient(loss, beside, teachers, classes)[0])


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, CLASSES)])
def test_candidates_have_bounds_of_their_own(shape):
    logits, teacher = torch.randn(3, ROWS, CLASSES), torch.randn(ROWS, CLASSES)
    labels = torch.randint(2, shape)
    labels = labels.float() if len(shape) == 2 else labels
    c = torch.tensor([0.01, 0.1, 1.0])
    together = CorrectedLoss("squared_p", "bounded", c)(logits, teacher, labels)
    alone = [
        CorrectedLoss("squared_p", "bounded", bound)(one, teacher, labels)
        for one, bound in zip(logits, c.tolist(), strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(alone))
    assert len(set(together.tolist())) == 3


def corrected(**changes):
    settings = {"correction": "orthogonal", "distillation": "squared_p", "gamma": 1.3}
    return quick("faithful", **settings | changes)


@pytest.mark.parametrize("label_share", [0.0, 0.3])
def test_the_objective_corrects_the_fitting_loss_and_nothing_else(label_share):
    state = late_round(3, "joint")
    recipe = corrected(label_share=label_share)
    objective, rows = Objective(state, recipe, True), torch.arange(7)
    shard = state.train.shards[1]
    batch = objective.batch(shard, rows)
    logits = torch.from_numpy(random_array(9, 7, 3))
    term = objective.loss(logits, batch, 2.0) - objective.loss(logits, batch, 0.0)
    plain = Objective(state, quick("faithful", gamma=1.3), True)
    other = plain.loss(logits, plain.batch(shard, rows), 2.0)
    other -= plain.loss(logits, plain.batch(shard, rows), 0.0)
    torch.testing.assert_close(term, other)  # the weak-learning term knows no labels

    fitted = objective.fitted(logits, batch.examples)
    loss = CorrectedLoss("squared_p", "orthogonal", floor=1 / 500)
    expected = (1 - label_share) * loss(
        fitted, batch.examples.teacher_logits, batch.examples.labels
    )
    expected += label_share * torch.nn.functional.cross_entropy(fitted, batch.examples.labels)
    torch.testing.assert_close(objective.loss(logits, batch, 0.0), expected)


def test_margins_and_edges_do_not_see_labels():
    """The same student is judged and played alike whatever the labels are."""
    state, student = toy_round([build(4)]), build(3, "dense", True, (4,))
    find_weak_learner(student, state, corrected(epochs=1))
    flipped = TrainingSplit(
        [dataclasses.replace(s, labels=(s.labels + 1) % 3) for s in state.train.shards]
    )
    assert flipped.judge(student)[1] == state.train.judge(student)[1]
    torch.testing.assert_close(flipped.judge(student)[0].edges, state.train.judge(student)[0].edges)
    (ours,), (theirs,) = flipped.played(student).shards, state.train.played(student).shards
    assert torch.equal(ours.game.margin, theirs.game.margin)


def test_images_are_clipped_higher_than_tables():
    state = toy_round()
    assert Objective(state, corrected(), True).corrected.floor == pytest.approx(1 / 500)
    inputs = state.validation.inputs[:, None]
    seen = dataclasses.replace(
        state, validation=dataclasses.replace(state.validation, inputs=inputs)
    )
    assert Objective(seen, corrected(), True).corrected.floor == FLOOR


def test_the_default_recipes_are_not_corrected():
    for name in RECIPE_NAMES:
        assert Objective(toy_round(), quick(name), True).corrected is None
