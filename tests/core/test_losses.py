"""Losses against formulas written out in float64 numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_students import property_test, random_array, seeds

from bdistil.core.losses import (
    BARRIER_FLOOR,
    edge_hinge,
    fitting_loss,
    log_barrier,
)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def double(array):
    return torch.from_numpy(array.astype(np.float64))


shares = st.floats(0, 1)
batches = st.tuples(st.integers(1, 9), st.integers(2, 6))


@property_test
@given(seeds, batches, shares, st.floats(0.5, 8), st.floats(0.1, 20))
def test_classification_mixes_divergence_and_cross_entropy(seed, size, share, tau, scale):
    logits, teacher = random_array(seed, 2, *size).astype(np.float64) * scale
    labels = np.random.default_rng(seed).integers(size[1], size=size[0])
    p, q = softmax(teacher / tau), softmax(logits / tau)
    divergence = tau**2 * (p * (np.log(p) - np.log(q))).sum(axis=1).mean()
    entropy = -np.log(softmax(logits))[np.arange(size[0]), labels].mean()
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        ours = fitting_loss(
            double(logits).to(dtype),
            double(teacher).to(dtype),
            torch.from_numpy(labels),
            label_share=share,
            temperature=tau,
        )
        expected = (1 - share) * divergence + share * entropy
        assert ours.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


@property_test
@given(seeds, batches, shares, st.floats(0.5, 8), st.floats(0.1, 20))
def test_labels_count_each_by_itself(seed, size, share, tau, scale):
    """As two classes each, no and yes, with the logits 0 and z."""
    logits, teacher = random_array(seed, 2, *size).astype(np.float64) * scale
    labels = np.random.default_rng(seed).integers(2, size=size)
    questions = [double(np.stack([np.zeros(z.size), z.ravel()], axis=1)) for z in (logits, teacher)]
    settings = {"label_share": share, "temperature": tau}
    expected = fitting_loss(*questions, torch.from_numpy(labels.ravel()), **settings).item()
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-4)):
        given = (double(array).to(dtype) for array in (logits, teacher, labels))
        ours = fitting_loss(*given, task="multilabel", **settings)
        assert ours.item() == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_candidates_have_a_multilabel_loss_each():
    logits = torch.from_numpy(random_array(0, 4, 6, 3))
    teacher, labels = logits[0] / 2, (logits[1] > 0).float()
    settings = {"task": "multilabel", "label_share": 0.4, "temperature": 2.0}
    together = fitting_loss(logits, teacher, labels, **settings)
    each = [fitting_loss(own, teacher, labels, **settings) for own in logits]
    torch.testing.assert_close(together, torch.stack(each))


@property_test
@given(seeds, batches, shares, st.floats(0.5, 8))
def test_regression_mixes_squared_errors_and_knows_no_temperature(seed, size, share, tau):
    outputs, teacher, targets = random_array(seed, 3, *size).astype(np.float64)
    ours = fitting_loss(
        double(outputs),
        double(teacher),
        double(targets),
        task="regression",
        label_share=share,
        temperature=tau,
    )
    to_teacher, to_targets = ((outputs - teacher) ** 2).mean(), ((outputs - targets) ** 2).mean()
    assert ours.item() == pytest.approx((1 - share) * to_teacher + share * to_targets)


def test_without_labels_their_share_goes_to_the_teacher():
    logits, teacher = double(random_array(0, 4, 3)), double(random_array(1, 4, 3))
    alone = fitting_loss(logits, teacher, None, label_share=0.6, temperature=2)
    assert alone == fitting_loss(logits, teacher, None, label_share=0.0, temperature=2)
    assert alone > 0


def test_the_scale_by_squared_temperature_keeps_the_gradients_size():
    teacher = double(random_array(1, 50, 4))
    norms = []
    for tau in (20.0, 40.0):
        logits = double(random_array(0, 50, 4)).requires_grad_()
        fitting_loss(logits, teacher, None, temperature=tau).backward()
        norms.append(logits.grad.norm().item())
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


@property_test
@given(seeds, batches, st.floats(0.1, 50))
def test_inside_its_domain_the_barrier_is_the_papers(seed, size, bound):
    rng = np.random.default_rng(seed)
    rise = rng.random(size) < 0.5
    reach = 2 * bound * (1 - BARRIER_FLOOR)
    values = rng.uniform(-0.999 * reach, 0.999 * reach, size)
    gap = double(values).requires_grad_()
    loss = log_barrier(gap, torch.from_numpy(rise), bound)
    loss.backward()

    raised, lowered = 1 + values / (2 * bound), 1 - values / (2 * bound)
    expected = -np.where(rise, np.log(raised), np.log(lowered)).sum(axis=1).mean()
    slope = -np.where(rise, 1 / raised, -1 / lowered) / (2 * bound) / size[0]
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(gap.grad.numpy(), slope, rtol=1e-9)


def barrier_at(inside, *, rise=True, bound=3.0):
    """Value and slope of the barrier where 1 ± l/2B is `inside`."""
    gap = double(np.array([[(inside - 1) * 2 * bound * (1 if rise else -1)]])).requires_grad_()
    loss = log_barrier(gap, torch.tensor([[rise]]), bound)
    loss.backward()
    return loss.item(), gap.grad.item()


@pytest.mark.parametrize("rise", [True, False])
def test_beyond_its_domain_the_barrier_is_the_tangent(rise):
    sign = -1 if rise else 1
    slope = sign / BARRIER_FLOOR / 6
    for inside in (BARRIER_FLOOR, 0.0, -1.0, -1e3):
        value = -np.log(BARRIER_FLOOR) - (inside - BARRIER_FLOOR) / BARRIER_FLOOR
        assert barrier_at(inside, rise=rise) == pytest.approx((value, slope), rel=1e-6)


@pytest.mark.parametrize("rise", [True, False])
def test_barrier_and_tangent_meet_smoothly(rise):
    above = barrier_at(BARRIER_FLOOR + 1e-9, rise=rise)
    below = barrier_at(BARRIER_FLOOR - 1e-9, rise=rise)
    assert above == pytest.approx(below, rel=1e-6)


def rescaled(pull, joint):
    """Mean magnitude 1, as ``Game.direction`` has it."""
    return pull / np.abs(pull).mean(axis=None if joint else 0)


def reference_hinge(gap, pull, scale, joint):
    edges = (rescaled(pull, joint) * gap).mean(axis=0) / scale
    return max(-edges.mean(), 0) if joint else np.maximum(-edges, 0).mean()


@property_test
@given(seeds, batches, st.booleans(), st.floats(0.1, 10))
def test_the_hinge_is_the_negative_part_of_the_relative_edge(seed, size, joint, scale):
    gap, pull = random_array(seed, 2, *size).astype(np.float64)
    ours = edge_hinge(double(gap), double(rescaled(pull, joint)), scale, joint=joint)
    assert ours.item() == pytest.approx(reference_hinge(gap, pull, scale, joint), abs=1e-12)


@pytest.mark.parametrize("joint", [True, False])
def test_the_hinge_rests_while_the_edge_holds_and_pushes_along_the_pull_when_not(joint):
    pull = double(random_array(0, 8, 3))
    direction = double(rescaled(pull.numpy(), joint))
    held = (0.1 * pull).requires_grad_()
    edge_hinge(held, direction, 2.0, joint=joint).backward()
    assert not held.grad.any()
    broken = (-0.1 * pull).requires_grad_()
    loss = edge_hinge(broken, direction, 2.0, joint=joint)
    loss.backward()
    assert loss > 0
    torch.testing.assert_close(broken.grad, -direction / (2.0 * pull.numel()))


def test_only_the_label_hinges_see_one_broken_label_among_good_ones():
    pull = torch.ones(4, 2)
    gap = torch.tensor([3.0, -1.0]).expand(4, 2)
    assert edge_hinge(gap, pull, 1.0, joint=True) == 0
    assert edge_hinge(gap, pull, 1.0, joint=False) == pytest.approx(0.5)
