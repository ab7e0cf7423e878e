"""Connections: costs counted by hand, mixtures, gradients and the start of a skipping student."""

import pytest
import torch
from tiny_students import (
    CONNECTIONS,
    INPUTS,
    OUTPUTS,
    Mlp,
    build,
    build_ensemble,
    random_array,
    trained_alike,
)
from torch import nn

from bdistil.core.connections import Hidden, build_connection, gru_step, lstm_step
from bdistil.core.cost import flops
from bdistil.core.folding import FoldedPrefix
from bdistil.core.growth import folded_flops
from bdistil.core.progressive_ensemble import ProgressiveEnsemble
from bdistil.core.student import Student, StudentConfig, advance
from bdistil.errors import SpecError

WIDTHS = (3, 5, 5, 4)  # equal and different neighbours
BODIES = 2 * INPUTS * (3 + 5 + 5 + 4)
HEADS = 2 * OUTPUTS * (3 + 5 + 5 + 4)
DENSE_HEADS = 2 * OUTPUTS * (3 + (3 + 5) + (3 + 5 + 5) + (3 + 5 + 5 + 4))
PROJECTIONS = 2 * 3 * 5 + 2 * 5 * 4  # only where the width changes: 3 to 5 and 5 to 4
CELL_PRODUCTS = 2 * (3 * 3 + 5 * 5 + 5 * 5 + 4 * 4)  # one d × d product in each student
UNFOLDED = {
    "none": BODIES + HEADS,
    "residual": BODIES + HEADS + 2 * (3 * 5 + 5 * 5 + 5 * 4),
    "dense": BODIES + DENSE_HEADS,
    # four gates, each from own features and from the state; state and memory are projected
    "lstm": BODIES + HEADS + 8 * CELL_PRODUCTS + 2 * PROJECTIONS,
    "gru": BODIES + HEADS + 6 * CELL_PRODUCTS + PROJECTIONS,
}
FOLDED = {**UNFOLDED, "dense": UNFOLDED["none"]}

skips = pytest.mark.parametrize("skip", [False, True])
connections = pytest.mark.parametrize("connection", CONNECTIONS)


def inputs(examples=7):
    return torch.from_numpy(random_array(0, examples, INPUTS))


@skips
@connections
def test_an_ensembles_flops_are_those_counted_by_hand(connection, skip):
    ensemble = build_ensemble([(width, connection, skip) for width in WIDTHS])
    assert flops(ensemble, (INPUTS,)) == UNFOLDED[connection]
    assert flops(FoldedPrefix(ensemble, len(WIDTHS)), (INPUTS,)) == FOLDED[connection]


@skips
@connections
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_students_added_flops_sum_to_the_folded_ensembles(connection, skip, device):
    total = 0
    for stage, width in enumerate(WIDTHS):
        with torch.device(device):
            student = build(width, connection, skip, WIDTHS[:stage])
        total += folded_flops(student, (INPUTS,), WIDTHS[:stage])
    assert total == FOLDED[connection]


@skips
@connections
def test_the_first_student_needs_no_predecessors(connection, skip):
    student = trained_alike(build(4, connection, skip))
    logits, hidden = student(inputs(), [])
    assert logits.shape == (7, OUTPUTS)
    assert hidden.features.shape == (7, 4)
    assert logits.std() > 0


@pytest.mark.parametrize("before", CONNECTIONS)
@connections
@pytest.mark.parametrize("widths", [(4, 4), (3, 5)])
def test_every_connection_works_after_every_other(before, connection, widths):
    ensemble = build_ensemble([(widths[0], before, True), (widths[1], connection, True)])
    first, second = ensemble(inputs(), 1), ensemble(inputs())
    assert torch.isfinite(second).all()
    assert not torch.equal(first, second)


def test_gated_cells_are_torchs_own():
    own, state, memory = torch.randn(3, 7, 4)
    lstm, gru = nn.LSTMCell(4, 4), nn.GRUCell(4, 4)
    torch.testing.assert_close(lstm_step(lstm, own, state, memory), lstm(own, (state, memory)))
    torch.testing.assert_close(gru_step(gru, own, state), gru(own, state))


def test_an_lstm_without_a_memory_before_it_starts_from_an_empty_one():
    connection = build_connection("lstm", 4, [4])
    own, previous = (torch.from_numpy(random_array(seed, 7, 4)) for seed in (0, 1))
    absent = connection(own, [Hidden(previous)])
    empty = connection(own, [Hidden(previous, torch.zeros(7, 4))])
    full = connection(own, [Hidden(previous, torch.ones(7, 4))])
    assert torch.equal(absent.features, empty.features)
    assert torch.equal(absent.memory, empty.memory)
    assert not torch.equal(absent.features, full.features)


@pytest.mark.parametrize("connection", ["residual", "lstm", "gru"])
def test_only_the_last_predecessor_is_read_by_recurrent_connections(connection):
    student = trained_alike(build(4, connection, False, (3, 3)))
    first, other, last = (Hidden(torch.from_numpy(random_array(s, 7, 3))) for s in (1, 2, 3))
    logits, _ = student(inputs(), [first, last])
    assert torch.equal(student(inputs(), [other, last])[0], logits)
    assert not torch.equal(student(inputs(), [first, other])[0], logits)


def test_dense_reads_every_predecessor_and_none_reads_nobody():
    for connection, matters in (("dense", True), ("none", False)):
        student = trained_alike(build(4, connection, False, (3, 2)))
        earlier = [Hidden(torch.from_numpy(random_array(s, 7, d))) for s, d in ((1, 3), (2, 2))]
        logits, _ = student(inputs(), earlier)
        for changed in (0, 1):
            states = [Hidden(h.features + (s == changed)) for s, h in enumerate(earlier)]
            assert torch.equal(student(inputs(), states)[0], logits) != matters


def without_gradient(student, earlier):
    student.zero_grad()
    student(inputs(64), earlier)[0].square().sum().backward()
    return {
        name
        for name, parameter in student.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    }


@skips
@connections
@pytest.mark.parametrize("width", [4, 6])
def test_gradients_reach_every_parameter(connection, skip, width):
    states = [torch.from_numpy(random_array(seed, 64, 4)) for seed in range(4)]
    earlier = [Hidden(states[0], states[1]), Hidden(states[2], states[3])]
    student = trained_alike(build(width, connection, skip, (4, 4)))
    assert without_gradient(student, earlier) == set()


@connections
def test_gradients_reach_the_body_of_a_skipping_student_after_one_step(connection):
    student = build(4, connection, True, (4,))
    earlier = [Hidden(torch.from_numpy(random_array(1, 64, 4)), torch.ones(64, 4))]
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1)
    for round_ in range(2):
        optimiser.zero_grad()
        logits, _ = student(inputs(64), earlier)
        (logits - 1).square().mean().backward()
        reached = {n for n, p in student.named_parameters() if p.grad is not None and p.grad.any()}
        assert ("body.linear.weight" in reached) == (round_ == 1)
        optimiser.step()
    assert reached == {name for name, _ in student.named_parameters()}


@connections
def test_a_new_skipping_student_leaves_the_ensemble_exactly_as_it_was(connection):
    ensemble = build_ensemble([(3, connection, True), (5, connection, False)])
    before = ensemble(inputs())
    ensemble.append(build(4, connection, True, ensemble.features))
    assert torch.equal(ensemble(inputs()), before)
    assert torch.equal(advance(before, torch.zeros_like(before), 3, True), before)


@connections
def test_centring_changes_no_probability(connection):
    student = trained_alike(build(4, connection, False, (4,)))
    earlier = [Hidden(torch.from_numpy(random_array(1, 7, 4)))]
    before, _ = student(inputs(), earlier)
    student.centre_head()
    after, _ = student(inputs(), earlier)
    assert before.sum(dim=1).abs().max() > 0.1
    torch.testing.assert_close(after.sum(dim=1), torch.zeros(7), rtol=0, atol=1e-5)
    torch.testing.assert_close(after.softmax(dim=1), before.softmax(dim=1))


def test_an_unknown_connection_is_refused_by_name():
    with pytest.raises(SpecError, match="'highway' is unknown; known: none, residual"):
        Student(StudentConfig("mlp", 4, "highway", True), Mlp(4), OUTPUTS, ())


def test_an_empty_ensemble_answers_zero():
    assert torch.equal(ProgressiveEnsemble(OUTPUTS)(inputs()), torch.zeros(7, OUTPUTS))
